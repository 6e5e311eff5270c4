# SPDX-License-Identifier: GPL-2.0-or-later
"""Having what was written where it lasts (fs/sync.c, mm/msync.c): in the host's files."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

from cpu.fs.regular_files import SeekableFile
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

SYNC_FILE_RANGE_VALID = 7


@syscall("msync")
def sys_msync(task: Task, addr: int, length: int, flags: int, *_: int) -> int:
    """msync(2)."""
    task.mm.msync(addr, length, flags & U32)
    return 0


@syscall("fsync", "fdatasync")
def sys_fsync(task: Task, fd: int, *_: int) -> int:
    """fsync(2), fdatasync(2)."""
    file = task.files.get(s32(fd))
    file.users += 1
    try:
        file.fsync()
    finally:
        file.put()
    return 0


@syscall("sync")
def sys_sync(task: Task, *_: int) -> int:
    """sync(2)."""
    task.system.inodes.sync()
    return 0


@syscall("syncfs")
def sys_syncfs(task: Task, fd: int, *_: int) -> int:
    """syncfs(2)."""
    task.files.get(s32(fd))
    task.system.inodes.sync()
    return 0


@syscall("sync_file_range")
def sys_sync_file_range(task: Task, fd: int, offset: int, nr: int, flags: int, *_: int) -> int:
    """sync_file_range(2)."""
    file = task.files.get(s32(fd))
    if flags & U32 & ~SYNC_FILE_RANGE_VALID:
        raise LinuxError(errno.EINVAL)
    if s64(offset) < 0 or s64(nr) < 0 or offset + nr >= 1 << 63:
        raise LinuxError(errno.EINVAL)
    if not stat.S_ISREG(file.mode) and not stat.S_ISDIR(file.mode):
        raise LinuxError(errno.ESPIPE)
    if isinstance(file, SeekableFile):
        return sys_fsync(task, fd)
    return 0
