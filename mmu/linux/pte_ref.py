# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference counts of PTE tables: free a table when its last entry becomes none.

Who holds a reference on a table:

- every entry that is not none: one each; a change of content (protection, copy on write) is ±0;
- every visitor (fault, zap, mprotect, any walker): one, while it looks or writes.

So at rest the count is the number of non-none entries. The life of one table::

    pte_alloc_get ── pte_ref_init(1) ── pmd_install ──┐   the installer's own reference
                                                      │
       entry set: pte_get ... entry cleared: pte_put  │   n entries + visitors
                                                      │
    pte_put of the last ── free_pte_table ────────────┘
       PMD lock · PMD exchanged with none · all 512 none? · TLB and paging-structure caches
       flushed · unlock · VmPTE less one table · grace period · frame freed

The count lives in ``struct page.pte_refcount``, the back pointer to the PMD entry in ``struct
page.pmd``. ``pte_get_unless_zero`` stands in an RCU read section on a copy of the PMD's value, so a
table that is being freed can be looked at, and is refused. Under the policies that do not count,
"get" means "find" and "put" does nothing. From Qi Zheng's series "Free user PTE page table pages"
(2021, 2022), its defects mended; tests/linux/test_defects.py names each.

``pmd`` is the guest-physical address of the PMD entry, ``addr`` any virtual address of the table's
2 MiB.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from mmu._native import ffi, lib
from mmu.events import EVENT_ID, MM_COUNTER_ID
from mmu.linux.bug import Bug
from mmu.linux.locks import pmd_lock, pmd_unlock, pte_lock
from mmu.linux.mmu_gather import (
    Gather,
    flush_freed_tables,
    mm_dec_nr_ptes,
    pte_free_tlb,
)
from mmu.linux.pgalloc import mm_inc_pgtables, table_alloc
from mmu.linux.pgtable import (
    ADDR_MASK,
    PMD_MASK,
    TABLE,
    emit,
    entry_pfn,
    pmd_huge,
    pmd_none,
    pte_offset,
    table_is_empty,
    xchg,
)
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.rcu import call_rcu, rcu_read_lock, rcu_read_unlock
from mmu.linux.state import MmStruct
from mmu.linux.tlbflush import flush_tlb_mm_range
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

PTE_REF_MAX: Final = 0x7FFF_FFFF
"""A count above this is an overflow."""

_PTE_ALLOC: Final = EVENT_ID["pte_alloc"]
_PTE_FREE: Final = EVENT_ID["pte_free"]
_PTE_GET: Final = EVENT_ID["pte_get"]
_PTE_PUT: Final = EVENT_ID["pte_put"]
_PTE_TRYGET: Final = EVENT_ID["pte_tryget"]
_ALLOCATED: Final = MM_COUNTER_ID["pte_tables_allocated"]


class TryGet(IntEnum):
    """What pte_try_get() ended in."""

    SUCCEEDED = lib.TRYGET_SUCCEEDED
    FAILED_ZERO = lib.TRYGET_FAILED_ZERO
    FAILED_NONE = lib.TRYGET_FAILED_NONE
    FAILED_HUGE_PMD = lib.TRYGET_FAILED_HUGE_PMD


class PteAlloc(IntEnum):
    """What pte_alloc_get() ended in."""

    OK = lib.PTE_ALLOC_OK
    OOM = lib.PTE_ALLOC_OOM
    HUGE_PMD = lib.PTE_ALLOC_HUGE_PMD


class VmFault:
    """What a fault holds while it runs: ``has_ref`` if that is a visitor reference on the table
    under ``pmd``. ``c`` is its ``struct vm_fault *``.
    """

    def __init__(self, mm: MmStruct, address: int, pmd: EntryPa, has_ref: bool = False) -> None:
        self.mm = mm
        self.memory = mm.memory
        self.native = mm.native
        self.check = mm.check
        self.pmd = pmd
        entry = ffi.cast("pmd_t *", mm.memory.c.ram + (pmd - mm.memory.base))
        self.c = ffi.new("struct vm_fault *", [mm.c, address, entry, has_ref])

    @property
    def has_ref(self) -> bool:
        """Whether a reference is held."""
        return bool(self.c.has_ref)


