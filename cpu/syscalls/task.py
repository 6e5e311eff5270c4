# SPDX-License-Identifier: GPL-2.0-or-later
"""The thread itself: its end, its thread pointer, waiting."""

from __future__ import annotations

import errno
import struct

from cpu.syscalls.registry import syscall
from cpu.task import Task
from mmu.errors import LinuxError
from mmu.linux.layout import TASK_SIZE
from mmu.units import U32

ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004


@syscall("arch_prctl")
def sys_arch_prctl(task: Task, code: int, addr: int, *_: int) -> int:
    """arch_prctl(2): the bases of FS and GS."""
    if code in (ARCH_SET_FS, ARCH_SET_GS):
        if addr >= TASK_SIZE:
            raise LinuxError(errno.EPERM)
        if code == ARCH_SET_FS:
            task.vcpu.fs_base = addr
        else:
            task.vcpu.gs_base = addr
        return 0
    if code in (ARCH_GET_FS, ARCH_GET_GS):
        base = task.vcpu.fs_base if code == ARCH_GET_FS else task.vcpu.gs_base
        task.mm.copy_to_user(addr, struct.pack("<Q", base))
        return 0
    raise LinuxError(errno.EINVAL)


@syscall("personality")
def sys_personality(task: Task, persona: int, *_: int) -> int:
    """personality(2): the one there was. Addresses are never randomised here, whatever it says."""
    old, persona = task.process.personality, persona & U32
    if persona != U32:
        task.process.personality = persona
    return old


@syscall("rseq")
def sys_rseq(_task: Task, *_: int) -> int:
    """rseq(2), as a kernel without CONFIG_RSEQ."""
    raise LinuxError(errno.ENOSYS)
