# SPDX-License-Identifier: GPL-2.0-or-later
"""msync() (mm/msync.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux.mman import MS_ASYNC, MS_INVALIDATE, MS_SYNC
from mmu.linux.tracepoint import spanned
from mmu.linux.vma import VM_LOCKED, VM_SHARED
from mmu.linux.writeback import filemap_write_range
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr
    from mmu.linux.filemap import MappedFile
    from mmu.linux.state import MmStruct


@spanned(lambda mm, start, length, *_, **__: (mm, start, start + length))
def do_msync(mm: MmStruct, start: int, length: int, flags: int) -> None:
    """With MS_SYNC, write the dirty pages of shared mappings in [start, start + length) back to
    their files. With MS_ASYNC alone nothing is to be done: they are dirty, and will be written.

    Errors: EINVAL (flags, a start that is not page-aligned), ENOMEM (holes in the range; what is
    mapped is written all the same, but for MS_ASYNC), EBUSY (MS_INVALIDATE of locked memory), and
    what the file's write gives. May wait; no lock is held.
    """
    if flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) or start % PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    if flags & MS_ASYNC and flags & MS_SYNC:
        raise LinuxError(errno.EINVAL)
    end = start + ((length + PAGE_SIZE - 1) & -PAGE_SIZE & U64)
    if end > U64:
        raise LinuxError(errno.ENOMEM)
    holes = False
    while start < end:
        with mm.mmap_read_lock():
            vma = lib.find_vma(mm.c, start)
            if vma == ffi.NULL:
                raise LinuxError(errno.ENOMEM)
            if start < vma.vm_start:
                holes = True
                start = vma.vm_start
                if flags == MS_ASYNC or start >= end:
                    break
            if flags & MS_INVALIDATE and vma.vm_flags & VM_LOCKED:
                raise LinuxError(errno.EBUSY)
            sync = flags & MS_SYNC and vma.vm_file and vma.vm_flags & VM_SHARED
            file = mm.file(vma.vm_file) if sync else None
            first, last = _pages(vma, start, end)
            start = vma.vm_end
            if file is not None:
                file.get()
        if file is not None:
            _write(mm, file, first, last)
    if holes:
        raise LinuxError(errno.ENOMEM)


def _pages(vma: struct_vm_area_struct_ptr, start: int, end: int) -> tuple[int, int]:
    first = vma.vm_pgoff + (start - vma.vm_start >> PAGE_SHIFT)
    return first, first + (min(end, vma.vm_end) - start >> PAGE_SHIFT)


def _write(mm: MmStruct, file: MappedFile, first: int, last: int) -> None:
    """vfs_fsync_range() of the VMA's file, which was got."""
    try:
        filemap_write_range(mm.kernel, file.mapping, first, last)
    finally:
        file.put()
