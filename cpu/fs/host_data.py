# SPDX-License-Identifier: GPL-2.0-or-later
"""The bytes of a file of the host's: read, written and mapped straight between the host and frames
of guest RAM (mm/filemap.c, fs/read_write.c, v6.18).

The host's file has them, but for pages of ``mapping.dirty``, which guests changed in guest RAM. A
read takes those from there. A write goes to the host, and to the page if it is cached, so that
mappings and files agree at all times.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from cpu.fs.mutex import Mutex
from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.filemap import AddressSpace
from mmu.linux.state import Kernel
from mmu.linux.truncate import truncate_pagecache_range
from mmu.linux.writeback import filemap_write_range
from mmu.units import PAGE_SHIFT

Views = Sequence[memoryview]
"""Pieces of memory, one after the other."""
T = TypeVar("T")

FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2
FALLOC_FL_ZERO_RANGE: Final = 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)


class Space:
    """What the upper layer may hold: ``limit`` bytes, of which its files take ``used``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._dirty: dict[HostData, None] = {}
        self.tell: Callable[[str], None] = lambda line: None
        """Hears, in words for the user, that there was no room."""

    def no_room(
        self, what: str = "room was left for what guests write (--disk-limit)"
    ) -> LinuxError:
        """ENOSPC, and somebody is told."""
        self.tell(f"no {what}: that was answered ENOSPC")
        return LinuxError(errno.ENOSPC)

    @property
    def room(self) -> int:
        """Bytes that are left, when what is dirty is written."""
        return max(self.limit - self.used - self._reserved(), 0)

    def add_dirty(self, data: HostData) -> None:
        """A page of that file becomes dirty."""
        self._dirty[data] = None

    def _reserved(self) -> int:
        """Bytes that dirty pages may take yet."""
        for data in [data for data in self._dirty if not data.mapping.dirty]:
            del self._dirty[data]
        return sum(len(data.mapping.dirty) << PAGE_SHIFT for data in self._dirty if data.sparse())


