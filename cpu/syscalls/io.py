# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and streams, over cpu.files."""

from __future__ import annotations

import errno
import os
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cpu.files import O_CLOEXEC
from cpu.signal_send import send_sig
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError
from mmu.linux.uaccess import raw_copy_from_user, raw_copy_to_user

if TYPE_CHECKING:
    from cpu.files import OpenFile
    from cpu.task import Task

PATH_MAX = 4096
IOV_MAX = 1024
MAX_RW_COUNT = 0x7FFFF000
"""Bytes that one call moves at most (include/linux/fs.h)."""
PIECE = 1 << 20
"""Bytes held on the host at a time."""

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
FD_CLOEXEC = 1
W_OK = 2


def _path(task: Task, addr: int) -> str:
    name = task.mm.strncpy_from_user(addr, PATH_MAX)
    if len(name) == PATH_MAX:
        raise LinuxError(errno.ENAMETOOLONG)
    return name.decode("utf-8", "surrogateescape")


def _pieces(addr: int, count: int) -> Iterator[tuple[int, int]]:
    """[addr, addr + count) in pieces that end at multiples of PIECE."""
    end = addr + min(count, MAX_RW_COUNT)
    while addr < end:
        size = min(end - addr, PIECE - addr % PIECE)
        yield addr, size
        addr += size


def _copy_in(task: Task, addr: int, size: int) -> bytes:
    """User memory up to where it cannot be read; EFAULT if that is at once."""
    data = raw_copy_from_user(task.mm, addr, size)
    if not data:
        raise LinuxError(errno.EFAULT)
    return data


def _write(task: Task, file: OpenFile, addr: int, count: int) -> int:
    """Write user memory; what was written before an error is the result."""
    if not count:
        file.write(b"")
    done = 0
    for at, size in _pieces(addr, count):
        try:
            data = _copy_in(task, at, size)
            written = file.write(data)
        except LinuxError as error:
            if error.errno == errno.EPIPE:
                send_sig(signal.SIGPIPE, task)
            if done:
                return done
            raise
        done += written
        if written < size or task.system.stopping:
            break
    return done


def _read(task: Task, file: OpenFile, addr: int, count: int, offset: int | None = None) -> int:
    """Read into user memory what the source has now; with an offset as pread does.

    A stream is asked once, for its next answer may be long in coming. Where the user's memory ends
    the read ends too: what found no place there stays in a file, and is lost from a stream.
    """
    done, regular = 0, stat.S_ISREG(file.mode)
    for at, size in _pieces(addr, count):
        try:
            data = file.read(size) if offset is None else file.pread(size, offset + done)
        except LinuxError:
            if done:
                return done
            raise
        copied = raw_copy_to_user(task.mm, at, data)
        done += copied
        if copied < len(data):
            if regular and offset is None:
                file.seek(copied - len(data), os.SEEK_CUR)
            if not done:
                raise LinuxError(errno.EFAULT)
        if copied < size or not regular or task.system.stopping:
            break
    return done


def _iovecs(task: Task, addr: int, count: int) -> list[tuple[int, int]]:
    """The (base, length) pairs of an iovec array."""
    if not 0 <= s64(count) <= IOV_MAX:
        raise LinuxError(errno.EINVAL)
    words = (
        struct.unpack(f"<{2 * count}Q", task.mm.copy_from_user(addr, 16 * count)) if count else ()
    )
    vectors = list(zip(words[::2], words[1::2], strict=True))
    if any(length >> 63 for _, length in vectors):
        raise LinuxError(errno.EINVAL)
    return vectors


def _vectored(
    task: Task,
    vectors: list[tuple[int, int]],
    move: Callable[[int, int], int],
    *,
    once: bool = False,
) -> int:
    """Move each vector until one comes out short; an error counts only if nothing was moved before.

    MAX_RW_COUNT bytes in all; with ``once`` a single vector that is not empty; short if the run is
    to stop.
    """
    done = 0
    for base, wanted in vectors:
        length = min(wanted, MAX_RW_COUNT - done)
        if not length:
            continue
        if done and (once or task.system.stopping):
            break
        try:
            moved = move(base, length)
        except LinuxError:
            if done:
                return done
            raise
        done += moved
        if moved < length:
            break
    return done


