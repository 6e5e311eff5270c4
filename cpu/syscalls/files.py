# SPDX-License-Identifier: GPL-2.0-or-later
"""Paths, descriptors and their flags (fs/open.c, stat.c, readdir.c, fcntl.c, ioctl.c)."""

from __future__ import annotations

import errno
import stat
import struct
from typing import TYPE_CHECKING

from cpu.fs.files import O_CLOEXEC, O_LARGEFILE, O_NONBLOCK, Dirent
from cpu.fs.host_data import FALLOC_FL_KEEP_SIZE
from cpu.fs.memfd import MemFile
from cpu.fs.pipes import PipeEnd
from cpu.syscalls.io import inode_newsize_ok
from cpu.syscalls.locks import LOCK_COMMANDS, fcntl_lock
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError
from mmu.units import PAGE_SHIFT, U32

if TYPE_CHECKING:
    from cpu.task import Task

PATH_MAX = 4096
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_STATX_SYNC_TYPE = 0x6000
STATX_BASIC_STATS, STATX_RESERVED = 0x7FF, 1 << 31
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
F_SETPIPE_SZ, F_GETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS = 1031, 1032, 1033, 1034
FD_CLOEXEC = 1
W_OK = 2
FIONBIO, FIONREAD, FIONCLEX, FIOCLEX = 0x5421, 0x541B, 0x5450, 0x5451
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4


def user_path(task: Task, addr: int) -> str:
    """The path at ``addr``; ENAMETOOLONG, EFAULT."""
    name = task.mm.strncpy_from_user(addr, PATH_MAX)
    if len(name) == PATH_MAX:
        raise LinuxError(errno.ENAMETOOLONG)
    return name.decode("utf-8", "surrogateescape")


def path_at(task: Task, dirfd: int, addr: int) -> tuple[str, str | None]:
    """The path at ``addr``, and the directory it starts from if that is not the working one."""
    name = user_path(task, addr)
    if not name or name.startswith("/") or s32(dirfd) == AT_FDCWD:
        return name, None
    directory = task.files.get(s32(dirfd))
    if not stat.S_ISDIR(directory.mode):
        raise LinuxError(errno.ENOTDIR)
    return name, directory.path


@syscall("open")
def sys_open(task: Task, path: int, flags: int, *_: int) -> int:
    """open(2)."""
    return task.files.install(
        task.fs.open(user_path(task, path), flags), cloexec=bool(flags & O_CLOEXEC)
    )


@syscall("openat")
def sys_openat(task: Task, dirfd: int, path: int, flags: int, *_: int) -> int:
    """openat(2)."""
    name, base = path_at(task, dirfd, path)
    return task.files.install(task.fs.open(name, flags, base), cloexec=bool(flags & O_CLOEXEC))


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


@syscall("fstat")
def sys_fstat(task: Task, fd: int, buffer: int, *_: int) -> int:
    """fstat(2)."""
    task.mm.copy_to_user(buffer, task.files.get(s32(fd)).stat())
    return 0


@syscall("stat")
def sys_stat(task: Task, path: int, buffer: int, *_: int) -> int:
    """stat(2)."""
    task.mm.copy_to_user(buffer, task.fs.stat(user_path(task, path)))
    return 0


@syscall("lstat")
def sys_lstat(task: Task, path: int, buffer: int, *_: int) -> int:
    """lstat(2)."""
    task.mm.copy_to_user(buffer, task.fs.stat(user_path(task, path), follow=False))
    return 0


@syscall("newfstatat")
def sys_newfstatat(task: Task, dirfd: int, path: int, buffer: int, flags: int, *_: int) -> int:
    """fstatat(2)."""
    name, base = path_at(task, dirfd, path)
    if not name and flags & AT_EMPTY_PATH:
        return sys_fstat(task, dirfd, buffer)
    task.mm.copy_to_user(buffer, task.fs.stat(name, base, follow=not flags & AT_SYMLINK_NOFOLLOW))
    return 0


@syscall("statx")
def sys_statx(
    task: Task, dirfd: int, path: int, flags: int, mask: int, buffer: int, *_: int
) -> int:
    """statx(2): the basic fields."""
    flags &= U32
    if mask & STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise LinuxError(errno.EINVAL)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        raise LinuxError(errno.EINVAL)
    name, base = path_at(task, dirfd, path)
    if not name and flags & AT_EMPTY_PATH and s32(dirfd) != AT_FDCWD:
        status = task.files.get(s32(dirfd)).stat()
    else:
        status = task.fs.stat(name, base, follow=not flags & AT_SYMLINK_NOFOLLOW)
    task.mm.copy_to_user(buffer, _statx(status))
    return 0


def _statx(status: bytes) -> bytes:
    """struct statx from struct stat."""
    dev, ino, nlink, mode, uid, gid, _, _, size, blksize, blocks = struct.unpack_from(
        "<QQQIIIIQqqq", status
    )
    head = struct.pack("<IIQIIIHxx", STATX_BASIC_STATS, blksize, 0, nlink, uid, gid, mode)
    numbers = struct.pack("<QQQQ", ino, size, blocks, 0)
    devices = struct.pack("<IIII", 0, 0, dev >> 8, dev & 0xFF)
    return (head + numbers + bytes(4 * 16) + devices).ljust(256, b"\0")


