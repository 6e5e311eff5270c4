# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that can be mapped, and the page cache of each in guest RAM (mm/filemap.c, mm/shmem.c,
include/linux/fs.h, v6.18).

::

    VMA ── vm_file ──> MappedFile       struct file: what one open() may do, its path
                         └── AddressSpace  struct address_space: the pages of one inode
                               └── ops     AddressSpaceOperations: where they come from and go to

A page of a file enters the cache when it is first needed and stays until the file's last user
lets go, or until RAM is short and nobody maps it. The cache itself is one owner of each of its
frames, every PTE that maps one is another.

A page of a file that can be written is mapped read-only until it is (vma_wants_writenotify()): the
first write makes it dirty (page_mkwrite()), and writing it back takes the right away again
(mmu.linux.writeback). So ``dirty`` has every page whose bytes may differ from the file's.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from mmu._native import lib
from mmu.errors import LinuxError, MmuError, OutOfMemory
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu.memory import Memory


# Pages that one miss of a mapped file reads: the default read-ahead window, 128 KiB.
RA_PAGES = 32
# Pages that one read fault may map at once: fault_around_bytes, 64 KiB.
FAULT_AROUND_PAGES = 16
# Bytes a regular file may have: MAX_LFS_FILESIZE.
MAX_LFS_FILESIZE = (1 << 63) - 1

# Seals of a file of memory (include/uapi/linux/fcntl.h).
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
F_SEAL_FUTURE_WRITE, F_SEAL_EXEC = 0x10, 0x20


class AddressSpaceOperations(Protocol):
    """struct address_space_operations: where the pages of a file come from and go to."""

    writable: bool
    """Whether shared mappings may be written."""

    def i_size(self) -> int:
        """Bytes that the file has now."""

    def readahead(self, pgoff: int, pages: Sequence[memoryview]) -> int:
        """Fill pages ``pgoff`` on, each PAGE_SIZE bytes of guest RAM; returns the bytes read, fewer
        at the file's end. Raises LinuxError. Waits for nobody.
        """

    def writepages(self, pgoff: int, pages: Sequence[memoryview]) -> None:
        """Write pages ``pgoff`` on, the last one up to the file's end. Raises LinuxError."""

    def page_mkwrite(self, nr_dirty: int) -> None:
        """A page becomes dirty, as each of shared memory is, and ``nr_dirty`` are already: raises
        LinuxError ENOSPC, EIO if that could not be written back.
        """

    def punch_hole(self, offset: int, length: int) -> bool:
        """Make [offset, offset + length), in bytes, zeros, and drop the pages there; False if
        dropping them is all there is to do, which the caller does. Raises LinuxError. May wait.
        """


class DataOperations:
    """The operations of a file whose bytes are known when it is opened, and cannot be written."""

    writable = False

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data).cast("B")

    def i_size(self) -> int:
        """Bytes."""
        return len(self._data)

    def readahead(self, pgoff: int, pages: Sequence[memoryview]) -> int:
        """Copy them."""
        at = start = pgoff << PAGE_SHIFT
        for page in pages:
            data = self._data[at : at + PAGE_SIZE]
            page[: len(data)] = data
            at += len(data)
        return at - start

    def writepages(self, pgoff: int, pages: Sequence[memoryview]) -> None:
        """They cannot be written."""
        raise LinuxError(errno.EIO)

    def page_mkwrite(self, nr_dirty: int) -> None:
        """They cannot be written."""
        raise LinuxError(errno.EIO)

    def punch_hole(self, offset: int, length: int) -> bool:
        """They cannot be written."""
        raise LinuxError(errno.EACCES)


class ShmemOperations:
    """The operations of shared memory, whose pages have no other place (mm/shmem.c)."""

    writable = True

    def __init__(self, size: int) -> None:
        self.size = size

    def i_size(self) -> int:
        """Bytes."""
        return self.size

    def readahead(self, pgoff: int, pages: Sequence[memoryview]) -> int:
        """A page begins as zeros."""
        return 0

    def writepages(self, pgoff: int, pages: Sequence[memoryview]) -> None:
        """There is nothing to write to."""

    def page_mkwrite(self, nr_dirty: int) -> None:
        """It may be."""

    def punch_hole(self, offset: int, length: int) -> bool:
        """Without its page, memory is zero."""
        return False