@syscall("write")
def sys_write(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """write(2)."""
    return _write(task, task.files.get(s32(fd)), addr, count)


@syscall("writev")
def sys_writev(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """writev(2)."""
    file = task.files.get(s32(fd))
    return _vectored(
        task, _iovecs(task, addr, count), lambda base, length: _write(task, file, base, length)
    )


@syscall("read")
def sys_read(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """read(2)."""
    return _read(task, task.files.get(s32(fd)), addr, count)


@syscall("readv")
def sys_readv(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """readv(2)."""
    file = task.files.get(s32(fd))
    once = not stat.S_ISREG(file.mode)
    return _vectored(
        task,
        _iovecs(task, addr, count),
        lambda base, length: _read(task, file, base, length),
        once=once,
    )


@syscall("pread64")
def sys_pread64(task: Task, fd: int, addr: int, count: int, offset: int, *_: int) -> int:
    """pread(2)."""
    if s64(offset) < 0:
        raise LinuxError(errno.EINVAL)
    return _read(task, task.files.get(s32(fd)), addr, count, offset)


@syscall("open")
def sys_open(task: Task, path: int, flags: int, *_: int) -> int:
    """open(2)."""
    return task.files.install(
        task.fs.open(_path(task, path), flags), cloexec=bool(flags & O_CLOEXEC)
    )


@syscall("openat")
def sys_openat(task: Task, dirfd: int, path: int, flags: int, *_: int) -> int:
    """openat(2); no descriptor of ours is a directory."""
    return task.files.install(
        task.fs.open(_path_at(task, dirfd, path), flags), cloexec=bool(flags & O_CLOEXEC)
    )


def _path_at(task: Task, dirfd: int, path: int) -> str:
    name = _path(task, path)
    if name and not name.startswith("/") and s32(dirfd) != AT_FDCWD:
        task.files.get(s32(dirfd))
        raise LinuxError(errno.ENOTDIR)
    return name


@syscall("close")
def sys_close(task: Task, fd: int, *_: int) -> int:
    """close(2)."""
    task.files.close(s32(fd))
    return 0


@syscall("lseek")
def sys_lseek(task: Task, fd: int, offset: int, whence: int, *_: int) -> int:
    """lseek(2)."""
    return task.files.get(s32(fd)).seek(s64(offset), s32(whence))


@syscall("fstat")
def sys_fstat(task: Task, fd: int, buffer: int, *_: int) -> int:
    """fstat(2)."""
    task.mm.copy_to_user(buffer, task.files.get(s32(fd)).stat())
    return 0


@syscall("stat")
def sys_stat(task: Task, path: int, buffer: int, *_: int) -> int:
    """stat(2)."""
    task.mm.copy_to_user(buffer, task.fs.stat(_path(task, path)))
    return 0


@syscall("lstat")
def sys_lstat(task: Task, path: int, buffer: int, *_: int) -> int:
    """lstat(2); /proc/self/exe is shown as the program."""
    task.mm.copy_to_user(buffer, task.fs.stat(_path(task, path), follow=False))
    return 0


@syscall("newfstatat")
def sys_newfstatat(task: Task, dirfd: int, path: int, buffer: int, flags: int, *_: int) -> int:
    """fstatat(2)."""
    name = _path_at(task, dirfd, path)
    if not name and flags & AT_EMPTY_PATH:
        return sys_fstat(task, dirfd, buffer)
    task.mm.copy_to_user(buffer, task.fs.stat(name, follow=not flags & AT_SYMLINK_NOFOLLOW))
    return 0


@syscall("access")
def sys_access(task: Task, path: int, mode: int, *_: int) -> int:
    """access(2) on a read-only file system."""
    task.fs.stat(_path(task, path))
    if mode & W_OK:
        raise LinuxError(errno.EROFS)
    return 0


@syscall("readlink")
def sys_readlink(task: Task, path: int, buffer: int, size: int, *_: int) -> int:
    """readlink(2): /proc/self/exe, and links in what the guest was given."""
    return _readlink(task, _path(task, path), buffer, size)


@syscall("readlinkat")
def sys_readlinkat(task: Task, dirfd: int, path: int, buffer: int, size: int, *_: int) -> int:
    """readlinkat(2)."""
    return _readlink(task, _path_at(task, dirfd, path), buffer, size)


def _readlink(task: Task, path: str, buffer: int, size: int) -> int:
    if s32(size) <= 0:
        raise LinuxError(errno.EINVAL)
    text = (
        task.exe.real_path if task.fs.resolve(path) in task.fs.own_links else task.fs.readlink(path)
    )
    target = text.encode("utf-8", "surrogateescape")[: s32(size)]
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
    if flags & ~O_CLOEXEC or s32(old) == s32(new):
        raise LinuxError(errno.EINVAL)
    return task.files.replace(s32(new), task.files.get(s32(old)), cloexec=bool(flags))


@syscall("fcntl")
def sys_fcntl(task: Task, fd: int, command: int, argument: int, *_: int) -> int:
    """fcntl(2): descriptors and their flags; no locks, no signals."""
    entry = task.files.descriptor(s32(fd))
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
    raise LinuxError(errno.EINVAL)


@syscall("ioctl")
def sys_ioctl(task: Task, fd: int, *_: int) -> int:
    """ioctl(2): nothing here is a terminal or a device."""
    task.files.get(s32(fd))
    raise LinuxError(errno.ENOTTY)
