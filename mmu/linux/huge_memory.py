# SPDX-License-Identifier: GPL-2.0-or-later
"""Huge pages: a PMD entry that maps 2 MiB itself, and the PTE table that is kept for its split
(mm/huge_memory.c, mm/pgtable-generic.c, v6.18).

::

                collapse_huge_page()                       split_huge_pmd()
    PMD -> table -> 512 PTEs   ───►   PMD ══► 2 MiB        ───►   PMD -> table -> 512 PTEs
             count = entries           table, empty, its           count = 512
                                       count 0: deposited

To split must not fail, so the table is there beforehand: each huge PMD has one *deposited*, empty,
which is counted in VmPTE and whose reference count is 0. Who looks for a table finds no count to
get, and none in the PMD. The split withdraws it, sets all 512 entries, gives it a count of 512 and
puts it back in the PMD.

What is as in Linux: one PMD entry is one TLB entry; a zap of all 2 MiB takes the entry and frees
the deposited table, a zap of a part splits first; the PMD is not present, and the large translation
flushed, before small ones can come to be (``pmdp_invalidate()``: a CPU that has both of one address
may check out, AMD erratum 383). What is not:

- Huge pages come from collapse_huge_page() alone (mmu.linux.khugepaged), never from a fault, and no
  guest has them: they are off for every process (as by PR_SET_THP_DISABLE).
- A huge page is 512 pages that lie together, each with its own ``struct page``: there is no folio
  of several. So a split changes no reference of any page.
- mprotect(), mremap(), fork(), MADV_FREE, MADV_COLD and clear_refs split what they come to, where
  Linux changes or copies whole huge PMDs. They do so before they begin: a huge PMD comes to be only
  with mmap_lock and the VMA's lock held for writing, so that who holds either meets no new one.
- A VMA that is cut does not split the huge PMD at the cut (vma_adjust_trans_huge()): VMAs may end
  inside a huge page, and smaps counts what each of them maps of it as AnonHugePages.

The PMD lock guards the entry and what is deposited for it.
"""

from __future__ import annotations

import struct
from typing import Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux import engine
from mmu.linux.free_tables import Holder
from mmu.linux.mmu_gather import Gather, mm_dec_nr_ptes
from mmu.linux.pgtable import (
    ADDR_MASK,
    PMD_SHIFT,
    PMD_SIZE,
    PTRS_PER_PTE,
    TABLE,
    P,
    entry_pfn,
    pmd_huge,
    pte_of_huge_pmd,
    xchg_pmd,
)
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import emit
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

HPAGE_PMD_ORDER: Final = PMD_SHIFT - PAGE_SHIFT
HPAGE_PMD_NR: Final = 1 << HPAGE_PMD_ORDER
"""Pages of a huge page."""

_SET_PTE: Final = EVENT_ID["set_pte"]
_PTE_GET: Final = EVENT_ID["pte_get"]
_PTE_FREE: Final = EVENT_ID["pte_free"]


def huge_pmds(mm: MmStruct, start: int, end: int) -> list[int]:
    """The addresses of the huge PMDs that map anything of [start, end), in order. mmap_lock or the
    VMA's lock is held, so that none comes to be; another CPU may split them meanwhile. A file's
    VMAs have none: who comes by the file holds i_mmap_rwsem.
    """
    if not mm.vm_hugepage:
        return []
    mm.kernel.instrument_read(mm, "pmd_huge_pte")
    return sorted(addr for addr in mm.pmd_huge_pte if addr < end and start < addr + PMD_SIZE)


# The deposited table.


def pgtable_trans_huge_deposit(mm: MmStruct, pmd: EntryPa, addr: int, table: int) -> None:
    """Keep an empty PTE table, whose count is 0, for the huge PMD that is about to come into pmd,
    the entry of addr, a multiple of 2 MiB. The PMD lock is held.
    """
    mm.kernel.instrument_write(mm, "pmd_huge_pte")
    mm.vm_hugepage = True
    mm.pmd_huge_pte[addr] = table
    mm.memory.page(table).pmd = pmd


def pgtable_trans_huge_withdraw(mm: MmStruct, addr: int) -> int:
    """Take back the frame of the table that is deposited for the huge PMD of addr. The PMD lock is
    held.
    """
    mm.kernel.instrument_write(mm, "pmd_huge_pte")
    return mm.pmd_huge_pte.pop(addr)


# Splitting.


def split_huge_pmds(mm: MmStruct, start: int, end: int) -> None:
    """Split every huge PMD that maps anything of [start, end). Locks as huge_pmds(); no spinlock is
    held; may wait.
    """
    for addr in huge_pmds(mm, start, end):
        split_huge_pmd(mm, addr)


def split_huge_pmd(mm: MmStruct, addr: int) -> None:
    """Have 512 PTEs map what the huge PMD of addr, a multiple of 2 MiB, maps; nothing if it is none
    any more (__split_huge_pmd()).

    Takes and drops the PMD lock; waits, under it, until every CPU has flushed. Nothing is
    allocated: it cannot fail.
    """
    pmd = engine.pmd_tryget(mm, addr)
    if pmd is None:
        return
    engine.pmd_lock(mm, pmd)
    if pmd_huge(mm.memory.read_u64(pmd)):
        _split_huge_pmd_locked(mm, pmd, addr)
    engine.pmd_unlock(mm, pmd)
    engine.pmd_put(mm, pmd, addr)


