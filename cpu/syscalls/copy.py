# SPDX-License-Identifier: GPL-2.0-or-later
"""Copying between files: sendfile(), copy_file_range(), splice(), tee(), vmsplice() (fs/splice.c,
fs/read_write.c, v6.18).
"""

from __future__ import annotations

import errno
import stat
import struct
from typing import TYPE_CHECKING, Final

from cpu.fs.devices import DeviceFile
from cpu.fs.files import O_ACCMODE, O_APPEND, O_NONBLOCK, O_RDONLY, O_WRONLY, OpenFile
from cpu.fs.pipes import PipeEnd
from cpu.fs.poll import READABLE, WRITABLE
from cpu.fs.regular_files import HostFile, SeekableFile
from cpu.syscalls.io import (
    MAX_RW_COUNT,
    blocking,
    generic_write_checks,
    iovecs,
    read_stream,
    write_all,
    write_stream,
)
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError
from mmu.units import U32, U64

if TYPE_CHECKING:
    from cpu.task import Task

CHUNK: Final = 256 << 10
"""Bytes that are held on the host at a time."""
SPLICE_F_NONBLOCK, SPLICE_F_ALL = 2, 15


def _user_offset(task: Task, addr: int) -> int:
    (offset,) = struct.unpack("<q", task.mm.copy_from_user(addr, 8))
    return int(offset)


def _must_read(file: OpenFile) -> None:
    if file.flags & O_ACCMODE == O_WRONLY:
        raise LinuxError(errno.EBADF)


def _must_write(file: OpenFile) -> None:
    if file.flags & O_ACCMODE == O_RDONLY:
        raise LinuxError(errno.EBADF)


# sendfile().


@syscall("sendfile")
def sys_sendfile(task: Task, out_fd: int, in_fd: int, offset: int, count: int, *_: int) -> int:
    """sendfile(2)."""
    start = _user_offset(task, offset) if offset else None
    source, target = task.files.get(s32(in_fd)), task.files.get(s32(out_fd))
    _must_read(source)
    if start is not None and not isinstance(source, SeekableFile | DeviceFile):
        raise LinuxError(errno.ESPIPE)
    _must_write(target)
    if s64(count) < 0 or (start is not None and start < 0):
        raise LinuxError(errno.EINVAL)
    if not isinstance(source, SeekableFile | DeviceFile) or stat.S_ISDIR(source.mode):
        raise LinuxError(errno.EINVAL)
    if target.flags & O_APPEND:
        raise LinuxError(errno.EINVAL)
    at = source.position if start is None else start
    done = _send(task, source, at, target, min(count, MAX_RW_COUNT))
    if start is None:
        source.position = at + done
    else:
        task.mm.copy_to_user(offset, struct.pack("<q", at + done))
    return done


def _send(task: Task, source: OpenFile, at: int, target: OpenFile, count: int) -> int:
    """Copy from byte ``at`` of ``source`` on; what was copied before an error is the result."""
    done = 0
    try:
        while done < count and not task.system.stopping:
            data = source.pread(min(count - done, CHUNK), at + done)
            if not data:
                break
            moved = _put(task, target, data)
            done += moved
            if moved < len(data):
                break
    except LinuxError:
        if not done:
            raise
    return done


def _put(task: Task, target: OpenFile, data: bytes) -> int:
    """Write at the target's position, waiting for room."""
    if not isinstance(target, SeekableFile):
        return write_all(task, target, data)
    room = generic_write_checks(task, target.position, len(data))
    return target.write(data[:room])


# copy_file_range().


