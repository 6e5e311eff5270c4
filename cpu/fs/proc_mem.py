# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/mem and pagemap: an address space as a file (fs/proc/base.c, task_mmu.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.fs.files import O_ACCMODE, O_RDONLY, O_WRONLY, SEEK_CUR, SEEK_SET, SETFL_MASK, OpenFile
from cpu.fs.pseudo_fs import Inode
from mmu.errors import LinuxError
from mmu.linux.access_process_vm import access_remote_vm, write_remote_vm
from mmu.linux.mm_users import mmget_not_zero, mmput
from mmu.linux.pagemap import pagemap_read

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu.linux.mm import Mm


class _OfMm(OpenFile):
    """A file that shows the address space which its task had when it was opened; None: nothing."""

    def __init__(self, mm: Mm | None, flags: int) -> None:
        super().__init__()
        self.flags = flags & (O_ACCMODE | SETFL_MASK)
        self.mm = mm

    def seek(self, offset: int, whence: int) -> int:
        """mem_lseek(): anywhere, in 64 bits; EINVAL for SEEK_END."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence)
        if base is None:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset & (1 << 64) - 1
        return self.position

    def read(self, count: int) -> bytes:
        """The bytes at the position."""
        data = self.pread(count, self.position)
        self.position += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Move back over what was read last."""
        self.position -= len(data)

    def write(self, data: bytes) -> int:
        """Write at the position."""
        done = self.pwrite(data, self.position)
        self.position += done
        return done

    def pwrite(self, data: bytes, offset: int) -> int:
        """It cannot be written."""
        raise LinuxError(errno.EBADF)

    def _copy(self, other: _OfMm) -> OpenFile:
        other.path, other.inode, other.mode = self.path, self.inode, self.mode
        return other


class MemFile(_OfMm):
    """/proc/PID/mem: the address is the position. Rights of mappings do not count."""

    def pread(self, count: int, offset: int) -> bytes:
        """mem_rw(): what can be had before the first page that cannot; EIO if that is the first.

        0 bytes when the address space is gone.
        """
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)
        if self.mm is None or not count or not mmget_not_zero(self.mm):
            return b""
        try:
            data = access_remote_vm(self.mm, offset, count)
        finally:
            mmput(self.mm)
        if not data:
            raise LinuxError(errno.EIO)
        return data

    def pwrite(self, data: bytes, offset: int) -> int:
        """mem_rw() for writing: a private page is copied first."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EBADF)
        if self.mm is None or not data or not mmget_not_zero(self.mm):
            return 0
        try:
            done = write_remote_vm(self.mm, offset, data)
        finally:
            mmput(self.mm)
        if not done:
            raise LinuxError(errno.EIO)
        return done

    def reopen(self, flags: int) -> OpenFile:
        """Open it once more."""
        return self._copy(MemFile(self.mm, flags))


class PagemapFile(_OfMm):
    """/proc/PID/pagemap; ``show_pfn``: who opened it has CAP_SYS_ADMIN."""

    def __init__(self, mm: Mm | None, flags: int, *, show_pfn: bool) -> None:
        super().__init__(mm, flags)
        self._show_pfn = show_pfn

    def pread(self, count: int, offset: int) -> bytes:
        """Entries; EINVAL unless both are multiples of 8."""
        if self.mm is None or not mmget_not_zero(self.mm):
            return b""
        try:
            return pagemap_read(self.mm, count, offset, show_pfn=self._show_pfn)
        finally:
            mmput(self.mm)

    def reopen(self, flags: int) -> OpenFile:
        """Open it once more."""
        return self._copy(PagemapFile(self.mm, flags, show_pfn=self._show_pfn))


class FileOfMm(Inode):
    """A name whose open() makes such a file: ``make(flags)``."""

    def __init__(self, make: Callable[[int], OpenFile], mode: int, *, writable: bool) -> None:
        self._make = make
        self.mode = mode
        self.writable = writable

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it."""
        file = self._make(flags)
        file.path, file.inode, file.mode = path, self.inode(path), self.mode
        return file
