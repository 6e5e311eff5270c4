# SPDX-License-Identifier: GPL-2.0-or-later
"""Advice on what memory is worth: MADV_FREE, MADV_COLD and MADV_PAGEOUT (mm/madvise.c, mm/rmap.c,
v6.18).

There is no swap and nothing here reclaims anonymous memory by itself, as on a Linux machine with
memory to spare:

- MADV_FREE makes a page lazily free: A and D of its PTE are cleared and its frame is no longer
  PG_swapbacked. It stays, resident and unchanged.
- MADV_COLD clears A.
- MADV_PAGEOUT frees the lazily free pages that were not written since, and all of a MAP_DROPPABLE
  mapping; a lazily free page that was written is an ordinary one again. Pages of shared memory are
  no longer mapped, and leave the page cache if they were never written. Other anonymous pages have
  nowhere to go, and the guest does not own the files it maps.

The loops over PTEs exist once, in Python; they change no count but those of the entries that
MADV_PAGEOUT clears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.folio import filemap_remove_folio, folio_trylock, folio_unlock
from mmu.linux.huge_memory import split_huge_pmds
from mmu.linux.mmu_gather import tlb_remove_tlb_entry
from mmu.linux.pgtable import (
    DIRTY_BITS,
    SPECIAL,
    A,
    P,
    entry_pfn,
    mm_counter,
    pte_cmpxchg,
    pte_present,
    pte_table,
)
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_DROPPABLE
from mmu.linux.zap import each_pmd
from mmu.twin import EntryPa
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu._native import struct_page, struct_vm_area_struct_ptr
    from mmu.linux.mmu_gather import Gather

    Change = Callable[[MmStruct, struct_vm_area_struct_ptr, int, struct_page], int]


def madvise_free_range(mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
    """Make the pages of [start, end), a part of one anonymous VMA, lazily free; the mmap_lock is
    held.
    """
    _change_pages(mm, vma, start, end, _lazyfree)


def madvise_cold_range(mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int) -> None:
    """Mark the pages of [start, end), a part of one VMA, as not used; the mmap_lock is held."""
    _change_pages(mm, vma, start, end, _cold)


def madvise_pageout_range(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int
) -> None:
    """Free what of [start, end), a part of one VMA, is lazily free and clean; the mmap_lock is
    held.
    """
    _change_pages(mm, vma, start, end, _pageout)


def _lazyfree(mm: MmStruct, vma: struct_vm_area_struct_ptr, value: int, page: struct_page) -> int:
    """madvise_free_pte_range() for one page."""
    if not page.flags & lib.PG_anon or (page.flags & lib.PG_dirty and page._mapcount != 1):
        return value
    page.flags &= ~(lib.PG_swapbacked | lib.PG_dirty)
    return value & ~(A | DIRTY_BITS)


def _cold(mm: MmStruct, vma: struct_vm_area_struct_ptr, value: int, page: struct_page) -> int:
    """madvise_cold_or_pageout_pte_range() for one page, which other processes may
    map: then it is left alone.
    """
    return value & ~A if page._mapcount == 1 else value


def _pageout(mm: MmStruct, vma: struct_vm_area_struct_ptr, value: int, page: struct_page) -> int:
    """try_to_unmap_one() for one page of reclaim_pages(), unless other processes map it."""
    if page._mapcount != 1:
        return value
    if not page.flags & lib.PG_anon:
        return _pageout_shmem(mm, value, page)
    if page.flags & lib.PG_swapbacked:
        return value
    if (value & DIRTY_BITS or page.flags & lib.PG_dirty) and not vma.vm_flags & VM_DROPPABLE:
        page.flags |= lib.PG_swapbacked
        return value
    return 0


def _pageout_shmem(mm: MmStruct, value: int, page: struct_page) -> int:
    """_pageout() of a page of a file: of shared memory it goes, and is locked then, if its lock is
    free.
    """
    pfn = entry_pfn(value)
    if not page.flags & lib.PG_swapbacked or not folio_trylock(mm.kernel, pfn):
        return value
    if page._mapcount == 1:
        return 0
    folio_unlock(mm.kernel, pfn)
    return value


def _reclaim_shmem(mm: MmStruct, vma: struct_vm_area_struct_ptr, pfn: int, dirty: bool) -> None:
    """shrink_folio_list() for a page of shared memory that was unmapped, and is locked still: only
    what is all zero may go.
    """
    page = mm.memory.page(pfn)
    if dirty:
        page.flags |= lib.PG_dirty
    if not page.flags & lib.PG_dirty:
        filemap_remove_folio(mm.kernel, mm.file(vma.vm_file).mapping, page.index)
    folio_unlock(mm.kernel, pfn)


def _change_pages(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int, change: Change
) -> None:
    split_huge_pmds(mm, start, end)
    tlb = engine.tlb_gather_mmu(mm)
    try:
        for pmd, addr, following in each_pmd(mm, start, end, tlb):
            _change_pte_range(tlb, vma, pmd, addr, following, change)
    finally:
        engine.tlb_finish_mmu(tlb)


def _change_pte(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, pte: EntryPa, change: Change
) -> tuple[int, int]:
    """What the PTE was, and is now. Where the processor sets D meanwhile the page is not clean any
    more, and it is decided anew.
    """
    while True:
        old = mm.memory.read_u64(pte)
        if not pte_present(old) or old & SPECIAL:
            return old, old
        page = mm.memory.page(entry_pfn(old))
        value = change(mm, vma, old, page)
        if value == old or pte_cmpxchg(mm, addr, pte, old, value):
            return old, value
        if not value and not page.flags & lib.PG_anon:
            folio_unlock(mm.kernel, entry_pfn(old))


def _change_pte_range(
    tlb: Gather, vma: struct_vm_area_struct_ptr, pmd: EntryPa, start: int, end: int, change: Change
) -> None:
    mm, memory = tlb.mm, tlb.mm.memory
    pte = engine.pte_tryget_map_lock(mm, pmd, start)
    if pte is None:
        return
    table = pte_table(pte)
    cleared: list[tuple[int, bool]] = []
    for addr in range(start, end, PAGE_SIZE):
        old, value = _change_pte(mm, vma, addr, pte, change)
        if value != old:
            if old & P:
                tlb_remove_tlb_entry(tlb, addr)
            if not value:
                cleared.append((entry_pfn(old), bool(old & DIRTY_BITS)))
        pte = EntryPa(pte + 8)
    engine.pte_unlock(mm, table)
    for pfn, dirty in cleared:
        engine.add_mm_counter(mm, mm_counter(memory.page(pfn)), -1)
        page = memory.page(pfn)
        page._mapcount -= 1
        if not page.flags & lib.PG_anon:
            _reclaim_shmem(mm, vma, pfn, dirty)
        if engine.tlb_remove_page(tlb, pfn):
            engine.tlb_flush_mmu(tlb)
    engine.pte_put_many_tlb(tlb, table, start, len(cleared))
    engine.pte_put_tlb(tlb, table, start)