class HostData:
    """A file of the host's, open as ``fd`` while a guest has it, and its pages in guest RAM.

    It is the ``ops`` of its ``mapping``. ``space``: what it takes is counted there; None: it is in
    no upper layer. ``shmem``: its pages count as shared memory. Every method that reads or writes
    needs the file open, and raises LinuxError.
    """

    __slots__ = (
        "_size",
        "_space",
        "_used",
        "fd",
        "fd_writes",
        "kernel",
        "lock",
        "mapping",
        "writable",
    )

    def __init__(self, kernel: Kernel, space: Space | None, *, writable: bool, shmem: bool) -> None:
        self.kernel = kernel
        self.writable = writable
        self.mapping = AddressSpace(self, shmem=shmem)
        self.mapping.get()
        self.lock = Mutex(kernel, "the i_rwsem of a file")
        """Held by who writes, or changes the size."""
        self.fd = -1
        self.fd_writes = False
        self._size = 0
        self._space = space
        self._used = 0

    # The descriptor.

    def open(self, fd: int, *, writes: bool) -> None:
        """Have ``fd``, which can be written if ``writes``: the first, and the first that can."""
        if self.fd < 0 or (writes and not self.fd_writes):
            self.close()
            self.fd, self.fd_writes = fd, writes
            self._size = 0
            self.account()
        else:
            os.close(fd)

    def close(self) -> None:
        """Give the host's descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.fd_writes = -1, False

    def copy_up(self, fd: int, space: Space, *, keep_open: bool) -> None:
        """The file is the one of ``fd`` from now on, in the upper layer, with the same bytes."""
        self.close()
        self.fd, self.fd_writes = fd, True
        self._space, self.writable = space, True
        self.account()
        if not keep_open:
            self.close()

    def reopen(self, *, writes: bool) -> int:
        """One more descriptor of the host's, of the same file."""
        flags = os.O_RDWR if writes else os.O_RDONLY
        if self.fd_writes or not writes:
            return os.dup(self.fd)
        return _host(lambda: os.open(f"/proc/self/fd/{self.fd}", flags | os.O_CLOEXEC))

    def account(self) -> None:
        """Count what the host's file takes now."""
        if self._space is not None:
            used = os.fstat(self.fd).st_blocks << 9
            self._space.used += used - self._used
            self._used = used

    def release(self) -> None:
        """The host's file is gone: it takes nothing."""
        if self._space is not None:
            self._space.used -= self._used
            self._used = 0

    # What a mapping asks (AddressSpaceOperations).

    def i_size(self) -> int:
        """Bytes, now."""
        return os.fstat(self.fd).st_size

    def readahead(self, pgoff: int, pages: Views) -> int:
        """Read whole pages from the host's file."""
        return _all(lambda views, at: os.preadv(self.fd, views, at), pages, pgoff << PAGE_SHIFT)

    def writepages(self, pgoff: int, pages: Views) -> None:
        """Write whole pages to the host's file, which ends where it did."""
        at = pgoff << PAGE_SHIFT
        views = _first(pages, self.i_size() - at)
        _all(lambda views, at: os.pwritev(self.fd, views, at), views, at)
        self.account()

    def page_mkwrite(self, nr_dirty: int) -> None:
        """ENOSPC if no room is left for one more page."""
        if self._space is None:
            return
        if self._space.room < 1 << PAGE_SHIFT and self.sparse():
            raise self._space.no_room()
        self._space.add_dirty(self)

    def punch_hole(self, offset: int, length: int) -> bool:
        """Make it a hole."""
        self.fallocate(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length)
        return True

    # What read() and write() ask.

    def preadv(self, views: Views, at: int) -> int:
        """Read from byte ``at`` on; returns the bytes read, fewer at the file's end."""
        if not self.mapping.dirty:
            return self._host_preadv(views, at)
        length = sum(map(len, views))
        first, end = at >> PAGE_SHIFT, -(-(at + length) >> PAGE_SHIFT)
        newer = sorted(pgoff for pgoff in self.mapping.dirty if first <= pgoff < end)
        if not newer:
            return self._host_preadv(views, at)
        pages = [bytes(self.mapping.view(pgoff)) for pgoff in newer]  # views may be of them
        done = _all(lambda views, at: os.preadv(self.fd, views, at), views, at)
        for pgoff, page in zip(newer, pages, strict=True):
            start = max(at, pgoff << PAGE_SHIFT)
            stop = min(at + done, pgoff + 1 << PAGE_SHIFT)
            if start < stop:
                offset = start - (pgoff << PAGE_SHIFT)
                part = memoryview(page)[offset : offset + stop - start]
                _spread(part, views, start - at)
        return done

    def _host_preadv(self, views: Views, at: int) -> int:
        try:
            return os.preadv(self.fd, views, at)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None

    def ahead(self, at: int) -> int:
        """Bytes that can be read from byte ``at`` on, 0 at the end. The host is asked for the size
        there only.
        """
        if at >= self._size:
            self._size = self.i_size()
        return max(self._size - at, 0)

    def pwritev(self, views: Views, at: int) -> int:
        """Write to byte ``at`` on; returns the bytes written. ENOSPC, EFBIG if there are none."""
        length = sum(map(len, views))
        if self._space is not None and self._space.room < length:
            length = self._room_at(at, length)
            views = _first(views, length)
        size = self.i_size()
        if at > size:
            self._zero_cached(size, at)
        done = _host(lambda: os.pwritev(self.fd, views, at))
        if self.mapping.nr_cached:
            self._update_cached(views, at, done)
        self.account()
        return done

    def _room_at(self, at: int, length: int) -> int:
        """How many of so many bytes may be written although there is little room: those that lie in
        the file already may.
        """
        allowed = max(min(self.i_size() - at, length), 0) if not self.sparse() else 0
        allowed = max(allowed, min(self._space.room if self._space else length, length))
        if not allowed:
            raise self._space.no_room() if self._space else LinuxError(errno.ENOSPC)
        return allowed

    def sparse(self) -> bool:
        """Whether pages of it may take room when they are written: it has holes."""
        if self.fd < 0:
            return True
        info = os.fstat(self.fd)
        return info.st_blocks << 9 < info.st_size

    def _update_cached(self, views: Views, at: int, length: int) -> None:
        """Have the cached pages of [at, at + length) say what was written."""
        first, end = at >> PAGE_SHIFT, -(-(at + length) >> PAGE_SHIFT)
        cached = self.mapping.cached_pages(first, end)
        if not cached:
            return
        data = memoryview(views[0] if len(views) == 1 else b"".join(views))
        for pgoff in cached:
            start = max(at, pgoff << PAGE_SHIFT)
            stop = min(at + length, pgoff + 1 << PAGE_SHIFT)
            self._write_cached(pgoff, start - (pgoff << PAGE_SHIFT), data[start - at : stop - at])

    def _write_cached(self, pgoff: int, offset: int, data: memoryview | bytes) -> None:
        memory, pfn = self.kernel.memory, self.mapping.cached(pgoff)
        assert pfn is not None
        page = memory.page(pfn)
        if page.flags & lib.PG_code:
            self.kernel.note_code_written(pfn << PAGE_SHIFT)
        if self.mapping.shmem:
            page.flags |= lib.PG_dirty
        self.mapping.view(pgoff)[offset : offset + len(data)] = data

    def _zero_cached(self, start: int, end: int) -> None:
        """Clear [start, end) where it is cached: whole and parts of pages."""
        for pgoff in self.mapping.cached_pages(start >> PAGE_SHIFT, -(-end >> PAGE_SHIFT)):
            low = max(start, pgoff << PAGE_SHIFT)
            high = min(end, pgoff + 1 << PAGE_SHIFT)
            self._write_cached(pgoff, low - (pgoff << PAGE_SHIFT), bytes(high - low))

    # Sizes and holes.

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long; pages beyond go, out of every mapping too
        (truncate_setsize()). Takes the lock; may wait.
        """
        with self.lock:
            self._truncate(size)

    def _truncate(self, size: int) -> None:
        was, self._size = self.i_size(), 0
        _host(lambda: os.ftruncate(self.fd, size))
        if size < was:
            first, end = -(-size >> PAGE_SHIFT), -(-was >> PAGE_SHIFT)
            truncate_pagecache_range(self.kernel, self.mapping, first, end, even_cows=True)
            self._zero_cached(size, first << PAGE_SHIFT)
        else:
            self._zero_cached(was, -(-was >> PAGE_SHIFT) << PAGE_SHIFT)
        self.account()

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """Have blocks for a range, or make it a hole, or zeros. EOPNOTSUPP for other modes.
        Takes the lock; may wait.
        """
        kind = mode & ~FALLOC_FL_KEEP_SIZE
        if kind == FALLOC_FL_PUNCH_HOLE and mode == kind:
            raise LinuxError(errno.EOPNOTSUPP)
        if kind not in (0, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE):
            raise LinuxError(errno.EOPNOTSUPP)
        if kind != FALLOC_FL_PUNCH_HOLE and self._space is not None and self._space.room < length:
            raise self._space.no_room()
        with self.lock:
            if not kind:
                self._fallocate(mode, offset, length)
            else:
                self._clear(mode, offset, length)
            self.account()

    def _fallocate(self, mode: int, offset: int, length: int) -> None:
        if _libc.fallocate(self.fd, mode, offset, length):
            raise LinuxError(ctypes.get_errno())

    def _clear(self, mode: int, offset: int, length: int) -> None:
        """Zeros in [offset, offset + length), in the cache and on the host."""
        end, size = offset + length, self.i_size()
        first, last = -(-offset >> PAGE_SHIFT), end >> PAGE_SHIFT
        if first < last:
            truncate_pagecache_range(self.kernel, self.mapping, first, last)
        self._zero_cached(offset, end)
        try:
            self._fallocate(mode, offset, length)
        except LinuxError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            if not mode & FALLOC_FL_KEEP_SIZE and end > size:
                _host(lambda: os.ftruncate(self.fd, end))
            self._write_zeros(offset, min(end, self.i_size()))

    def _write_zeros(self, offset: int, end: int) -> None:
        zeros = memoryview(bytes(min(max(end - offset, 0), 1 << 20)))
        while offset < end:
            at, part = offset, zeros[: end - offset]
            offset += _host(lambda: os.pwritev(self.fd, [part], at))  # noqa: B023

    def seek_hole_data(self, offset: int, whence: int) -> int:
        """lseek(SEEK_DATA), lseek(SEEK_HOLE); ENXIO beyond the end. May wait."""
        self.write_back()
        return _host(lambda: os.lseek(self.fd, offset, whence))

    def write_back(self) -> None:
        """Write every dirty page to the host's file (filemap_fdatawrite()). May wait."""
        if self.mapping.dirty:
            filemap_write_range(self.kernel, self.mapping, 0, self.mapping.nr_pages)


