# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMAs map a file: its i_mmap, and the i_mmap_rwsem that guards it (include/linux/fs.h,
mm/vma.c, v6.18).

Linux keeps a tree of VMAs for each file. Here the mms of the kernel are gone through: those VMAs of
theirs that map the file, and those that munmap() took out of the index and has not yet unlinked
(``MmStruct.mt_detach``): they are found until nothing maps a page through them any more. What
changes the VMAs of a file, or moves what they map, holds i_mmap_rwsem for writing; who looks for
PTEs by the file holds it for reading, and no mmap_lock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from mmu.linux.contention import LOCK_I_MMAP
from mmu.linux.rwsem import RwSemaphore
from mmu.linux.state import Kernel, MmStruct
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr
    from mmu.linux.filemap import AddressSpace


def i_mmap_rwsem(kernel: Kernel, mapping: AddressSpace) -> RwSemaphore:
    """The lock of a file's i_mmap. It sleeps, and is taken inside mmap_lock, VMA locks and folio
    locks, outside the locks of page tables.
    """
    lock = kernel.i_mmap_rwsems.get(mapping)
    if lock is None:
        kernel.nr_i_mmap_rwsems += 1
        number = kernel.nr_i_mmap_rwsems
        lock = RwSemaphore(kernel, f"the i_mmap_rwsem of file {number}", LOCK_I_MMAP, number)
        kernel.i_mmap_rwsems[mapping] = lock
    return lock


@contextmanager
def i_mmap_read(kernel: Kernel, mapping: AddressSpace) -> Iterator[None]:
    """``with``: i_mmap_lock_read(): the VMAs that map the file stay, and so do their tables."""
    lock = i_mmap_rwsem(kernel, mapping)
    lock.down_read()
    try:
        yield
    finally:
        lock.up_read()


def i_mmap_write(mm: MmStruct, file: int) -> AbstractContextManager[None]:
    """``with``: i_mmap_lock_write() of the file whose vm_file is given; nothing for 0, none."""
    return _write(mm, file) if file else nullcontext()


@contextmanager
def _write(mm: MmStruct, file: int) -> Iterator[None]:
    lock = i_mmap_rwsem(mm.kernel, mm.file(file).mapping)
    lock.down_write()
    try:
        yield
    finally:
        lock.up_write()


def mms_mapping(kernel: Kernel, mapping: AddressSpace) -> list[MmStruct]:
    """The mms that may map the file, oldest first: parents before their children."""
    return [mm for mm in kernel.mms if any(known.mapping is mapping for known in mm.files)]


def mapped_ranges(
    mm: MmStruct, mapping: AddressSpace, first: int, end: int
) -> list[tuple[int, int, int]]:
    """Where the mm maps pages [first, end) of a file: start and end address in each VMA, and its
    vm_flags. i_mmap_rwsem is held for reading, or nobody else runs.
    """
    ranges = []
    for vma in _i_mmap(mm):
        if vma.vm_file and mm.file(vma.vm_file).mapping is mapping:
            offset = vma.vm_start - (vma.vm_pgoff << PAGE_SHIFT)
            low = max(vma.vm_start, offset + (first << PAGE_SHIFT))
            high = min(vma.vm_end, offset + (end << PAGE_SHIFT))
            if low < high:
                ranges.append((low, high, vma.vm_flags))
    return ranges


def _i_mmap(mm: MmStruct) -> Iterator[struct_vm_area_struct_ptr]:
    """The VMAs of the mm that are in some file's i_mmap."""
    vmas = mm.c.vmas
    for i in range(vmas.nr):
        if vmas.vma[i].vm_file not in mm.unlinked_files:
            yield vmas.vma[i]
    yield from mm.mt_detach
