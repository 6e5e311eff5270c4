# SPDX-License-Identifier: GPL-2.0-or-later
"""Making a huge page of what one PTE table maps: collapse_huge_page() (mm/khugepaged.c, v6.18).

What khugepaged does to one range that it has chosen, and what MADV_COLLAPSE does: ::

    a huge page                  allocated before any lock is taken
    mmap_lock for writing        and the VMA's lock: no fault, no zap, no visitor of the table
    PMD cleared, flushed         nobody uses the old pages any more
      a page is pinned, ...      the PMD is set again, and nothing has happened
    each page copied             its PTE cleared; an entry that was none is a page of zeros
    references dropped           of the entries, then the visitor's own: the last
    table deposited, PMD set     huge; mmap_lock is dropped after that

The put of the last reference finds the PMD none, frees nothing, and leaves a count of 0, before the
table can be withdrawn again: by then it would be another's. Linux drops its anon_vma lock midway,
and reverse-mapping walks come after that; there are none here of anonymous memory. Nor is there the
interrupt that Linux sends after the flush (tlb_remove_table_sync_one()): a walk without a lock that
is still in the table finds entries that are none, or a PMD that has changed, and a deposited table
is freed as any other, not at once.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.errors import OutOfMemory
from mmu.linux import engine
from mmu.linux.bug import Bug
from mmu.linux.huge_memory import (
    HPAGE_PMD_NR,
    HPAGE_PMD_ORDER,
    pgtable_trans_huge_deposit,
)
from mmu.linux.pgtable import (
    PMD_MASK,
    PMD_SIZE,
    PS,
    PTRS_PER_PTE,
    RW,
    SPECIAL,
    D,
    P,
    entry_pfn,
    not_none,
    pte_mksaveddirty,
    ptep_get_and_clear,
    table_entry,
    vm_page_prot,
    xchg_pmd,
)
from mmu.linux.policies import policy_of
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.pte_ref import TryGet
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_DROPPABLE, VM_NOHUGEPAGE, VM_SHARED, VM_SPECIAL, VM_WRITE
from mmu.linux.vma_lock import vma_start_write
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


class ScanResult(Enum):
    """What an attempt to collapse came to (enum scan_result)."""

    SUCCEED = "a huge PMD maps the 2 MiB"
    PMD_NULL = "there is no table to collapse"
    PMD_MAPPED = "a huge PMD maps them already"
    VMA_NULL = "no VMA is there"
    VMA_CHECK = "the VMA may not have huge pages: it is no private anonymous memory, or forbidden"
    ADDRESS_RANGE = "the VMA does not have all 2 MiB"
    PAGE_ANON = "the VMA has no page of its own yet"
    PTE_NON_PRESENT = "an entry is neither none nor present: a guard region's marker"
    PAGE_COUNT = "somebody else has a reference of a page"
    ALLOC_HUGE_PAGE_FAIL = "no 512 free frames lie together"


def collapse_huge_page(mm: MmStruct, address: int) -> ScanResult:
    """Have one huge PMD map the 2 MiB of address, which 512 PTEs map or leave out; whether, or why
    not, in which case nothing has changed.

    VMA flags decide as for MADV_COLLAPSE: a private anonymous one, not VM_NOHUGEPAGE. Entries may
    be none, all of them too where nobody counts, so that the table is there; pages may be shared
    with other processes: they are copied. Takes mmap_lock and the VMA's lock for writing,
    page-table locks and a visitor's reference; waits for every CPU.
    """
    haddr = address & PMD_MASK
    try:
        pfn = mm.memory.alloc_pages(HPAGE_PMD_ORDER)
    except OutOfMemory:
        return ScanResult.ALLOC_HUGE_PAGE_FAIL
    with mm.mmap_write_lock():
        result = _collapse(mm, haddr, pfn)
    if result is not ScanResult.SUCCEED:
        mm.memory.free_pages(pfn, HPAGE_PMD_ORDER, zero=True)
    return result


def hugepage_vma_revalidate(
    mm: MmStruct, address: int
) -> tuple[ScanResult, struct_vm_area_struct_ptr | None]:
    """The VMA of address, and whether it may have a huge page there. mmap_lock is held."""
    vma = lib.find_vma(mm.c, address)
    if vma == ffi.NULL or address + PMD_SIZE <= vma.vm_start:
        return ScanResult.VMA_NULL, None
    if vma.vm_start > address or vma.vm_end < address + PMD_SIZE:
        return ScanResult.ADDRESS_RANGE, None
    flags = vma.vm_flags
    accessible = flags & (lib.VM_READ | lib.VM_WRITE | lib.VM_EXEC)
    if vma.vm_file or flags & (VM_SHARED | VM_SPECIAL | VM_NOHUGEPAGE) or not accessible:
        return ScanResult.VMA_CHECK, None
    if not vma.anon_vma:
        return ScanResult.PAGE_ANON, None
    return ScanResult.SUCCEED, vma


def _collapse(mm: MmStruct, haddr: int, pfn: int) -> ScanResult:
    """collapse_huge_page() with mmap_lock held for writing."""
    result, vma = hugepage_vma_revalidate(mm, haddr)
    if vma is None:
        return result
    vma_start_write(mm, vma)
    pmd = engine.pmd_tryget(mm, haddr)
    if pmd is None:
        return ScanResult.PMD_NULL
    try:
        return _collapse_pmd(mm, vma, pmd, haddr, pfn)
    finally:
        engine.pmd_put(mm, pmd, haddr)


def _collapse_pmd(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, pmd: EntryPa, haddr: int, pfn: int
) -> ScanResult:
    """The same of one PMD entry, whose PMD table is visited."""
    result, table = engine.pte_try_get(mm, pmd)
    if result != TryGet.SUCCEEDED:
        huge = result == TryGet.FAILED_HUGE_PMD
        return ScanResult.PMD_MAPPED if huge else ScanResult.PMD_NULL
    pmdval = pmdp_collapse_flush(mm, pmd, haddr)
    outcome = _isolate(mm, table)
    if outcome is not ScanResult.SUCCEED:
        engine.pmd_lock(mm, pmd)
        xchg_pmd(mm, haddr, pmd, pmdval)
        engine.pmd_unlock(mm, pmd)
        engine.pte_put(mm, table, haddr)
        return outcome
    _copy(mm, table, haddr, pfn)
    _make_pages(mm, vma, pfn)
    _let_go(mm, table, haddr)
    value = pfn << PAGE_SHIFT | vm_page_prot(vma.vm_flags) | PS | D
    value |= RW if vma.vm_flags & VM_WRITE else 0
    engine.pmd_lock(mm, pmd)
    pgtable_trans_huge_deposit(mm, pmd, haddr, table)
    xchg_pmd(mm, haddr, pmd, pte_mksaveddirty(value))
    engine.pmd_unlock(mm, pmd)
    return ScanResult.SUCCEED


def pmdp_collapse_flush(mm: MmStruct, pmd: EntryPa, haddr: int) -> int:
    """Take the PTE table out of pmd, and have every CPU flush what it has cached of it, lazy ones
    too: a table stops being one (v6.14: "x86/mm: Fix flush_tlb_range() when used for zapping normal
    PMDs"). What the entry was. Takes and drops the PMD lock.
    """
    engine.pmd_lock(mm, pmd)
    pmdval = xchg_pmd(mm, haddr, pmd, 0)
    mm.kernel.point("pmdp_collapse_flush")
    engine.flush_tlb_mm_range(mm, haddr, haddr + PMD_SIZE, PAGE_SHIFT, 1)
    engine.pmd_unlock(mm, pmd)
    return pmdval


def _isolate(mm: MmStruct, table: int) -> ScanResult:
    """__collapse_huge_page_isolate(): whether every page may go, which nobody can map any more."""
    engine.pte_lock(mm, table)
    outcome = ScanResult.SUCCEED
    start = int(table_entry(table, 0))
    for at in not_none(mm.memory, start, PTRS_PER_PTE):
        outcome = _may_go(mm, mm.memory.read_u64(start + at * 8))
        if outcome is not ScanResult.SUCCEED:
            break
    engine.pte_unlock(mm, table)
    return outcome


def _may_go(mm: MmStruct, pte: int) -> ScanResult:
    if not pte & P:
        return ScanResult.PTE_NON_PRESENT
    page = mm.memory.page(entry_pfn(pte))
    if not pte & SPECIAL and page._refcount != page._mapcount:
        return ScanResult.PAGE_COUNT
    return ScanResult.SUCCEED


def _copy(mm: MmStruct, table: int, haddr: int, pfn: int) -> None:
    """__collapse_huge_page_copy(): the bytes of each page to its place in the huge page; PTEs are
    cleared, their references and those of the old pages dropped.
    """
    memory, start, old_pages = mm.memory, int(table_entry(table, 0)), []
    engine.pte_lock(mm, table)
    nr = 0
    for at in not_none(memory, start, PTRS_PER_PTE):
        pte = ptep_get_and_clear(mm, haddr + at * PAGE_SIZE, EntryPa(start + at * 8))
        nr += 1
        if not pte & SPECIAL:
            old_pages.append(entry_pfn(pte))
            data = memory.read(entry_pfn(pte) << PAGE_SHIFT, PAGE_SIZE)
            memory.write(pfn + at << PAGE_SHIFT, data)
    engine.pte_unlock(mm, table)
    engine.pte_put_many(mm, table, haddr, nr)
    engine.add_mm_counter(mm, lib.MM_ANONPAGES, HPAGE_PMD_NR - len(old_pages))
    for old in old_pages:
        memory.page(old)._mapcount -= 1
        memory.put_page(old)


def _make_pages(mm: MmStruct, vma: struct_vm_area_struct_ptr, pfn: int) -> None:
    """The new frames are anonymous pages that one entry maps, which nobody shares."""
    flags = lib.PG_anon | lib.PG_anon_exclusive
    if not vma.vm_flags & VM_DROPPABLE:
        flags |= lib.PG_swapbacked
    for frame in range(pfn, pfn + HPAGE_PMD_NR):
        page = mm.memory.page(frame)
        page.flags |= flags
        page._mapcount = 1


def _let_go(mm: MmStruct, table: int, haddr: int) -> None:
    """Drop the visitor's reference, the last of the table that is to be deposited: the policy may
    keep none either.
    """
    engine.pte_put(mm, table, haddr)
    policy = policy_of(mm.kernel)
    if mm.kernel.c.policy == lib.FREE_TABLES_OWN:
        tlb = engine.tlb_gather_mmu(mm)
        policy.unmapping(tlb, haddr, haddr + PMD_SIZE)
        engine.tlb_finish_mmu(tlb)
    if pte_ref_is_enabled(mm) and policy.references(table) + policy.kept(table):
        mm.kernel.bug(Bug.PTE_TABLE_DEPOSITED, haddr)
        mm.check()
