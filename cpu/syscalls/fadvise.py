# SPDX-License-Identifier: GPL-2.0-or-later
"""Advice on what of a file will be read (mm/fadvise.c, mm/readahead.c): pages are read when they
are mapped, so there is nothing to do but to refuse what Linux refuses.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from cpu.fs.files import O_ACCMODE, O_WRONLY
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

POSIX_FADV_NOREUSE = 5


@syscall("fadvise64")
def sys_fadvise64(task: Task, fd: int, offset: int, length: int, advice: int, *_: int) -> int:
    """posix_fadvise(2)."""
    file = task.files.get(s32(fd))
    if stat.S_ISFIFO(file.mode):
        raise LinuxError(errno.ESPIPE)
    if s64(length) < 0 or not 0 <= s32(advice) <= POSIX_FADV_NOREUSE:
        raise LinuxError(errno.EINVAL)
    return 0


@syscall("readahead")
def sys_readahead(task: Task, fd: int, offset: int, count: int, *_: int) -> int:
    """readahead(2)."""
    file = task.files.get(s32(fd))
    if file.flags & O_ACCMODE == O_WRONLY:
        raise LinuxError(errno.EBADF)
    if not stat.S_ISREG(file.mode):
        raise LinuxError(errno.EINVAL)
    return 0