@syscall("copy_file_range")
def sys_copy_file_range(
    task: Task, in_fd: int, in_addr: int, out_fd: int, out_addr: int, count: int, flags: int
) -> int:
    """copy_file_range(2)."""
    source, target = task.files.get(s32(in_fd)), task.files.get(s32(out_fd))
    start = _user_offset(task, in_addr) if in_addr else source.position
    to = _user_offset(task, out_addr) if out_addr else target.position
    if flags & U32:
        raise LinuxError(errno.EINVAL)
    room = _copy_checks(task, source, start, target, to, min(count, MAX_RW_COUNT))
    done = 0
    assert isinstance(target, SeekableFile)
    try:
        while done < room and not task.system.stopping:
            data = source.pread(min(room - done, CHUNK), start + done)
            moved = target.write_views([memoryview(data)], to + done) if data else 0
            done += moved
            if moved < len(data) or not moved:
                break
    except LinuxError:
        if not done:
            raise
    for file, addr, at in ((source, in_addr, start), (target, out_addr, to)):
        if addr:
            task.mm.copy_to_user(addr, struct.pack("<q", at + done))
        else:
            file.position = at + done
    return done


def _copy_checks(
    task: Task, source: OpenFile, start: int, target: OpenFile, to: int, count: int
) -> int:
    """generic_copy_file_checks(): how many bytes may be copied."""
    for file in (source, target):
        if stat.S_ISDIR(file.mode):
            raise LinuxError(errno.EISDIR)
        if not isinstance(file, SeekableFile):
            raise LinuxError(errno.EINVAL)
    _must_read(source)
    _must_write(target)
    if target.flags & O_APPEND:
        raise LinuxError(errno.EBADF)
    if start < 0 or to < 0:
        raise LinuxError(errno.EINVAL)
    if start + count > U64 >> 1 or to + count > U64 >> 1:
        raise LinuxError(errno.EOVERFLOW)
    if isinstance(source, HostFile) != isinstance(target, HostFile):
        raise LinuxError(errno.EXDEV)
    count = min(count, max(source.size - start, 0))
    count = generic_write_checks(task, to, count)
    if source.inode == target.inode and start < to + count and to < start + count:
        raise LinuxError(errno.EINVAL)
    return count


# splice(), tee(), vmsplice().


@syscall("splice")
def sys_splice(
    task: Task, in_fd: int, in_addr: int, out_fd: int, out_addr: int, count: int, flags: int
) -> int:
    """splice(2)."""
    flags &= U32
    if not count:
        return 0
    if flags & ~SPLICE_F_ALL:
        raise LinuxError(errno.EINVAL)
    source, target = task.files.get(s32(in_fd)), task.files.get(s32(out_fd))
    _must_read(source)
    _must_write(target)
    from_pipe, to_pipe = isinstance(source, PipeEnd), isinstance(target, PipeEnd)
    if (from_pipe and in_addr) or (to_pipe and out_addr):
        raise LinuxError(errno.ESPIPE)
    if not from_pipe and not to_pipe:
        raise LinuxError(errno.EINVAL)
    count, nonblock = min(count, MAX_RW_COUNT), bool(flags & SPLICE_F_NONBLOCK)
    if isinstance(source, PipeEnd) and isinstance(target, PipeEnd):
        if source.pipe is target.pipe:
            raise LinuxError(errno.EINVAL)
        nonblock = nonblock or bool((source.flags | target.flags) & O_NONBLOCK)
        return _pipe_to_stream(task, source, target, count, nonblock=nonblock)
    if isinstance(source, PipeEnd):
        return _splice_out(task, source, target, out_addr, count, nonblock=nonblock)
    assert isinstance(target, PipeEnd)
    return _splice_in(task, source, in_addr, target, count, nonblock=nonblock)


def _splice_out(
    task: Task, source: PipeEnd, target: OpenFile, addr: int, count: int, *, nonblock: bool
) -> int:
    """From a pipe to a file, at its position or at the offset at ``addr``."""
    if not isinstance(target, SeekableFile):
        if addr:
            raise LinuxError(errno.EINVAL)
        return _pipe_to_stream(task, source, target, count, nonblock=nonblock)
    at = _user_offset(task, addr) if addr else target.position
    if at < 0 or target.flags & O_APPEND:
        raise LinuxError(errno.EINVAL)
    count = generic_write_checks(task, at, count)
    data = blocking(task, source, READABLE, lambda: source.read(count), nonblock=nonblock)
    try:
        done = target.write_views([memoryview(data)], at) if data else 0
    except LinuxError:
        source.unread(data)
        raise
    source.unread(data[done:])
    if addr:
        task.mm.copy_to_user(addr, struct.pack("<q", at + done))
    else:
        target.position = at + done
    return done


