# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks of files as system calls: flock(2), and the commands of fcntl(2) (fs/locks.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_ACCMODE, O_PATH, O_RDONLY, O_WRONLY, SEEK_CUR, SEEK_END, SEEK_SET
from cpu.fs.locks import OFFSET_MAX, FileLock
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.fs.locks import FileLockContext
    from cpu.task import Task

LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN, LOCK_MAND = 1, 2, 4, 8, 32
F_GETLK, F_SETLK, F_SETLKW = 5, 6, 7
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
F_RDLCK, F_WRLCK, F_UNLCK = 0, 1, 2
LOCK_COMMANDS: Final = frozenset(
    {F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW}
)
_FLOCK: Final = struct.Struct("<hh4xqqi4x")


def lock_context(task: Task, file: OpenFile) -> FileLockContext:
    """Where the locks of an open file are: its inode's, or of all that has its st_ino, if it is no
    regular file.
    """
    context = file.locks
    if context is None:
        context = task.system.inodes.lock_context(file.inode)
        file.keep_locks(context)
    return context


@syscall("flock")
def sys_flock(task: Task, fd: int, command: int, *_: int) -> int:
    """flock(2)."""
    command &= U32
    kind = command & ~LOCK_NB
    if command & LOCK_MAND:
        return 0
    if kind not in (LOCK_SH, LOCK_EX, LOCK_UN):
        raise LinuxError(errno.EINVAL)
    file = task.files.get(s32(fd))
    if file.flags & O_PATH:
        raise LinuxError(errno.EBADF)
    context = lock_context(task, file)
    if kind == LOCK_UN:
        context.unflock(file)
        return 0
    file.users += 1
    try:
        context.flock(file, write=kind == LOCK_EX, wait=not command & LOCK_NB)
    finally:
        file.put()
    return 0


def fcntl_lock(task: Task, file: OpenFile, command: int, addr: int) -> int:
    """The commands of LOCK_COMMANDS, on the struct flock at ``addr``."""
    kind, whence, start, length, pid = _FLOCK.unpack(task.mm.copy_from_user(addr, _FLOCK.size))
    ofd = command >= F_OFD_GETLK
    testing = command in (F_GETLK, F_OFD_GETLK)
    if testing and kind not in (F_RDLCK, F_WRLCK) and not (ofd and kind == F_UNLCK):
        raise LinuxError(errno.EINVAL)
    first, last = _range(file, whence, start, length)
    if kind not in (F_RDLCK, F_WRLCK, F_UNLCK) or (ofd and pid):
        raise LinuxError(errno.EINVAL)
    owner: object = file if ofd else task.files
    lock = FileLock(owner, first, last, kind == F_WRLCK, -1 if ofd else task.tgid)
    context = lock_context(task, file)
    if testing:
        found = context.own(lock) if kind == F_UNLCK else context.conflict(lock)
        task.mm.copy_to_user(addr, _told(found, kind, whence, start, length, pid))
        return 0
    access = file.flags & O_ACCMODE
    if (kind == F_RDLCK and access == O_WRONLY) or (kind == F_WRLCK and access == O_RDONLY):
        raise LinuxError(errno.EBADF)
    if kind == F_UNLCK:
        context.unlock_posix(owner, first, last)
        return 0
    file.users += 1
    try:
        context.set_posix(lock, wait=command in (F_SETLKW, F_OFD_SETLKW))
    finally:
        file.put()
    return 0


def _range(file: OpenFile, whence: int, start: int, length: int) -> tuple[int, int]:
    """flock64_to_posix_lock(): the first and the last byte; EINVAL, EOVERFLOW."""
    base = {SEEK_SET: 0, SEEK_CUR: file.position, SEEK_END: file.size}.get(whence)
    if base is None:
        raise LinuxError(errno.EINVAL)
    if start > OFFSET_MAX - base:
        raise LinuxError(errno.EOVERFLOW)
    start += base
    if start < 0:
        raise LinuxError(errno.EINVAL)
    if not length:
        return start, OFFSET_MAX
    if length > 0:
        if length - 1 > OFFSET_MAX - start:
            raise LinuxError(errno.EOVERFLOW)
        return start, start + length - 1
    if start + length < 0:
        raise LinuxError(errno.EINVAL)
    return start + length, start - 1


def _told(
    found: FileLock | None, kind: int, whence: int, start: int, length: int, pid: int
) -> bytes:
    """struct flock as F_GETLK leaves it."""
    if found is None:
        return _FLOCK.pack(F_UNLCK, whence, start, length, pid)
    size = 0 if found.end == OFFSET_MAX else found.end - found.start + 1
    kind = F_WRLCK if found.write else F_RDLCK
    return _FLOCK.pack(kind, SEEK_SET, found.start, size, found.pid)
