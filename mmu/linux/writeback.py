# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing dirty pages of files back to where they came from (mm/page-writeback.c, mm/rmap.c,
v6.18).
"""

from __future__ import annotations

from mmu.linux import engine
from mmu.linux.filemap import AddressSpace, runs
from mmu.linux.i_mmap import i_mmap_read, mapped_ranges, mms_mapping
from mmu.linux.pgtable import DIRTY_BITS, RW, P, pte_table
from mmu.linux.state import Kernel, MmStruct
from mmu.linux.vma import VM_SHARED
from mmu.units import PAGE_SHIFT, PAGE_SIZE


def filemap_write_range(kernel: Kernel, mapping: AddressSpace, first: int, end: int) -> None:
    """filemap_fdatawrite_range(): write the dirty pages of [first, end) back. Each is clean and
    write-protected first, so that a write meanwhile makes it dirty again.

    Raises LinuxError if the file does not take them, which are dirty still. No i_mmap_rwsem is
    held, for this takes it. May wait.
    """
    clean = {pgoff for pgoff in mapping.dirty if first <= pgoff < end}
    mapping.writeback.append(clean)
    try:
        for pgoffs in runs(sorted(clean)):
            _write_stretch(kernel, mapping, pgoffs, clean)
    finally:
        mapping.writeback = [pages for pages in mapping.writeback if pages is not clean]


def _write_stretch(
    kernel: Kernel, mapping: AddressSpace, pgoffs: list[int], clean: set[int]
) -> None:
    """Write these pages, as far as they are dirty still. Those that left ``clean`` while locks were
    waited for may be written by a guest again, and stay dirty.
    """
    if not mapping.shmem:
        folio_mkclean(kernel, mapping, pgoffs[0], pgoffs[-1] + 1)
    for run in runs(pgoff for pgoff in pgoffs if pgoff in mapping.dirty):
        mapping.ops.writepages(run[0], [mapping.view(pgoff) for pgoff in run])
        if not mapping.shmem:
            for pgoff in clean.intersection(run):
                mapping.clear_dirty(pgoff)


def folio_mkclean(kernel: Kernel, mapping: AddressSpace, first: int, end: int) -> None:
    """Make every PTE that maps pages [first, end) of the file clean and read-only."""
    with i_mmap_read(kernel, mapping):
        for mm in mms_mapping(kernel, mapping):
            for low, high, vm_flags in mapped_ranges(mm, mapping, first, end):
                if vm_flags & VM_SHARED:
                    _page_vma_mkclean(mm, low, high)


def _page_vma_mkclean(mm: MmStruct, start: int, end: int) -> None:
    """page_vma_mkclean_one() for [start, end) of one VMA."""
    cleaned = False
    for addr in range(start, end, PAGE_SIZE):
        pmd = engine.pmd_tryget(mm, addr)
        if pmd is None:
            continue
        pte = engine.pte_tryget_map_lock(mm, pmd, addr)
        engine.pmd_put(mm, pmd, addr)
        if pte is None:
            continue
        value = mm.memory.read_u64(pte)
        if value & P and value & (RW | DIRTY_BITS):
            engine.set_pte_at(mm, addr, pte, value & ~(RW | DIRTY_BITS))
            cleaned = True
        engine.pte_unlock(mm, pte_table(pte))
        engine.pte_put(mm, pte_table(pte), addr)
    if cleaned:
        engine.flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, False)