def pte_ref_init(mm: MmStruct, table: int, pmd: EntryPa, count: int) -> None:
    """Set back pointer and count of the table in frame ``table``, **before** pmd_install()
    publishes it (D1).

    The count is 1 for a table about to be installed (the installer's), 512 for a deposited one
    withdrawn to split a huge page.
    """
    page = mm.memory.page(table)
    page.pmd = pmd
    page.pte_refcount = count


def pte_get(mm: MmStruct, pmd: EntryPa) -> None:
    """Take one more reference: pte_get_many() of one."""
    pte_get_many(mm, pmd, 1)


def pte_get_many(mm: MmStruct, pmd: EntryPa, nr: int) -> None:
    """Take nr more references; 0 does nothing.

    The caller holds a reference already, or the PTE lock and a non-none entry; no PMD lock is
    needed. Taking from 0 is the bug PTE_REF_FROM_ZERO. Relaxed: who may increment sees the table
    anyway.
    """
    if not nr or not pte_ref_is_enabled(mm):
        return
    pfn = entry_pfn(mm.memory.read_u64(pmd))
    page = mm.memory.page(pfn)
    old = page.pte_refcount
    if old == 0 or old + nr > PTE_REF_MAX:
        mm.kernel.bug(
            Bug.PTE_REF_OVERFLOW if old else Bug.PTE_REF_FROM_ZERO, mm.memory.read_u64(pmd)
        )
        return
    page.pte_refcount = old + nr
    emit(mm.kernel, _PTE_GET, pfn, nr, old + nr)


def pte_entries_set(mm: MmStruct, pmd: EntryPa, nr: int) -> None:
    """Count nr entries that became non-none, after they were set. The caller holds a visitor
    reference (D12).
    """
    pte_get_many(mm, pmd, nr)


def pte_get_unless_zero(mm: MmStruct, pmd: EntryPa) -> bool:
    """Take a reference unless the count is 0; whether it did. Under the PMD lock, or in an RCU read
    section.
    """
    return not pte_ref_is_enabled(mm) or _page_get_unless_zero(mm, mm.memory.read_u64(pmd))


def _page_get_unless_zero(mm: MmStruct, pmdval: int) -> bool:
    page = mm.memory.page(entry_pfn(pmdval))
    if page.pte_refcount == 0:
        return False
    page.pte_refcount += 1
    emit(mm.kernel, _PTE_GET, entry_pfn(pmdval), 1, page.pte_refcount)
    return True


def pte_try_get(mm: MmStruct, pmd: EntryPa) -> TryGet:
    """Take a reference on whatever table pmd refers to now. Nothing is held on failure, RCU neither
    (D6).

    After success the PMD is read again: if another table, or none, stands there now (ABA), the
    reference is dropped from the table that was held, not from the one that the PMD names now
    (D11).
    """
    rcu_read_lock(mm.kernel)
    pmdval = mm.memory.read_u64(pmd)
    result = _try_get(mm, pmd, pmdval)
    rcu_read_unlock(mm.kernel)
    if pte_ref_is_enabled(mm):
        pfn = 0 if result == TryGet.FAILED_NONE else entry_pfn(pmdval)
        has_count = result in (TryGet.SUCCEEDED, TryGet.FAILED_ZERO)
        emit(
            mm.kernel,
            _PTE_TRYGET,
            pfn,
            result,
            mm.memory.page(pfn).pte_refcount if has_count else 0,
        )
    return result


def _try_get(mm: MmStruct, pmd: EntryPa, pmdval: int) -> TryGet:
    if pmd_none(pmdval):
        return TryGet.FAILED_NONE
    if pmd_huge(pmdval):
        return TryGet.FAILED_HUGE_PMD
    if not pte_ref_is_enabled(mm):
        return TryGet.SUCCEEDED
    if not _page_get_unless_zero(mm, pmdval):
        return TryGet.FAILED_ZERO
    if mm.memory.read_u64(pmd) != pmdval:
        if _table_put(mm, pmdval, 1):
            free_pte_table(mm, EntryPa(mm.memory.page(entry_pfn(pmdval)).pmd), 0)
        return TryGet.FAILED_NONE
    return TryGet.SUCCEEDED


