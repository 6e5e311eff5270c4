# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors and their flags, sizes (fs/open.c, fcntl.c, ioctl.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.fs.files import O_CLOEXEC, O_LARGEFILE
from cpu.fs.host_data import FALLOC_FL_KEEP_SIZE
from cpu.fs.memfd import MemFile
from cpu.fs.pipes import PipeEnd
from cpu.syscalls.fowner import fcntl_other
from cpu.syscalls.io import inode_newsize_ok
from cpu.syscalls.locks import LOCK_COMMANDS, fcntl_lock
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError
from mmu.units import PAGE_SHIFT, U32

if TYPE_CHECKING:
    from cpu.task import Task

F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS = 1031, 1032, 1033, 1034
FD_CLOEXEC = 1
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4


@syscall("close")
def sys_close(task: Task, fd: int, *_: int) -> int:
    """close(2)."""
    task.files.close(s32(fd))
    return 0


@syscall("close_range")
def sys_close_range(task: Task, first: int, last: int, flags: int, *_: int) -> int:
    """close_range(2)."""
    first, last, flags = first & U32, last & U32, flags & U32
    if flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) or first > last:
        raise LinuxError(errno.EINVAL)
    if flags & CLOSE_RANGE_UNSHARE and task.files.users > 1:
        mine = task.files.copy()
        task.files.put()
        task.files = mine
    for fd in [fd for fd in task.files if first <= fd <= last]:
        if flags & CLOSE_RANGE_CLOEXEC:
            task.files.descriptor(fd).cloexec = True
        else:
            task.files.close(fd)
    return 0


@syscall("ftruncate")
def sys_ftruncate(task: Task, fd: int, size: int, *_: int) -> int:
    """ftruncate(2)."""
    if s64(size) < 0:
        raise LinuxError(errno.EINVAL)
    file = task.files.get(s32(fd))
    inode_newsize_ok(task, file.size, size)
    file.truncate(size)
    return 0


@syscall("fallocate")
def sys_fallocate(task: Task, fd: int, mode: int, offset: int, length: int, *_: int) -> int:
    """fallocate(2)."""
    file = task.files.get(s32(fd))
    if s64(offset) < 0 or s64(length) <= 0:
        raise LinuxError(errno.EINVAL)
    if not mode & FALLOC_FL_KEEP_SIZE:
        inode_newsize_ok(task, file.size, offset + length)
    file.fallocate(mode & U32, offset, length)
    return 0


@syscall("dup")
def sys_dup(task: Task, fd: int, *_: int) -> int:
    """dup(2)."""
    return task.files.install(task.files.get(s32(fd)))


@syscall("dup2")
def sys_dup2(task: Task, old: int, new: int, *_: int) -> int:
    """dup2(2)."""
    file = task.files.get(s32(old))
    return s32(new) if s32(old) == s32(new) else task.files.replace(s32(new), file)


@syscall("dup3")
def sys_dup3(task: Task, old: int, new: int, flags: int, *_: int) -> int:
    """dup3(2)."""
    if flags & U32 & ~O_CLOEXEC or s32(old) == s32(new):
        raise LinuxError(errno.EINVAL)
    return task.files.replace(s32(new), task.files.get(s32(old)), cloexec=bool(flags & O_CLOEXEC))


@syscall("fcntl")
def sys_fcntl(task: Task, fd: int, command: int, argument: int, *_: int) -> int:
    """fcntl(2): descriptors and their flags, locks, seals, the size of pipes, and what there is
    else.
    """
    entry, command = task.files.descriptor(s32(fd)), s32(command)
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        return task.files.install(
            entry.file, lowest=s32(argument), cloexec=command == F_DUPFD_CLOEXEC
        )
    if command == F_GETFD:
        return FD_CLOEXEC if entry.cloexec else 0
    if command == F_SETFD:
        entry.cloexec = bool(argument & FD_CLOEXEC)
        return 0
    if command == F_GETFL:
        return entry.file.flags
    if command == F_SETFL:
        entry.file.set_flags(argument & U32 & ~O_LARGEFILE)
        return 0
    if command in LOCK_COMMANDS:
        return fcntl_lock(task, entry.file, command, argument)
    if command in (F_GET_SEALS, F_ADD_SEALS):
        if not isinstance(entry.file, MemFile):
            raise LinuxError(errno.EINVAL)
        return entry.file.seals(argument & U32 if command == F_ADD_SEALS else None)
    if command in (F_SETPIPE_SZ, F_GETPIPE_SZ):
        if not isinstance(entry.file, PipeEnd):
            raise LinuxError(errno.EBADF)
        pipe = entry.file.pipe
        return (
            pipe.resize(argument & U32) if command == F_SETPIPE_SZ else pipe.max_usage << PAGE_SHIFT
        )
    return fcntl_other(task, entry.file, command, argument)
