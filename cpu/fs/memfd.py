# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of memory without a name: memfd_create() (mm/memfd.c, mm/shmem.c, v6.18)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_ACCMODE, O_LARGEFILE, O_RDONLY, O_RDWR, O_WRONLY, OpenFile
from cpu.fs.host_data import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
from cpu.fs.kstat import Kstat
from cpu.fs.mutex import Mutex
from cpu.fs.regular_files import FileMapping, SeekableFile
from mmu._native import lib
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux.filemap import (
    F_SEAL_EXEC,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    MAX_LFS_FILESIZE,
    AddressSpace,
    MappedFile,
    ShmemOperations,
)
from mmu.linux.i_mmap import mapped_ranges
from mmu.linux.truncate import truncate_pagecache_range
from mmu.linux.vma import VM_MAYWRITE, VM_SHARED
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mmu.linux.state import Kernel

F_ALL_SEALS: Final = 0x3F


class Memfd:
    """A file of memory, ``name`` behind "memfd:" in /proc: a struct shmem_inode_info. Its pages are
    all there is of it.

    ``killed`` says whether the task that runs is to end: what takes long breaks off.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        inode: int,
        *,
        mode: int = 0o777,
        seals: int = F_SEAL_SEAL,
        killed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.kernel = kernel
        self.lock = Mutex(kernel, "the i_rwsem of a file of memory")
        """Held by who writes, or changes the size."""
        self.killed = killed
        self.ops = ShmemOperations(0)
        self.mapping = AddressSpace(self.ops, shmem=True)
        self.mapping.seals = seals
        self.path = f"/memfd:{name} (deleted)"
        self.inode = inode
        self.mode = stat.S_IFREG | mode

    def read(self, views: Sequence[memoryview], at: int) -> int:
        """Read from byte ``at`` on: zeros where there is no page; returns the bytes read."""
        done = 0
        for view in views:
            end = min(len(view), self.ops.size - at - done)
            start = 0
            while start < end:
                offset = (at + done) % PAGE_SIZE
                size = min(end - start, PAGE_SIZE - offset)
                pgoff = at + done >> PAGE_SHIFT
                if self.mapping.cached(pgoff) is None:
                    view[start : start + size] = bytes(size)
                else:
                    page = self.mapping.view(pgoff)
                    view[start : start + size] = page[offset : offset + size]
                start += size
                done += size
        return done

    def write(self, views: Sequence[memoryview], at: int) -> int:
        """Write to byte ``at`` on (shmem_file_write_iter()); returns the bytes written. EPERM as
        the seals say, EFBIG; ENOSPC if there is no memory.
        """
        length = sum(map(len, views))
        if not length:
            return 0
        if at >= MAX_LFS_FILESIZE:
            raise LinuxError(errno.EFBIG)
        seals = self.mapping.seals
        if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
            raise LinuxError(errno.EPERM)
        done = 0
        for view in views:
            start = 0
            while start < len(view):
                part = view[start : start + PAGE_SIZE - (at + done) % PAGE_SIZE]
                try:
                    self._grow(at + done + len(part), seals)
                    self.write_page(at + done, part)
                except (OutOfMemory, LinuxError) as error:
                    if done:
                        return done
                    raise LinuxError(
                        error.errno if isinstance(error, LinuxError) else errno.ENOSPC
                    ) from None
                start += len(part)
                done += len(part)
                self.ops.size = max(self.ops.size, at + done)
        return done

    def _grow(self, end: int, seals: int) -> None:
        if end > self.ops.size and seals & F_SEAL_GROW:
            raise LinuxError(errno.EPERM)

    def write_page(self, at: int, data: memoryview | bytes) -> None:
        """Write to one page, made if there is none. Raises OutOfMemory."""
        memory, pgoff = self.kernel.memory, at >> PAGE_SHIFT
        pfn = self.mapping.read_pages(memory, pgoff)
        if memory.page(pfn).flags & lib.PG_code:
            self.kernel.note_code_written(pfn << PAGE_SHIFT)
        offset = at % PAGE_SIZE
        self.mapping.view(pgoff)[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long; what is beyond goes, out of every mapping too
        (shmem_setattr()).
        """
        if size > MAX_LFS_FILESIZE:
            raise LinuxError(errno.EFBIG)
        was = self.ops.size
        sealed = F_SEAL_SHRINK if size < was else F_SEAL_GROW
        if size != was and self.mapping.seals & sealed:
            raise LinuxError(errno.EPERM)
        self.ops.size = size
        if size < was:
            first, end = -(-size >> PAGE_SHIFT), -(-was >> PAGE_SHIFT)
            truncate_pagecache_range(self.kernel, self.mapping, first, end, even_cows=True)
            self._zero(size, min(was, first << PAGE_SHIFT))

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """Have memory for a range, or with FALLOC_FL_PUNCH_HOLE give it back
        (shmem_fallocate()).
        """
        end, seals = offset + length, self.mapping.seals
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE):
            raise LinuxError(errno.EOPNOTSUPP)
        if mode & FALLOC_FL_PUNCH_HOLE:
            if not mode & FALLOC_FL_KEEP_SIZE:
                raise LinuxError(errno.EOPNOTSUPP)
            if seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
                raise LinuxError(errno.EPERM)
            self._punch(offset, end)
            return
        if not mode & FALLOC_FL_KEEP_SIZE:
            self._grow(end, seals)
        self._populate(offset >> PAGE_SHIFT, -(-end >> PAGE_SHIFT))
        if not mode & FALLOC_FL_KEEP_SIZE:
            self.ops.size = max(self.ops.size, end)

    def _populate(self, first: int, end: int) -> None:
        """Have a page for each of [first, end), or none that was not there: ENOSPC, EINTR if the
        process is to end.
        """
        memory = self.kernel.memory
        made: list[int] = []
        if end - first > memory.size >> PAGE_SHIFT:
            raise LinuxError(errno.ENOSPC)
        error = 0
        for pgoff in range(first, end):
            if self.mapping.cached(pgoff) is not None:
                continue
            if not len(made) % 1024 and self.killed():
                error = errno.EINTR
                break
            try:
                self.mapping.read_pages(memory, pgoff)
            except OutOfMemory:
                error = errno.ENOSPC
                break
            made.append(pgoff)
        if error:
            for pgoff in made:
                self.mapping.truncate_range(pgoff, pgoff + 1)
            raise LinuxError(error)

    def _punch(self, offset: int, end: int) -> None:
        first, last = -(-offset >> PAGE_SHIFT), end >> PAGE_SHIFT
        if first < last:
            truncate_pagecache_range(self.kernel, self.mapping, first, last)
        self._zero(offset, min(end, first << PAGE_SHIFT))
        if last >= first:
            self._zero(last << PAGE_SHIFT, end)

    def _zero(self, start: int, end: int) -> None:
        """Clear [start, end), which lies in one page, if it has one."""
        if start < end and self.mapping.cached(start >> PAGE_SHIFT) is not None:
            self.write_page(start, bytes(end - start))

    def seek_hole_data(self, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE: a page that is there is data (mapping_seek_hole_data())."""
        size = self.ops.size
        if not 0 <= offset < size:
            raise LinuxError(errno.ENXIO)
        pgoff = offset >> PAGE_SHIFT
        pages = self.mapping.cached_pages(pgoff, -(-size >> PAGE_SHIFT))
        if whence == os.SEEK_DATA:
            if not pages:
                raise LinuxError(errno.ENXIO)
            return max(offset, pages[0] << PAGE_SHIFT)
        for page in pages:
            if page != pgoff:
                break
            pgoff += 1
        return min(max(offset, pgoff << PAGE_SHIFT), size)

    def add_seals(self, seals: int) -> None:
        """fcntl(F_ADD_SEALS) (memfd_add_seals())."""
        had = self.mapping.seals
        if seals & ~F_ALL_SEALS:
            raise LinuxError(errno.EINVAL)
        if had & F_SEAL_SEAL:
            raise LinuxError(errno.EPERM)
        if seals & F_SEAL_WRITE and not had & F_SEAL_WRITE and self._is_mapped_writable():
            raise LinuxError(errno.EBUSY)
        if seals & F_SEAL_EXEC and self.mode & 0o111:
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE
        self.mapping.seals |= seals

    def _is_mapped_writable(self) -> bool:
        """Whether a shared mapping of it may be written (i_mmap_writable)."""
        wanted, end = VM_SHARED | VM_MAYWRITE, MAX_LFS_FILESIZE >> PAGE_SHIFT
        return any(
            vm_flags & wanted == wanted
            for mm in self.kernel.mms
            for _, _, vm_flags in mapped_ranges(mm, self.mapping, 0, end)
        )


class MemFile(SeekableFile):
    """An open file of memory; every mapping of it is its memory too."""

    def __init__(self, memfd: Memfd, flags: int) -> None:
        super().__init__()
        self.memfd = memfd
        self.mode = memfd.mode
        self.inode = memfd.inode
        self.path = memfd.path
        self.flags = flags
        self._mapped: MappedFile | None = None
        memfd.mapping.get()

    @property
    def size(self) -> int:
        """Bytes."""
        return self.memfd.ops.size

    @property
    def inode_lock(self) -> Mutex:
        """The file's."""
        return self.memfd.lock

    def read_views(self, views: Sequence[memoryview], at: int) -> int:
        """Zeros where nothing was written."""
        return self.memfd.read(views, at)

    def write_views(self, views: Sequence[memoryview], at: int) -> int:
        """ENOSPC if there is no memory."""
        return self.memfd.write(views, at)

    def truncate(self, size: int) -> None:
        """As Memfd.truncate(); EINVAL if it is not open for writing."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EINVAL)
        with self.memfd.lock:
            self.memfd.truncate(size)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """As Memfd.fallocate(); EBADF if it is not open for writing."""
        self.must_write()
        with self.memfd.lock:
            self.memfd.fallocate(mode, offset, length)

    def seek_hole_data(self, offset: int, whence: int) -> int:
        """As Memfd.seek_hole_data()."""
        return self.memfd.seek_hole_data(offset, whence)

    def seals(self, add: int | None) -> int:
        """fcntl(F_GET_SEALS), and F_ADD_SEALS: EPERM if it is not open for writing."""
        if add is None:
            return self.memfd.mapping.seals
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EPERM)
        self.memfd.add_seals(add)
        return 0

    def fsync(self) -> None:
        """Memory is where it lasts."""

    def mapped(self) -> MappedFile:
        """The file itself."""
        if self._mapped is None:
            access = self.flags & O_ACCMODE
            self._mapped = FileMapping(
                self,
                self.memfd.mapping,
                path=self.path,
                readable=access != O_WRONLY,
                writable=access != O_RDONLY,
                device=(0, 1),
                inode=self.inode,
            )
        return self._mapped

    def reopen(self, flags: int) -> OpenFile:
        """The same file once more."""
        return MemFile(self.memfd, flags & O_ACCMODE | O_LARGEFILE)

    def close(self) -> None:
        """Let go of the file, which its other open files may keep."""
        self.memfd.mapping.put()

    def getattr(self) -> Kstat:
        """What stat() says: no name leads to it."""
        pages = self.memfd.mapping.nr_cached
        kstat = super().getattr()
        kstat.nlink, kstat.blocks = 0, pages << PAGE_SHIFT - 9
        return kstat


def memfd_create(memfd: Memfd) -> MemFile:
    """The empty file, open for reading and writing."""
    return MemFile(memfd, O_RDWR | O_LARGEFILE)
