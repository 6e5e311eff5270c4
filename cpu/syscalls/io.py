# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading and writing (fs/read_write.c): what the files cannot do yet is waited for here."""

from __future__ import annotations

import errno
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

from cpu.fs.files import O_APPEND, O_NONBLOCK
from cpu.fs.poll import READABLE, WRITABLE
from cpu.fs.regular_files import SeekableFile
from cpu.signal_send import send_sig
from cpu.syscalls.registry import Handler, s32, s64, syscall
from mmu.errors import LinuxError
from mmu.linux.filemap import MAX_LFS_FILESIZE
from mmu.linux.iov_iter import IovIter
from mmu.linux.resource import Resource
from mmu.linux.sched import ERESTARTSYS
from mmu.linux.uaccess import raw_copy_from_user, raw_copy_to_user
from mmu.units import U32
from mmu.x86 import Access

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task

T = TypeVar("T")
Vectors = list[tuple[int, int]]
"""(base, length) pairs."""

IOV_MAX = 1024
MAX_RW_COUNT = 0x7FFFF000
"""Bytes that one call moves at most (include/linux/fs.h)."""
PIECE = 1 << 20
"""Bytes held on the host at a time."""


def blocking(
    task: Task,
    file: OpenFile,
    events: int,
    action: Callable[[], T],
    *,
    nonblock: bool = False,
) -> T:
    """Do what may raise EAGAIN; wait until it does not, unless the file is O_NONBLOCK.

    ``events`` may make it possible. Raises ERESTARTSYS if a signal came first.
    """
    results: list[T] = []

    def ready() -> bool:
        try:
            results.append(action())
        except LinuxError as error:
            if error.errno == errno.EAGAIN:
                return False
            raise
        return True

    if nonblock or file.flags & O_NONBLOCK:
        return action()
    if ready():
        return results[0]
    what = f"{'input from' if events & READABLE else 'room in'} {file.path or 'a file'}"
    file.users += 1
    try:
        if file.wait(events, ready, what):
            raise LinuxError(ERESTARTSYS)
    finally:
        file.put()
    return results[0]


def _pieces(task: Task, vectors: Vectors) -> Iterator[bytes]:
    """The user memory of the vectors, joined, in pieces of PIECE bytes; MAX_RW_COUNT bytes in all.

    It ends where it cannot be read; EFAULT if that is at once.
    """
    piece, left, began = bytearray(), MAX_RW_COUNT, False
    for base, length in vectors:
        at, end = base, base + min(length, left)
        left -= end - at
        while at < end:
            size = min(end - at, PIECE - len(piece))
            data = raw_copy_from_user(task.mm, at, size)
            piece += data
            at += len(data)
            if len(data) < size:
                if not piece and not began:
                    raise LinuxError(errno.EFAULT)
                yield bytes(piece)
                return
            if len(piece) == PIECE:
                yield bytes(piece)
                piece.clear()
                began = True
    if piece or not began:
        yield bytes(piece)


def write_all(
    task: Task,
    file: OpenFile,
    data: bytes,
    *,
    nonblock: bool = False,
    sigpipe: bool = True,
    write: Callable[[bytes], int] | None = None,
) -> int:
    """Write ``data``, waiting for room; what was written before an error is the result. EPIPE
    comes with SIGPIPE if ``sigpipe``.
    """
    done, put = 0, write or file.write
    while True:
        try:
            rest = data[done:]
            done += blocking(task, file, WRITABLE, lambda: put(rest), nonblock=nonblock)  # noqa: B023
        except LinuxError as error:
            if error.errno == errno.EPIPE and sigpipe and file.sigpipe:
                send_sig(signal.SIGPIPE, task)
            if done:
                return done
            raise
        if done == len(data) or task.system.stopping:
            return done


def _write(task: Task, file: OpenFile, vectors: Vectors) -> int:
    """Write user memory; what was written before an error is the result."""
    if isinstance(file, SeekableFile):
        return write_regular(task, file, vectors)
    return write_stream(task, file, vectors)


