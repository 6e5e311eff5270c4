# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of memory without a name: memfd_create() (mm/memfd.c, mm/shmem.c, v6.18)."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_APPEND, O_LARGEFILE, O_RDWR, OpenFile, stat_bytes
from cpu.fs.regular_files import SeekableFile
from mmu._native import lib
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux.filemap import MAX_LFS_FILESIZE, MappedFile
from mmu.linux.truncate import truncate_pagecache_range
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu.linux.state import Kernel

FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2


class MemFile(SeekableFile):
    """An open file whose bytes are its page cache; every mapping of it is that too."""

    mode = stat.S_IFREG | 0o777

    def __init__(self, kernel: Kernel, file: MappedFile, inode: int) -> None:
        super().__init__()
        self._kernel = kernel
        self._file = file
        self.inode = inode
        self.path = file.path
        self.flags = O_RDWR | O_LARGEFILE
        file.get()

    @property
    def size(self) -> int:
        """Bytes."""
        return self._file.size

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on, zeros where nothing was written."""
        end, parts = min(offset + count, self.size), []
        memory = self._kernel.memory
        while offset < end:
            size = min(end - offset, PAGE_SIZE - offset % PAGE_SIZE)
            pfn = self._file.cached(offset >> PAGE_SHIFT)
            if pfn is None:
                parts.append(bytes(size))
            else:
                parts.append(memory.read((pfn << PAGE_SHIFT) + offset % PAGE_SIZE, size))
            offset += size
        return b"".join(parts)

    def write(self, data: bytes) -> int:
        """Write at the position, or at the end with O_APPEND."""
        if self.flags & O_APPEND:
            self.position = self.size
        done = self.pwrite(data, self.position)
        self.position += done
        return done

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write at ``offset``; ENOSPC if there is no memory."""
        if data and offset >= MAX_LFS_FILESIZE:
            raise LinuxError(errno.EFBIG)
        done = 0
        while done < len(data):
            at = offset + done
            part = data[done : done + PAGE_SIZE - at % PAGE_SIZE]
            try:
                self._write_page(at, part)
            except OutOfMemory:
                if done:
                    break
                raise LinuxError(errno.ENOSPC) from None
            done += len(part)
            self._file.size = max(self._file.size, at + len(part))
        return done

    def _write_page(self, at: int, data: bytes) -> None:
        memory, pgoff = self._kernel.memory, at >> PAGE_SHIFT
        pfn = self._file.cached(pgoff)
        if pfn is None:
            pfn = self._file.read_pages(memory, pgoff)
        if memory.page(pfn).flags & lib.PG_code:
            self._kernel.note_code_written(pfn << PAGE_SHIFT)
        memory.write((pfn << PAGE_SHIFT) + at % PAGE_SIZE, data)

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long; what is beyond goes, out of every mapping too
        (shmem_setattr()).
        """
        if size > MAX_LFS_FILESIZE:
            raise LinuxError(errno.EFBIG)
        file, was = self._file, self._file.size
        file.size = size
        if size < was:
            first, end = -(-size >> PAGE_SHIFT), -(-was >> PAGE_SHIFT)
            truncate_pagecache_range(self._kernel, file, first, end, even_cows=True)
            self._zero(size, min(was, first << PAGE_SHIFT))

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """Have memory for a range, or with FALLOC_FL_PUNCH_HOLE give it back
        (shmem_fallocate()).
        """
        end = offset + length
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            raise LinuxError(errno.EOPNOTSUPP)
        if mode & FALLOC_FL_PUNCH_HOLE:
            if not mode & FALLOC_FL_KEEP_SIZE:
                raise LinuxError(errno.EOPNOTSUPP)
            self._punch(offset, end)
            return
        memory, file = self._kernel.memory, self._file
        try:
            for pgoff in range(offset >> PAGE_SHIFT, -(-end >> PAGE_SHIFT)):
                if file.cached(pgoff) is None:
                    file.read_pages(memory, pgoff)
        except OutOfMemory:
            raise LinuxError(errno.ENOSPC) from None
        if not mode & FALLOC_FL_KEEP_SIZE:
            file.size = max(file.size, end)

    def _punch(self, offset: int, end: int) -> None:
        first, last = -(-offset >> PAGE_SHIFT), end >> PAGE_SHIFT
        if first < last:
            truncate_pagecache_range(self._kernel, self._file, first, last)
        self._zero(offset, min(end, first << PAGE_SHIFT))
        if last >= first:
            self._zero(last << PAGE_SHIFT, end)

    def _zero(self, start: int, end: int) -> None:
        """Clear [start, end), which lies in one page, if it has one."""
        if start < end and self._file.cached(start >> PAGE_SHIFT) is not None:
            self._write_page(start, bytes(end - start))

    def mapped(self) -> MappedFile:
        """The file itself."""
        return self._file

    def reopen(self, flags: int) -> OpenFile:
        """The same file once more."""
        return MemFile(self._kernel, self._file, self.inode)

    def contents(self) -> bytes:
        """All of it."""
        return self.pread(self.size, 0)

    def close(self) -> None:
        """Let go of the file, which its mappings may keep."""
        self._file.put()

    def stat(self) -> bytes:
        """Struct stat: no name leads to it."""
        pages = self._file.nr_cached
        return stat_bytes(self.mode, self.inode, self.size, links=0, blocks=pages << PAGE_SHIFT - 9)


def memfd_create(kernel: Kernel, name: str, inode: int) -> MemFile:
    """An empty file; ``name`` is what /proc shows behind "memfd:"."""
    file = MappedFile.shared_anonymous(0)
    file.path = f"/memfd:{name} (deleted)"
    file.inode = inode
    return MemFile(kernel, file, inode)