@syscall("access")
def sys_access(task: Task, path: int, mode: int, *_: int) -> int:
    """access(2) on a read-only file system."""
    return _access(task, user_path(task, path), None, mode)


@syscall("faccessat", "faccessat2")
def sys_faccessat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    """faccessat(2)."""
    return _access(task, *path_at(task, dirfd, path), mode)


def _access(task: Task, path: str, base: str | None, mode: int) -> int:
    (st_mode,) = struct.unpack_from("<I", task.fs.stat(path, base), 24)
    if mode & W_OK and not stat.S_ISCHR(st_mode):
        raise LinuxError(errno.EROFS)
    return 0


@syscall("readlink")
def sys_readlink(task: Task, path: int, buffer: int, size: int, *_: int) -> int:
    """readlink(2): the links of /proc, and links in what the guest was given."""
    return _readlink(task, user_path(task, path), None, buffer, size)


@syscall("readlinkat")
def sys_readlinkat(task: Task, dirfd: int, path: int, buffer: int, size: int, *_: int) -> int:
    """readlinkat(2)."""
    return _readlink(task, *path_at(task, dirfd, path), buffer, size)


def _readlink(task: Task, path: str, base: str | None, buffer: int, size: int) -> int:
    if s32(size) <= 0:
        raise LinuxError(errno.EINVAL)
    target = task.fs.readlink(path, base).encode("utf-8", "surrogateescape")[: s32(size)]
    task.mm.copy_to_user(buffer, target)
    return len(target)


@syscall("getcwd")
def sys_getcwd(task: Task, buffer: int, size: int, *_: int) -> int:
    """getcwd(2), the kernel's form: returns the length with the final zero."""
    path = task.fs.cwd.encode("utf-8", "surrogateescape") + b"\0"
    if len(path) > size:
        raise LinuxError(errno.ERANGE)
    task.mm.copy_to_user(buffer, path)
    return len(path)


@syscall("chdir")
def sys_chdir(task: Task, path: int, *_: int) -> int:
    """chdir(2)."""
    task.fs.chdir(user_path(task, path))
    return 0


@syscall("fchdir")
def sys_fchdir(task: Task, fd: int, *_: int) -> int:
    """fchdir(2)."""
    directory = task.files.get(s32(fd))
    if not stat.S_ISDIR(directory.mode):
        raise LinuxError(errno.ENOTDIR)
    task.fs.chdir(directory.path)
    return 0


@syscall("umask")
def sys_umask(task: Task, mask: int, *_: int) -> int:
    """umask(2)."""
    was, task.fs.umask = task.fs.umask, mask & 0o777
    return was


@syscall("getdents64")
def sys_getdents64(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    """getdents64(2)."""
    directory, room = task.files.get(s32(fd)), size & U32
    records = bytearray()
    for entry in directory.entries():
        record = _dirent64(entry, directory.position)
        if len(records) + len(record) > room:
            directory.position -= 1
            if not records:
                raise LinuxError(errno.EINVAL)
            break
        records += record
    task.mm.copy_to_user(buffer, bytes(records))
    return len(records)


def _dirent64(entry: Dirent, following: int) -> bytes:
    """struct linux_dirent64; ``following`` is where the next one is."""
    name = entry.name.encode("utf-8", "surrogateescape")
    length = 19 + len(name) + 1 + 7 & ~7
    head = struct.pack("<QqHB", entry.inode, following, length, entry.kind >> 12)
    return (head + name).ljust(length, b"\0")


@syscall("ftruncate")
def sys_ftruncate(task: Task, fd: int, size: int, *_: int) -> int:
    """ftruncate(2)."""
    if s64(size) < 0:
        raise LinuxError(errno.EINVAL)
    file = task.files.get(s32(fd))
    inode_newsize_ok(task, file, size)
    file.truncate(size)
    return 0


@syscall("fallocate")
def sys_fallocate(task: Task, fd: int, mode: int, offset: int, length: int, *_: int) -> int:
    """fallocate(2)."""
    file = task.files.get(s32(fd))
    if s64(offset) < 0 or s64(length) <= 0:
        raise LinuxError(errno.EINVAL)
    if not mode & FALLOC_FL_KEEP_SIZE:
        inode_newsize_ok(task, file, offset + length)
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
    """fcntl(2): descriptors and their flags, the size of pipes; no locks, no signals."""
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
    raise LinuxError(errno.EINVAL)


@syscall("ioctl")
def sys_ioctl(task: Task, fd: int, request: int, argument: int, *_: int) -> int:
    """ioctl(2): what every file has; nothing here is a terminal."""
    entry, request = task.files.descriptor(s32(fd)), request & U32
    if request in (FIOCLEX, FIONCLEX):
        entry.cloexec = request == FIOCLEX
        return 0
    if request == FIONBIO:
        (on,) = struct.unpack("<i", task.mm.copy_from_user(argument, 4))
        flags = entry.file.flags
        entry.file.set_flags(flags | O_NONBLOCK if on else flags & ~O_NONBLOCK)
        return 0
    if request == FIONREAD:
        nr = entry.file.nr_readable()
        task.mm.copy_to_user(argument, struct.pack("<i", min(nr, 0x7FFFFFFF)))
        return 0
    raise LinuxError(errno.ENOTTY)