def _split_huge_pmd_locked(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """The table gets its entries and its count before the PMD names it. It is withdrawn last:
    huge_pmds() has the PMD until it names a table, so that who asks waits for the PMD lock.
    """
    old = pmdp_invalidate(mm, pmd, addr)
    mm.kernel.instrument_read(mm, "pmd_huge_pte")
    table = mm.pmd_huge_pte[addr]
    count = PTRS_PER_PTE if pte_ref_is_enabled(mm) else 0
    engine.pte_ref_init(mm, table, pmd, count)
    _set_ptes(mm, table, old, addr)
    if count:
        emit(mm.kernel, _PTE_GET, table, 0, count, Holder.ENTRIES)
    mm.kernel.point("pmd_populate")
    xchg_pmd(mm, addr, pmd, table << PAGE_SHIFT | TABLE)
    pgtable_trans_huge_withdraw(mm, addr)


def pmdp_invalidate(mm: MmStruct, pmd: EntryPa, addr: int) -> int:
    """Have no CPU use the huge PMD any more, lazy ones neither; it stays huge, not present. What it
    was. The PMD lock is held; waits for every CPU.
    """
    old = xchg_pmd(mm, addr, pmd, mm.memory.read_u64(pmd) & ~P)
    mm.kernel.point("pmdp_invalidate")
    engine.flush_tlb_mm_range(mm, addr, addr + PMD_SIZE, PMD_SHIFT, 1)
    return old


def _set_ptes(mm: MmStruct, table: int, old: int, addr: int) -> None:
    """Have the table, which is in no PMD, map what the huge PMD of value ``old`` did."""
    values = [pte_of_huge_pmd(old, page) for page in range(addr, addr + PMD_SIZE, PAGE_SIZE)]
    start = table << PAGE_SHIFT
    mm.memory.write(start, struct.pack(f"<{PTRS_PER_PTE}Q", *values))
    if mm.kernel.ring is not None:
        for number, value in enumerate(values):
            emit(mm.kernel, _SET_PTE, addr + number * PAGE_SIZE, 0, value, start + number * 8)


# Zapping.


def unmap_single_vma(tlb: Gather, start: int, end: int, details: int) -> None:
    """Clear what maps [start, end) of one VMA, huge PMDs too (mm/memory.c); see
    mmu.linux.zap.unmap_page_range(). mmap_lock or the VMA's lock is held; may wait. As in
    zap_pmd_range(), what comes to a slot after its huge PMD is cleared stays.
    """
    for addr in huge_pmds(tlb.mm, start, end):
        if addr < start or addr + PMD_SIZE > end:
            split_huge_pmd(tlb.mm, addr)
            continue
        if start < addr:
            engine.unmap_page_range(tlb, start, addr, details)
        start = addr + PMD_SIZE if zap_huge_pmd(tlb, addr) else addr
    if start < end:
        engine.unmap_page_range(tlb, start, end, details)


def zap_huge_pmd(tlb: Gather, addr: int) -> bool:
    """Clear the huge PMD of addr; its pages and its deposited table go to the gather. False if
    another CPU has cleared it, or split it: unmap_page_range() finds the table.

    The table leaves as any other does. Where references are counted, what installs one in the slot
    before the gather has flushed flushes first, so that no CPU has small translations beside the
    large one (D4); under the other policies it may, as in Linux.
    """
    mm = tlb.mm
    pmd = engine.pmd_tryget(mm, addr)
    if pmd is None:
        return False
    engine.pmd_lock(mm, pmd)
    old = mm.memory.read_u64(pmd)
    huge = pmd_huge(old)
    if huge:
        old = xchg_pmd(mm, addr, pmd, 0)
        table = pgtable_trans_huge_withdraw(mm, addr)
        emit(mm.kernel, _PTE_FREE, addr, table, mm.c.pgd, pmd)
        mm.kernel.point("pmd_cleared")
        _gather_table(tlb, table, addr)
    engine.pmd_unlock(mm, pmd)
    if huge:
        mm_dec_nr_ptes(mm)
        _remove_pages(tlb, entry_pfn(old & ADDR_MASK))
        engine.pmd_entry_cleared_tlb(tlb, pmd, addr)
    engine.pmd_put_tlb(tlb, pmd, addr)
    return huge


def _gather_table(tlb: Gather, table: int, addr: int) -> None:
    """The deposited table, with the flush of the whole slot: the PMD lock is held."""
    engine.tlb_gather_owed(tlb, addr, 1)
    engine.pte_free_tlb(tlb, table, addr)


def _remove_pages(tlb: Gather, pfn: int) -> None:
    """The pages of a huge page, the first of which is ``pfn``, are mapped no more."""
    mm = tlb.mm
    engine.add_mm_counter(mm, lib.MM_ANONPAGES, -HPAGE_PMD_NR)
    for frame in range(pfn, pfn + HPAGE_PMD_NR):
        mm.memory.page(frame)._mapcount -= 1
        if engine.tlb_remove_page(tlb, frame):
            engine.tlb_flush_mmu(tlb)
