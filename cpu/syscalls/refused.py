# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that change the machine for all: EPERM here for everybody, as in a container whose root has
no capabilities for them. Modules, kexec and I/O ports are ENOSYS, as
where they are not configured.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.syscalls.registry import syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task


@syscall("acct", "swapon", "swapoff", "vhangup", "reboot")
def sys_admin(_task: Task, *_: int) -> int:
    """CAP_SYS_PACCT, CAP_SYS_ADMIN, CAP_SYS_TTY_CONFIG, CAP_SYS_BOOT."""
    raise LinuxError(errno.EPERM)