def pte_tryget_map(mm: MmStruct, pmd: EntryPa, addr: int) -> EntryPa | None:
    """pte_try_get(), and the address of addr's PTE. None: nothing is held, and there is nothing to
    visit.

    Read-only walkers take None for a hole; a fault goes on to pte_alloc_get_map(): it never ends in
    a signal (D9).
    """
    if pte_try_get(mm, pmd) != TryGet.SUCCEEDED:
        return None
    return pte_offset(mm.memory.read_u64(pmd), addr)


def pte_tryget_map_lock(mm: MmStruct, pmd: EntryPa, addr: int) -> EntryPa | None:
    """pte_tryget_map() with the PTE lock taken. None: no reference, no lock, no RCU section is
    held.
    """
    pte = pte_tryget_map(mm, pmd, addr)
    if pte is not None:
        pte_lock(mm, pmd)
    return pte


def pmd_install(mm: MmStruct, pmd: EntryPa, addr: int, table: int) -> bool:
    """Publish the frame ``table``, whose count is 1, in pmd, under the PMD lock; VmPTE grows by one
    table.

    A gathered table whose flush is still to come must not leave its translations to the new one:
    that flush is completed first (D4). The loser of an install race frees its own table and takes a
    reference on the winner's. Returns whether a reference is held: False if the winner's table is
    being freed already.
    """
    flush_freed_tables(mm)
    pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    won = pmd_none(pmdval)
    if won:
        mm.memory.write_u64(pmd, table << PAGE_SHIFT | TABLE)
        mm_inc_pgtables(mm)
        mm.c.counter[_ALLOCATED] += 1
        emit(mm.kernel, _PTE_ALLOC, addr & PMD_MASK, table)
    held = won or (not pmd_huge(pmdval) and pte_get_unless_zero(mm, pmd))
    pmd_unlock(mm, pmd)
    if not won:
        mm.memory.page(table).flags &= ~lib.PG_table
        mm.memory.free_pages(table, zero=True)
    return held


def pte_alloc_get(mm: MmStruct, pmd: EntryPa, addr: int) -> PteAlloc:
    """Find or install the table of addr and take a reference, the caller's to put on every path
    (D10).

    A table whose count is 0 and that still stands in its PMD has a freer who has not come that far:
    its work is done here, not waited for, so nobody can be kept waiting by a preempted freer (D2).
    """
    while True:
        result = pte_try_get(mm, pmd)
        if result == TryGet.SUCCEEDED:
            return PteAlloc.OK
        if result == TryGet.FAILED_HUGE_PMD:
            return PteAlloc.HUGE_PMD
        if result == TryGet.FAILED_ZERO:
            free_pte_table(mm, pmd, addr)
            continue
        table = table_alloc(mm)
        if table is None:
            return PteAlloc.OOM
        pte_ref_init(mm, table, pmd, int(pte_ref_is_enabled(mm)))
        if pmd_install(mm, pmd, addr, table):
            return PteAlloc.OK


def pte_alloc_get_map(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, EntryPa]:
    """pte_alloc_get(), and the address of addr's PTE (0 unless OK)."""
    result = pte_alloc_get(mm, pmd, addr)
    if result != PteAlloc.OK:
        return result, EntryPa(0)
    return result, pte_offset(mm.memory.read_u64(pmd), addr)


def pte_alloc_get_map_lock(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, EntryPa]:
    """pte_alloc_get_map() with the PTE lock taken if it is OK."""
    result, pte = pte_alloc_get_map(mm, pmd, addr)
    if result == PteAlloc.OK:
        pte_lock(mm, pmd)
    return result, pte