def write_stream(task: Task, file: OpenFile, vectors: Vectors, *, nonblock: bool = False) -> int:
    """Write user memory to what has no position; what was written before an error is the result."""
    done = 0
    for data in _pieces(task, vectors):
        try:
            written = write_all(task, file, data, nonblock=nonblock)
        except LinuxError:
            if done:
                return done
            raise
        done += written
        if written < len(data):
            break
    return done


def _pwrite(task: Task, file: OpenFile, vectors: Vectors, offset: int) -> int:
    if isinstance(file, SeekableFile):
        return write_regular(task, file, vectors, offset)
    done = 0
    for data in _pieces(task, vectors):
        written = file.pwrite(data, offset + done)
        done += written
        if written < len(data):
            break
    return done


def read_regular(
    task: Task, file: SeekableFile, vectors: Vectors, offset: int | None = None
) -> int:
    """Read a regular file into user memory, from ``offset`` or the position on, which moves then;
    between the host and the frames of the user's pages.
    """
    file.must_read()
    if offset is not None:
        return _read_at(task, file, vectors, offset)
    with file.f_pos_lock(task.system.kernel):
        start = file.position
        done = _read_at(task, file, vectors, start)
        file.position = start + done
    return done


def _read_at(task: Task, file: SeekableFile, vectors: Vectors, start: int) -> int:
    rw_verify_area(start, vectors)
    to, done = IovIter(task.mm, vectors, Access.WRITE, MAX_RW_COUNT), 0
    try:
        while to.count and not task.system.stopping:
            ahead = file.ahead(start + done)
            if not ahead:
                break
            pieces = to.pieces(ahead)
            if not pieces:
                raise LinuxError(errno.EFAULT)
            asked = sum(map(len, pieces))
            moved = file.read_views(pieces, start + done)
            to.advance(moved)
            done += moved
            if moved < asked:
                break
    except LinuxError:
        if not done:
            raise
    return done


def write_regular(
    task: Task,
    file: SeekableFile,
    vectors: Vectors,
    offset: int | None = None,
    *,
    append: bool | None = None,
) -> int:
    """Write user memory to a regular file, at ``offset`` or the position, which moves then; at its
    end with ``append``, None: as O_APPEND says.
    """
    file.must_write()
    if append is None:
        append = bool(file.flags & O_APPEND)
    if offset is not None:
        with file.inode_lock:
            return _write_at(task, file, vectors, file.size if append else offset)
    with file.f_pos_lock(task.system.kernel), file.inode_lock:
        start = file.size if append else file.position
        done = _write_at(task, file, vectors, start)
        file.position = start + done
    return done


def _write_at(task: Task, file: SeekableFile, vectors: Vectors, start: int) -> int:
    rw_verify_area(start, vectors)
    source, done = IovIter(task.mm, vectors, Access.READ, MAX_RW_COUNT), 0
    room = generic_write_checks(task, start, source.count)
    try:
        while source.count and done < room and not task.system.stopping:
            pieces = source.pieces(room - done)
            if not pieces:
                raise LinuxError(errno.EFAULT)
            moved = file.write_views(pieces, start + done)
            source.advance(moved)
            done += moved
            if moved < sum(map(len, pieces)):
                break
    except LinuxError:
        if not done:
            raise
    return done


def rw_verify_area(start: int, vectors: Vectors) -> None:
    """EINVAL for what would reach beyond the last offset."""
    if start + sum(length for _, length in vectors) > MAX_LFS_FILESIZE:
        raise LinuxError(errno.EINVAL)


def inode_newsize_ok(task: Task, was: int, size: int) -> None:
    """Whether a file of ``was`` bytes may be made ``size`` bytes long: EFBIG, and SIGXFSZ for
    RLIMIT_FSIZE.
    """
    if size > was and size > task.rlimits[Resource.FSIZE].cur:
        send_sig(signal.SIGXFSZ, task)
        raise LinuxError(errno.EFBIG)