class AddressSpace:
    """A struct address_space: the page cache of one file, whoever opened it.

    ``shmem`` says that the pages count as shared memory: they have no other place, or are the
    newest there is as soon as they are cached. ``dirty`` are the numbers of the pages whose bytes
    may be newer than what ``ops`` would read.
    """

    __slots__ = (
        *("_memory", "_pages", "dirty", "ops", "seals", "shmem", "users", "writeback"),
        "__weakref__",
    )

    def __init__(self, ops: AddressSpaceOperations, *, shmem: bool = False) -> None:
        self.ops = ops
        self.shmem = shmem
        self.users = 0
        self.dirty: set[int] = set()
        self.writeback: list[set[int]] = []
        """Of each who writes pages back: those that nobody made dirty again since."""
        self.seals = F_SEAL_SEAL
        """F_SEAL_* bits: what can be done with it no more; only files of memory get others."""
        self._memory: Memory | None = None
        self._pages: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Bytes of the file (i_size)."""
        return self.ops.i_size()

    @property
    def nr_pages(self) -> int:
        """Pages up to end of file, the last one perhaps partial: what can be touched without
        SIGBUS.
        """
        return (self.ops.i_size() + PAGE_SIZE - 1) >> PAGE_SHIFT

    @property
    def nr_cached(self) -> int:
        """Frames the page cache holds."""
        return len(self._pages)

    @property
    def writenotify(self) -> bool:
        """Whether a first write to a page must be heard of (vma_wants_writenotify())."""
        return not self.shmem and self.ops.writable

    def cached(self, pgoff: int) -> int | None:
        """The pfn of the file's page ``pgoff``, if it is in the cache."""
        return self._pages.get(pgoff)

    def frames(self, pgoffs: Iterable[int]) -> list[int]:
        """The pfns of these pages of the file, 0 for those that are not in the cache."""
        get = self._pages.get
        return [get(pgoff, 0) for pgoff in pgoffs]

    def cached_pages(self, first: int, end: int) -> list[int]:
        """The numbers of the cached pages of [first, end), in their order."""
        if end - first < len(self._pages):
            return [pgoff for pgoff in range(first, end) if pgoff in self._pages]
        return sorted(pgoff for pgoff in self._pages if first <= pgoff < end)

    def view(self, pgoff: int) -> memoryview:
        """The bytes of a cached page, in guest RAM."""
        assert self._memory is not None
        return self._memory.view(self._pages[pgoff] << PAGE_SHIFT, PAGE_SIZE)

    def read_pages(self, memory: Memory, pgoff: int) -> int:
        """Bring page ``pgoff`` in, and the read-ahead window around it; returns its pfn.

        Raises OutOfMemory if there is no frame for that page, LinuxError EIO if it cannot be read,
        ENOSPC if shared memory may have no more; a shorter window is no error.
        """
        self._use(memory)
        if pgoff in self._pages:
            return self._pages[pgoff]
        if self.shmem:
            self.ops.page_mkwrite(len(self.dirty))
            self._fill(memory, [pgoff], [memory.alloc_pages()])
            return self._pages[pgoff]
        first = max(0, pgoff - RA_PAGES // 2)
        self._read_window(memory, first, first + RA_PAGES, pgoff)
        return self._pages[pgoff]

    def read_ahead(self, memory: Memory, first: int, end: int) -> None:
        """Bring pages [first, end) in as far as the file and free RAM go; shared memory has nothing
        to bring.
        """
        if self.shmem:
            return
        if not all(map(self._pages.__contains__, range(first, end))):
            self._use(memory)
            self._read_window(memory, first, end, None)

    def _read_window(self, memory: Memory, first: int, end: int, needed: int | None) -> None:
        """Read what is missing of [first, end), each stretch at once. Errors matter only of the
        page ``needed``, which gets its frame first.
        """
        pages = self._pages
        missing = [n for n in range(first, min(end, self.nr_pages)) if n not in pages]
        frames = {} if needed is None else {needed: memory.alloc_pages()}
        with suppress(OutOfMemory):
            for pgoff in missing:
                if pgoff != needed:
                    frames[pgoff] = memory.alloc_pages()
        failed = False
        for pgoffs in runs(sorted(frames)):
            try:
                self._fill(memory, pgoffs, [frames[pgoff] for pgoff in pgoffs])
            except LinuxError:
                failed |= needed in pgoffs
        if failed and needed is not None:
            self._fill(memory, [needed], [memory.alloc_pages()])

    def set_dirty(self, pgoff: int) -> None:
        """page_mkwrite(): the cached page ``pgoff`` may be written from now on. Raises LinuxError
        if it could not be written back.
        """
        for pages in self.writeback:
            pages.discard(pgoff)
        if pgoff in self.dirty:
            return
        self.ops.page_mkwrite(len(self.dirty))
        self.dirty.add(pgoff)

    def clear_dirty(self, pgoff: int) -> None:
        """The page is as the file is."""
        self.dirty.discard(pgoff)
        if self._memory is not None:
            self._memory.page(self._pages[pgoff]).flags &= ~lib.PG_dirty

    def drop_unmapped(self) -> int:
        """Free the cached frames that no PTE maps and whose data can be read again; returns how
        many.
        """
        if self._memory is None or self.shmem:
            return 0
        page = self._memory.page
        idle = [
            pgoff
            for pgoff, pfn in self._pages.items()
            if page(pfn)._refcount == 1
            and not page(pfn).flags & lib.PG_locked
            and pgoff not in self.dirty
        ]
        for pgoff in idle:
            self._memory.put_page(self._pages.pop(pgoff))
        return len(idle)

    def truncate_range(self, first: int, end: int) -> None:
        """Drop pages [first, end) from the cache, written back or not; the caller has unmapped
        them.
        """
        for pgoff in self.cached_pages(first, end):
            if self._memory is not None:
                self._memory.put_page(self._pages.pop(pgoff))
            self.dirty.discard(pgoff)

    def get(self) -> None:
        """One more user, who keeps the cache alive."""
        self.users += 1

    def put(self) -> None:
        """One user less; the last one drops the cache."""
        self.users -= 1
        if not self.users:
            self.drop()

    def drop(self) -> None:
        """Drop the whole cache, which nobody maps and nobody needs."""
        self.truncate_range(0, MAX_LFS_FILESIZE)
        self._memory = None

    def _use(self, memory: Memory) -> None:
        if self._memory is None:
            self._memory = memory
        elif self._memory is not memory:
            raise MmuError(f"{self!r} is cached in another guest's RAM")

    def _fill(self, memory: Memory, pgoffs: Sequence[int], frames: Sequence[int]) -> None:
        """Read pages that follow one another into these frames, which are zero, and have them in
        the cache.
        """
        if not frames:
            return
        views = [memory.view(pfn << PAGE_SHIFT, PAGE_SIZE) for pfn in frames]
        try:
            self.ops.readahead(pgoffs[0], views)
        except LinuxError:
            for pfn in frames:
                memory.put_page(pfn)
            raise
        for pgoff, pfn in zip(pgoffs, frames, strict=True):
            page = memory.page(pfn)
            page.index = pgoff
            if self.shmem:
                page.flags |= lib.PG_swapbacked
                self.dirty.add(pgoff)
            self._pages[pgoff] = pfn


def runs(numbers: Iterable[int]) -> Iterator[list[int]]:
    """The stretches of rising numbers that follow one another."""
    for _, stretch in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [number for _, number in stretch]


class MappedFile:
    """A struct file as mmap() wants it: whose pages, under which name, with which rights.

    ``data`` is an AddressSpace, or any bytes-like object, whose last page is filled up with zeros.
    ``path``, ``device`` (major, minor) and ``inode`` are what /proc/self/maps tells. ``readable``,
    ``writable`` and ``noexec`` decide what mmap() allows. A shared mapping that could be made
    writable is refused where writes have nowhere to go, as by generic_file_readonly_mmap().
    """

    def __init__(
        self,
        data: bytes | bytearray | memoryview | AddressSpace,
        *,
        path: str = "",
        readable: bool = True,
        writable: bool = False,
        noexec: bool = False,
        device: tuple[int, int] = (0, 0),
        inode: int = 0,
    ) -> None:
        if not isinstance(data, AddressSpace):
            data = AddressSpace(DataOperations(data))
        self.mapping = data
        self.path = path
        self.readable = readable
        self.writable = writable
        self.noexec = noexec
        self.device = device
        self.inode = inode
        self.special = False
        self.users = 0

    @classmethod
    def shared_anonymous(cls, size: int) -> MappedFile:
        """shmem_zero_setup(): the nameless file of ``size`` zero bytes behind MAP_SHARED |
        MAP_ANONYMOUS.
        """
        mapping = AddressSpace(ShmemOperations(size), shmem=True)
        return cls(mapping, path="/dev/zero (deleted)", writable=True, device=(0, 1))

    @classmethod
    def special_mapping(cls, data: bytes, path: str) -> MappedFile:
        """struct vm_special_mapping: pages of the kernel's, mapped one at a time, whose mapping
        cannot be split.
        """
        file = cls(data, path=path)
        file.special = True
        return file

    def shown(self) -> tuple[str, tuple[int, int], int]:
        """Its path, device and inode as /proc/self/maps tells them now."""
        return self.path, self.device, self.inode

    def __repr__(self) -> str:
        """Name and size, for people."""
        return f"<MappedFile {self.path or 'without a name'}, {self.size} bytes>"

    @property
    def shmem(self) -> bool:
        """Whether it is shared memory."""
        return self.mapping.shmem

    @property
    def size(self) -> int:
        """Bytes, now."""
        return self.mapping.size

    @property
    def nr_cached(self) -> int:
        """Frames the page cache holds."""
        return self.mapping.nr_cached

    def cached(self, pgoff: int) -> int | None:
        """The pfn of the file's page ``pgoff``, if it is in the cache."""
        return self.mapping.cached(pgoff)

    def get(self) -> None:
        """One more user, who keeps the pages' cache alive."""
        self.users += 1
        if self.users == 1:
            self.mapping.get()

    def put(self) -> None:
        """One user less; with the last one of all files of the pages their cache goes."""
        self.users -= 1
        if not self.users:
            self.mapping.put()

    @contextmanager
    def user(self) -> Iterator[None]:
        """Be a user for a while."""
        self.get()
        try:
            yield
        finally:
            self.put()