def pte_put(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """Drop one reference: pte_put_many() of one."""
    pte_put_many(mm, pmd, addr, 1)


def pte_put_many(mm: MmStruct, pmd: EntryPa, addr: int, nr: int) -> None:
    """Drop nr references of the table under pmd, which the caller holds; the last one frees it and
    flushes at once.

    No PTE lock and no PMD lock is held. Dropping more than there are is the bug PTE_REF_UNDERFLOW
    (D7). Acquire-release: who frees sees every entry that others cleared.
    """
    if nr and pte_ref_is_enabled(mm) and _table_put(mm, mm.memory.read_u64(pmd), nr):
        free_pte_table(mm, pmd, addr)


def pte_put_tlb(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """pte_put_many_tlb() of one."""
    pte_put_many_tlb(tlb, pmd, addr, 1)


def pte_put_many_tlb(tlb: Gather, pmd: EntryPa, addr: int, nr: int) -> None:
    """pte_put_many() whose flush, and whose frame, are left to the gather."""
    if nr and pte_ref_is_enabled(tlb.mm) and _table_put(tlb.mm, tlb.mm.memory.read_u64(pmd), nr):
        free_pte_table_tlb(tlb, pmd, addr)


def pte_put_vmf(vmf: VmFault) -> None:
    """Drop the fault's reference, if it holds one; before mmap_lock is dropped."""
    if vmf.c.has_ref:
        vmf.c.has_ref = 0
        pte_put(vmf.mm, vmf.pmd, vmf.c.address)


def _table_put(mm: MmStruct, pmdval: int, nr: int) -> bool:
    """Drop nr references of the table that pmdval names; whether none is left."""
    page = mm.memory.page(entry_pfn(pmdval))
    old = page.pte_refcount
    if old < nr:
        mm.kernel.bug(Bug.PTE_REF_UNDERFLOW, pmdval)
        return False
    page.pte_refcount = old - nr
    emit(mm.kernel, _PTE_PUT, entry_pfn(pmdval), nr, old - nr)
    return bool(old == nr)


def free_pte_table(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """Free the table under pmd if its count is 0: exactly once, whoever asks and however often. No
    lock is held.

    One table's flush is one INVLPG, which drops the paging-structure caches with it, and it comes
    before the PMD lock is dropped, so that no new table can be installed beside old translations
    (D3, D4).
    """
    pmd_lock(mm, pmd)
    table = _detach_pte_table(mm, pmd, addr)
    if table is not None:
        start = addr & PMD_MASK
        flush_tlb_mm_range(mm, start, start + PAGE_SIZE, PAGE_SHIFT, 1)
    pmd_unlock(mm, pmd)
    if table is not None:
        mm_dec_nr_ptes(mm)
        call_rcu(mm.kernel, table)


def free_pte_table_tlb(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """free_pte_table() whose flush and whose frame are the gather's."""
    pmd_lock(tlb.mm, pmd)
    table = _detach_pte_table(tlb.mm, pmd, addr)
    if table is not None:
        pte_free_tlb(tlb, table, addr)
    pmd_unlock(tlb.mm, pmd)
    if table is not None:
        mm_dec_nr_ptes(tlb.mm)


def _detach_pte_table(mm: MmStruct, pmd: EntryPa, addr: int) -> int | None:
    """Take the dead table out of pmd; its frame, or None if another did, or it lives. The PMD lock
    is held.
    """
    pmdval = mm.memory.read_u64(pmd)
    if pmd_none(pmdval) or pmd_huge(pmdval) or mm.memory.page(entry_pfn(pmdval)).pte_refcount:
        return None
    xchg(mm, pmd, 0)
    if not table_is_empty(mm.memory, pmdval & ADDR_MASK):
        mm.kernel.bug(Bug.PTE_TABLE_NOT_EMPTY, addr)
        mm.memory.write_u64(pmd, pmdval)
        return None
    emit(mm.kernel, _PTE_FREE, addr & PMD_MASK, entry_pfn(pmdval))
    return entry_pfn(pmdval)