def generic_write_checks(task: Task, start: int, count: int) -> int:
    """How many of ``count`` bytes may be written at ``start``: as RLIMIT_FSIZE says, beyond which
    is EFBIG and SIGXFSZ, and MAX_LFS_FILESIZE.
    """
    if not count:
        return 0
    limit = task.rlimits[Resource.FSIZE].cur
    if start >= limit:
        send_sig(signal.SIGXFSZ, task)
        raise LinuxError(errno.EFBIG)
    if start >= MAX_LFS_FILESIZE:
        raise LinuxError(errno.EFBIG)
    return min(count, limit - start, MAX_LFS_FILESIZE - start)


def _read(task: Task, file: OpenFile, vectors: Vectors, offset: int | None = None) -> int:
    if isinstance(file, SeekableFile):
        return read_regular(task, file, vectors, offset)
    return read_stream(task, file, vectors, offset)


def read_stream(
    task: Task,
    file: OpenFile,
    vectors: Vectors,
    offset: int | None = None,
    *,
    nonblock: bool = False,
) -> int:
    """Read into user memory what the source has now; with an offset as pread does.

    A stream is asked once, for its next answer may be long in coming. Where the user's memory ends
    the read ends too: what found no place there stays in the source.
    """
    whole, done = stat.S_ISREG(file.mode) or stat.S_ISCHR(file.mode), 0
    left = min(sum(length for _, length in vectors), MAX_RW_COUNT)
    places = _places(vectors)
    while True:
        size = min(left - done, PIECE)
        try:
            at = None if offset is None else offset + done
            data = _ask(task, file, size, at, nonblock=nonblock)
        except LinuxError:
            if done:
                return done
            raise
        copied = _scatter(task, places, data)
        done += copied
        if copied < len(data):
            if offset is None:
                file.unread(data[copied:])
            if not done:
                raise LinuxError(errno.EFAULT)
        if copied < size or not whole or done == left or task.system.stopping:
            return done


def _ask(task: Task, file: OpenFile, size: int, offset: int | None, *, nonblock: bool) -> bytes:
    if offset is not None:
        return file.pread(size, offset)
    return blocking(task, file, READABLE, lambda: file.read(size), nonblock=nonblock)


def _places(vectors: Vectors) -> list[tuple[int, int]]:
    """The vectors that are not empty, the next to be filled last."""
    return [vector for vector in reversed(vectors) if vector[1]]


def _scatter(task: Task, places: list[tuple[int, int]], data: bytes) -> int:
    """Put ``data`` into the next places, and take what is full away; returns the bytes that found
    one.
    """
    done = 0
    while done < len(data) and places:
        base, length = places.pop()
        part = data[done : done + length]
        copied = raw_copy_to_user(task.mm, base, part)
        done += copied
        if copied < length:
            places.append((base + copied, length - copied))
        if copied < len(part):
            break
    return done


def iovecs(task: Task, addr: int, count: int) -> Vectors:
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


def _offset(offset: int) -> int:
    if s64(offset) < 0:
        raise LinuxError(errno.EINVAL)
    return offset


def _reads(handler: Handler) -> Handler:
    """Count the call and its bytes for /proc/PID/io (add_rchar(), inc_syscr())."""

    @wraps(handler)
    def counted(task: Task, *args: int) -> int:
        used = task.process.io
        used.syscr += 1
        done = handler(task, *args)
        used.rchar += done
        return done

    return counted


def _writes(handler: Handler) -> Handler:
    """The same of a call that writes."""

    @wraps(handler)
    def counted(task: Task, *args: int) -> int:
        used = task.process.io
        used.syscw += 1
        done = handler(task, *args)
        used.wchar += done
        return done

    return counted