def _pipe_to_stream(
    task: Task, source: PipeEnd, target: OpenFile, count: int, *, nonblock: bool
) -> int:
    """From a pipe to what has no position."""
    data = blocking(task, source, READABLE, lambda: source.read(count), nonblock=nonblock)
    if not data:
        return 0
    try:
        done = blocking(task, target, WRITABLE, lambda: target.write(data), nonblock=nonblock)
    except LinuxError:
        source.unread(data)
        raise
    source.unread(data[done:])
    return done


def _splice_in(
    task: Task, source: OpenFile, addr: int, target: PipeEnd, count: int, *, nonblock: bool
) -> int:
    """From a file, at its position or at the offset at ``addr``, to a pipe."""
    seekable = isinstance(source, SeekableFile | DeviceFile)
    if addr and not seekable:
        raise LinuxError(errno.EINVAL)
    start = _user_offset(task, addr) if addr else source.position
    if start < 0:
        raise LinuxError(errno.EINVAL)
    count = min(count, blocking(task, target, WRITABLE, target.pipe.must_room, nonblock=nonblock))
    if seekable:
        data = source.pread(count, start)
    else:
        data = blocking(task, source, READABLE, lambda: source.read(count), nonblock=nonblock)
    if not data:
        return 0
    done = blocking(task, target, WRITABLE, lambda: target.write(data), nonblock=nonblock)
    if not seekable:
        source.unread(data[done:])
    elif addr:
        task.mm.copy_to_user(addr, struct.pack("<q", start + done))
    else:
        source.position = start + done
    return done


@syscall("tee")
def sys_tee(task: Task, in_fd: int, out_fd: int, count: int, flags: int, *_: int) -> int:
    """tee(2)."""
    flags &= U32
    if flags & ~SPLICE_F_ALL:
        raise LinuxError(errno.EINVAL)
    if not count:
        return 0
    source, target = task.files.get(s32(in_fd)), task.files.get(s32(out_fd))
    _must_read(source)
    _must_write(target)
    if not isinstance(source, PipeEnd) or not isinstance(target, PipeEnd):
        raise LinuxError(errno.EINVAL)
    if source.pipe is target.pipe:
        raise LinuxError(errno.EINVAL)
    nonblock = bool((source.flags | target.flags) & O_NONBLOCK or flags & SPLICE_F_NONBLOCK)
    count = min(count, MAX_RW_COUNT)
    data = blocking(task, source, READABLE, lambda: source.pipe.peek(count), nonblock=nonblock)
    if not data:
        return 0
    return blocking(task, target, WRITABLE, lambda: target.write(data), nonblock=nonblock)


@syscall("vmsplice")
def sys_vmsplice(task: Task, fd: int, addr: int, count: int, flags: int, *_: int) -> int:
    """vmsplice(2): the pages are copied, as if they were read or written."""
    flags &= U32
    if flags & ~SPLICE_F_ALL:
        raise LinuxError(errno.EINVAL)
    file = task.files.get(s32(fd))
    if not isinstance(file, PipeEnd):
        raise LinuxError(errno.EBADF)
    vectors = iovecs(task, addr, count)
    if not any(length for _, length in vectors):
        return 0
    nonblock = bool(flags & SPLICE_F_NONBLOCK)
    if file.flags & O_ACCMODE == O_RDONLY:
        return read_stream(task, file, vectors, nonblock=nonblock)
    return write_stream(task, file, vectors, nonblock=nonblock)