def _host(call: Callable[[], T]) -> T:
    """What the host answers; its errors are the guest's."""
    try:
        return call()
    except OSError as error:
        raise LinuxError(error.errno or errno.EIO) from None


def _all(call: Callable[[Views, int], int], views: Views, at: int) -> int:
    """Call until all views are done, or nothing is; returns the bytes done."""
    done = 0
    for group in _groups(views):
        rest = list(group)
        while rest:
            moved = _host(lambda: call(rest, at + done))  # noqa: B023
            if not moved:
                return done
            done += moved
            rest = _after(rest, moved) if moved < sum(map(len, rest)) else []
    return done


def _groups(views: Views) -> Iterator[Views]:
    """No more at a time than the host takes."""
    for start in range(0, len(views), _IOV_MAX):
        yield views[start : start + _IOV_MAX]


_IOV_MAX: Final = 1024


def _first(views: Views, length: int) -> list[memoryview]:
    """The first ``length`` bytes."""
    parts = []
    for view in views:
        if length <= 0:
            break
        parts.append(view[:length])
        length -= len(parts[-1])
    return parts


def _after(views: Views, skip: int) -> list[memoryview]:
    """All but the first ``skip`` bytes."""
    parts = []
    for view in views:
        if skip < len(view):
            parts.append(view[skip:])
        skip = max(skip - len(view), 0)
    return parts


def _spread(data: memoryview, views: Views, skip: int) -> None:
    """Put ``data`` into the views, ``skip`` bytes after their start."""
    for view in _first(_after(views, skip), len(data)):
        view[:] = data[: len(view)]
        data = data[len(view) :]
