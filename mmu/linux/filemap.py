# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that can be mapped, and their page cache in guest RAM (mm/filemap.c).

A page of a file enters the cache when it is first needed and stays until the file's last user
lets go, or until RAM is short and nobody maps it. The cache itself is one owner of each of its
frames, every PTE that maps one is another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.errors import MmuError, OutOfMemory
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu.memory import Memory


# Pages that one miss of a mapped file reads: the default read-ahead window, 128 KiB.
RA_PAGES = 32
# Pages that one read fault may map at once: fault_around_bytes, 64 KiB.
FAULT_AROUND_PAGES = 16
# Bytes a regular file may have: MAX_LFS_FILESIZE.
MAX_LFS_FILESIZE = (1 << 63) - 1


class MappedFile:
    """A file's contents, as they were when it was opened, with its page cache.

    ``data`` is any bytes-like object; the last page is filled up with zeros. ``path``, ``device``
    (major, minor) and ``inode`` are what /proc/self/maps tells. ``readable``, ``writable`` and
    ``noexec`` decide what mmap() allows. Writes to a shared mapping have nowhere to go, so a
    shared mapping that could be made writable is refused, as by generic_file_readonly_mmap().
    """

    def __init__(
        self,
        data: bytes | bytearray | memoryview,
        *,
        path: str = "",
        readable: bool = True,
        writable: bool = False,
        noexec: bool = False,
        device: tuple[int, int] = (0, 0),
        inode: int = 0,
    ) -> None:
        self._data = memoryview(data).cast("B")
        self.size = len(self._data)
        self.path = path
        self.readable = readable
        self.writable = writable
        self.noexec = noexec
        self.device = device
        self.inode = inode
        self.shmem = False
        self.special = False
        self.users = 0
        self._memory: Memory | None = None
        self._pages: dict[int, int] = {}

    @classmethod
    def shared_anonymous(cls, size: int) -> MappedFile:
        """shmem_zero_setup(): the nameless file of ``size`` zero bytes behind MAP_SHARED |
        MAP_ANONYMOUS.
        """
        file = cls(b"", path="/dev/zero (deleted)", writable=True, device=(0, 1))
        file.size = size
        file.shmem = True
        return file

    @classmethod
    def special_mapping(cls, data: bytes, path: str) -> MappedFile:
        """struct vm_special_mapping: pages of the kernel's, mapped one at a time, whose mapping
        cannot be split.
        """
        file = cls(data, path=path)
        file.special = True
        return file

    def __repr__(self) -> str:
        """Name and size, for people."""
        return f"<MappedFile {self.path or 'without a name'}, {self.size} bytes>"

    @property
    def nr_pages(self) -> int:
        """Pages up to end of file, the last one perhaps partial: what can be touched without
        SIGBUS.
        """
        return (self.size + PAGE_SIZE - 1) >> PAGE_SHIFT

    @property
    def nr_cached(self) -> int:
        """Frames the page cache holds."""
        return len(self._pages)

    def cached(self, pgoff: int) -> int | None:
        """The pfn of the file's page ``pgoff``, if it is in the cache."""
        return self._pages.get(pgoff)

    def read_pages(self, memory: Memory, pgoff: int) -> int:
        """Bring page ``pgoff`` in, and the read-ahead window around it; returns its pfn.

        Raises OutOfMemory if there is no frame for that page; a shorter window is no error.
        """
        self._use(memory)
        pfn = self._read_page(memory, pgoff)
        if not self.shmem:
            first = max(0, pgoff - RA_PAGES // 2)
            self.read_ahead(memory, first, first + RA_PAGES)
        return pfn

    def read_ahead(self, memory: Memory, first: int, end: int) -> None:
        """Bring pages [first, end) in as far as the file and free RAM go; shared memory has nothing
        to bring.
        """
        if self.shmem:
            return
        self._use(memory)
        try:
            for pgoff in range(first, min(end, self.nr_pages)):
                if pgoff not in self._pages:
                    self._read_page(memory, pgoff)
        except OutOfMemory:
            return

    def drop_unmapped(self) -> int:
        """Free the cached frames that no PTE maps and whose data can be read again; returns how
        many.
        """
        if self._memory is None or self.shmem:
            return 0
        page = self._memory.page
        idle = [pgoff for pgoff, pfn in self._pages.items() if page(pfn)._refcount == 1]
        for pgoff in idle:
            self._memory.put_page(self._pages.pop(pgoff))
        return len(idle)

    def is_mapped(self, first: int, end: int) -> bool:
        """Whether a PTE maps one of the cached pages [first, end)."""
        return self._memory is not None and any(
            self._memory.page(pfn)._mapcount
            for pgoff, pfn in self._pages.items()
            if first <= pgoff < end
        )

    def truncate_range(self, first: int, end: int) -> None:
        """Drop pages [first, end) from the cache; the caller has unmapped them. They read as zero
        again.
        """
        for pgoff in [pgoff for pgoff in self._pages if first <= pgoff < end]:
            if self._memory is not None:
                self._memory.put_page(self._pages.pop(pgoff))

    def get(self) -> None:
        """One more user, who keeps the cache alive."""
        self.users += 1

    def put(self) -> None:
        """One user less; the last one drops the cache."""
        self.users -= 1
        if not self.users:
            self.truncate_range(0, self.nr_pages)
            self._memory = None

    @contextmanager
    def user(self) -> Iterator[None]:
        """Be a user for a while."""
        self.get()
        try:
            yield
        finally:
            self.put()

    def _use(self, memory: Memory) -> None:
        if self._memory is None:
            self._memory = memory
        elif self._memory is not memory:
            raise MmuError(f"{self!r} is cached in another guest's RAM")

    def _read_page(self, memory: Memory, pgoff: int) -> int:
        pfn = memory.alloc_pages()
        page = memory.page(pfn)
        page.index = pgoff
        if self.shmem:
            page.flags |= lib.PG_swapbacked
        data = self._data[pgoff << PAGE_SHIFT : (pgoff + 1) << PAGE_SHIFT]
        if data:
            memory.write(pfn << PAGE_SHIFT, bytes(data))
        self._pages[pgoff] = pfn
        return pfn