@syscall("write")
@_writes
def sys_write(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """write(2)."""
    return _write(task, task.files.get(s32(fd)), [(addr, count)])


@syscall("writev")
@_writes
def sys_writev(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """writev(2)."""
    file = task.files.get(s32(fd))
    return _write(task, file, iovecs(task, addr, count))


@syscall("pwrite64")
@_writes
def sys_pwrite64(task: Task, fd: int, addr: int, count: int, offset: int, *_: int) -> int:
    """pwrite(2)."""
    at = _offset(offset)
    return _pwrite(task, task.files.get(s32(fd)), [(addr, count)], at)


@syscall("pwritev")
@_writes
def sys_pwritev(task: Task, fd: int, addr: int, count: int, offset: int, *_: int) -> int:
    """pwritev(2)."""
    at, file = _offset(offset), task.files.get(s32(fd))
    return _pwrite(task, file, iovecs(task, addr, count), at)


@syscall("read")
@_reads
def sys_read(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """read(2)."""
    return _read(task, task.files.get(s32(fd)), [(addr, count)])


@syscall("readv")
@_reads
def sys_readv(task: Task, fd: int, addr: int, count: int, *_: int) -> int:
    """readv(2)."""
    file = task.files.get(s32(fd))
    return _read(task, file, iovecs(task, addr, count))


@syscall("pread64")
@_reads
def sys_pread64(task: Task, fd: int, addr: int, count: int, offset: int, *_: int) -> int:
    """pread(2)."""
    at = _offset(offset)
    return _read(task, task.files.get(s32(fd)), [(addr, count)], at)


@syscall("preadv")
@_reads
def sys_preadv(task: Task, fd: int, addr: int, count: int, offset: int, *_: int) -> int:
    """preadv(2)."""
    at, file = _offset(offset), task.files.get(s32(fd))
    return _read(task, file, iovecs(task, addr, count), at)


RWF_HIPRI, RWF_DSYNC, RWF_SYNC, RWF_NOWAIT = 1, 2, 4, 8
RWF_APPEND, RWF_NOAPPEND, RWF_ATOMIC, RWF_DONTCACHE = 0x10, 0x20, 0x40, 0x80
RWF_NOSIGNAL = 0x100
_RWF_SUPPORTED = (
    RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND | RWF_NOSIGNAL
)


def _rw_flags(flags: int) -> int:
    """kiocb_set_rw_flags(): EOPNOTSUPP for what no file here does, EINVAL for a contradiction."""
    flags &= U32
    if flags & ~_RWF_SUPPORTED:
        raise LinuxError(errno.EOPNOTSUPP)
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise LinuxError(errno.EINVAL)
    return flags


@syscall("preadv2")
@_reads
def sys_preadv2(
    task: Task, fd: int, addr: int, count: int, offset: int, _high: int, flags: int
) -> int:
    """preadv2(2); an offset of -1 is the position."""
    file, at = task.files.get(s32(fd)), None if s64(offset) == -1 else _offset(offset)
    vectors = iovecs(task, addr, count)
    nonblock = bool(_rw_flags(flags) & RWF_NOWAIT)
    if isinstance(file, SeekableFile):
        return read_regular(task, file, vectors, at)
    return read_stream(task, file, vectors, at, nonblock=nonblock)


@syscall("pwritev2")
@_writes
def sys_pwritev2(
    task: Task, fd: int, addr: int, count: int, offset: int, _high: int, flags: int
) -> int:
    """pwritev2(2); an offset of -1 is the position."""
    file, at = task.files.get(s32(fd)), None if s64(offset) == -1 else _offset(offset)
    vectors = iovecs(task, addr, count)
    flags = _rw_flags(flags)
    if not isinstance(file, SeekableFile):
        if at is not None:
            return _pwrite(task, file, vectors, at)
        return write_stream(task, file, vectors, nonblock=bool(flags & RWF_NOWAIT))
    append = {RWF_APPEND: True, RWF_NOAPPEND: False}.get(flags & (RWF_APPEND | RWF_NOAPPEND))
    done = write_regular(task, file, vectors, at, append=append)
    if flags & (RWF_DSYNC | RWF_SYNC):
        file.fsync()
    return done


@syscall("lseek")
def sys_lseek(task: Task, fd: int, offset: int, whence: int, *_: int) -> int:
    """lseek(2)."""
    return task.files.get(s32(fd)).seek(s64(offset), s32(whence))
