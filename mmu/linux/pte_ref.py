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
page.pmd``. There are two designs::

                     refcount                              refcount-pmdlock
    looking up       RCU, on a copy of the PMD's value     under the PMD lock
    the last put     in an RCU read section                under the PMD lock
    the frame        freed after a grace period            freed at once, after the flush

Under the policies that do not count, "get" means "find" and "put" does nothing. From Qi Zheng's
series "Free user PTE page table pages" (2021, 2022), its defects mended: docs/pte_ref.md.

What looks a table up takes ``pmd``, the guest-physical address of the PMD entry, which stays
meanwhile: where PMD tables are counted as well, because the caller visits its table
(mmu.linux.pmd_ref). What acts on a table that is held takes ``table``, its frame number, for the
PMD entry may name another one by then (D11). ``addr`` is any virtual address of the table's 2 MiB.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from mmu._native import ffi, lib
from mmu.events import EVENT_ID, MM_COUNTER_ID
from mmu.linux.bug import Bug
from mmu.linux.locks import pmd_lock, pmd_unlock, pte_lock, pte_unlock
from mmu.linux.mmu_gather import (
    Gather,
    flush_freed_tables,
    flush_pte_table,
    mm_dec_nr_ptes,
    pte_free_tlb,
    tlb_gather_owed,
    tlb_remove_tables,
)
from mmu.linux.pgalloc import mm_inc_pgtables, table_alloc
from mmu.linux.pgtable import (
    ADDR_MASK,
    PMD_MASK,
    PMD_SIZE,
    TABLE,
    entry_pfn,
    pmd_huge,
    pmd_none,
    table_entry,
    table_is_empty,
    xchg_pmd,
)
from mmu.linux.pmd_ref import pmd_entry_cleared, pmd_entry_cleared_tlb, pmd_entry_set
from mmu.linux.pt_reclaim import pte_ref_is_enabled, table_is_counted
from mmu.linux.rcu import rcu_read_lock, rcu_read_unlock
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import Span, emit
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT

PTE_REF_MAX: Final = 0x7FFF_FFFF
"""A count above this is an overflow."""

_PTE_ALLOC: Final = EVENT_ID["pte_alloc"]
_PTE_FREE: Final = EVENT_ID["pte_free"]
_PTE_GET: Final = EVENT_ID["pte_get"]
_PTE_PUT: Final = EVENT_ID["pte_put"]
_PTE_ALLOC_ONE: Final = EVENT_ID["pte_alloc_one"]
_PTE_TRYGET: Final = EVENT_ID["pte_tryget"]
_FREEING: Final = "free_pte_table"
_VISITOR, _ENTRIES = 0, 1  # whose the references of an event are
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
    """What a fault holds while it runs: ``table``, on which it has a visitor reference; 0 if on
    none. ``c`` is its ``struct vm_fault *``.
    """

    def __init__(self, mm: MmStruct, address: int, table: int) -> None:
        self.mm = mm
        self.kernel = mm.kernel
        self.memory = mm.memory
        self.native = mm.native
        self.check = mm.check
        self.c = ffi.new("struct vm_fault *", [mm.c, address, table])

    @property
    def table(self) -> int:
        """The table's frame number."""
        return int(self.c.table)


def pte_ref_init(mm: MmStruct, table: int, pmd: EntryPa, count: int) -> None:
    """Set back pointer and count of the table in frame ``table``, **before** pmd_install()
    publishes it (D1).

    The count is 1 for a table about to be installed (the installer's), 512 for a deposited one
    withdrawn to split a huge page.
    """
    page = mm.memory.page(table)
    page.pmd = pmd
    page.pte_refcount = count


def pte_get(mm: MmStruct, table: int) -> None:
    """Take one more reference, a visitor's: else as pte_get_many()."""
    _table_get(mm, table, 1, _VISITOR)


def pte_get_many(mm: MmStruct, table: int, nr: int) -> None:
    """Take nr more references, those of entries; 0 does nothing.

    The caller holds a reference already, or the PTE lock and a non-none entry; no PMD lock is
    needed. Taking from 0 is the bug PTE_REF_FROM_ZERO. Relaxed: who may increment sees the table
    anyway.
    """
    _table_get(mm, table, nr, _ENTRIES)


def _table_get(mm: MmStruct, table: int, nr: int, holder: int) -> None:
    if not nr or not pte_ref_is_enabled(mm):
        return
    page = mm.memory.page(table)
    old = page.pte_refcount
    if old == 0 or old + nr > PTE_REF_MAX:
        mm.kernel.bug(Bug.PTE_REF_OVERFLOW if old else Bug.PTE_REF_FROM_ZERO, table)
        return
    page.pte_refcount = old + nr
    emit(mm.kernel, _PTE_GET, table, old, old + nr, holder)


def pte_entries_set(mm: MmStruct, table: int, nr: int) -> None:
    """Count nr entries that became non-none, after they were set. The caller holds a visitor
    reference (D12).
    """
    mm.kernel.point("pte_entries_set")
    pte_get_many(mm, table, nr)


def pte_get_unless_zero(mm: MmStruct, pmd: EntryPa) -> bool:
    """Take a reference on the table under pmd unless its count is 0; whether it did. Under the PMD
    lock, or in an RCU read section.
    """
    return not pte_ref_is_enabled(mm) or _table_get_unless_zero(
        mm, entry_pfn(mm.memory.read_u64(pmd))
    )


def _table_get_unless_zero(mm: MmStruct, table: int) -> bool:
    page = mm.memory.page(table)
    if page.pte_refcount == 0:
        return False
    page.pte_refcount += 1
    emit(mm.kernel, _PTE_GET, table, page.pte_refcount - 1, page.pte_refcount, _VISITOR)
    return True


def pte_try_get(mm: MmStruct, pmd: EntryPa) -> tuple[TryGet, int]:
    """Take a reference on the table that pmd refers to now, and return it. Nothing is held on
    failure, neither a lock nor an RCU read section (D6).

    First design: under the PMD lock. Second: in an RCU read section, on a copy of the PMD's value;
    after success the PMD is read again, and if another table, or none, stands there now (ABA), the
    reference is dropped from the table that was held, not from the one that the PMD names now
    (D11).
    """
    if mm.kernel.c.policy == lib.FREE_TABLES_REFCOUNT_PMDLOCK:
        result, pmdval = _try_get_locked(mm, pmd)
    else:
        result, pmdval = _try_get_rcu(mm, pmd)
    table = 0 if result == TryGet.FAILED_NONE else entry_pfn(pmdval)
    if pte_ref_is_enabled(mm):
        has_count = result in (TryGet.SUCCEEDED, TryGet.FAILED_ZERO)
        emit(
            mm.kernel,
            _PTE_TRYGET,
            table,
            result,
            mm.memory.page(table).pte_refcount if has_count else 0,
        )
    return result, table


def _try_get_locked(mm: MmStruct, pmd: EntryPa) -> tuple[TryGet, int]:
    mm.kernel.point("pte_try_get")
    pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    result = _get_named(mm, pmdval)
    pmd_unlock(mm, pmd)
    return result, pmdval


def _try_get_rcu(mm: MmStruct, pmd: EntryPa) -> tuple[TryGet, int]:
    rcu_read_lock(mm.kernel)
    pmdval = mm.memory.read_u64(pmd)
    mm.kernel.point("pte_try_get")
    result = _get_named(mm, pmdval)
    if result == TryGet.SUCCEEDED and mm.memory.read_u64(pmd) != pmdval:
        pte_put(mm, entry_pfn(pmdval), 0)
        result = TryGet.FAILED_NONE
    rcu_read_unlock(mm.kernel)
    return result, pmdval


def _get_named(mm: MmStruct, pmdval: int) -> TryGet:
    """What pmdval refers to, with a reference taken if it is a table."""
    if pmd_none(pmdval):
        return TryGet.FAILED_NONE
    if pmd_huge(pmdval):
        return TryGet.FAILED_HUGE_PMD
    if not pte_ref_is_enabled(mm) or _table_get_unless_zero(mm, entry_pfn(pmdval)):
        return TryGet.SUCCEEDED
    return TryGet.FAILED_ZERO


def pte_tryget_map(mm: MmStruct, pmd: EntryPa, addr: int) -> EntryPa | None:
    """pte_try_get(), and the address of addr's PTE. None: nothing is held, and there is nothing to
    visit.

    Read-only walkers take None for a hole; a fault goes on to pte_alloc_get_map(): it never ends in
    a signal (D9).
    """
    result, table = pte_try_get(mm, pmd)
    return table_entry(table, addr) if result == TryGet.SUCCEEDED else None


def pte_tryget_map_lock(mm: MmStruct, pmd: EntryPa, addr: int) -> EntryPa | None:
    """pte_tryget_map() with the PTE lock taken. None: no reference, no lock, no RCU section is
    held.
    """
    while True:
        result, table = pte_try_get(mm, pmd)
        if result != TryGet.SUCCEEDED:
            return None
        if _lock_same(mm, pmd, table):
            return table_entry(table, addr)


def pte_relock(mm: MmStruct, pmd: EntryPa, table: int) -> int:
    """Take the PTE lock of the visited table again, after it was dropped midway; the table to go on
    with.

    A table that is counted is still there. Under the other policies it may have gone, and another
    may stand there: 0 if none does.
    """
    if pte_ref_is_enabled(mm):
        pte_lock(mm, table)
        return table
    while True:
        result, table = pte_try_get(mm, pmd)
        if result != TryGet.SUCCEEDED:
            return 0
        if _lock_same(mm, pmd, table):
            return table


def _lock_same(mm: MmStruct, pmd: EntryPa, table: int) -> bool:
    """Take the PTE lock of the table.

    One that is not counted may have gone before the lock was had: if pmd names another one by then,
    the lock is dropped, and False returned (pte_offset_map_lock(), v6.18).
    """
    if pte_ref_is_enabled(mm):
        pte_lock(mm, table)
        return True
    rcu_read_lock(mm.kernel)
    pte_lock(mm, table)
    rcu_read_unlock(mm.kernel)
    if entry_pfn(mm.memory.read_u64(pmd)) == table:
        return True
    pte_unlock(mm, table)
    return False


def pmd_install(mm: MmStruct, pmd: EntryPa, addr: int, table: int) -> int:
    """Publish the frame ``table``, whose count is 1, in pmd, under the PMD lock; VmPTE grows by one
    table.

    A gathered table whose flush is still to come must not leave its translations to the new one:
    what is owed for the slot is flushed first, under the lock (D4). The loser of an install race
    frees its own table and takes a reference on the winner's. Returns the table on which a
    reference is held: 0 if the winner's is being freed already.
    """
    mm.kernel.point("pmd_install")
    pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    won = pmd_none(pmdval)
    if won:
        if pte_ref_is_enabled(mm):
            flush_freed_tables(mm, pmd, addr)
        xchg_pmd(mm, addr, pmd, table << PAGE_SHIFT | TABLE, "pmd_install")
        mm_inc_pgtables(mm)
        mm.c.counter[_ALLOCATED] += 1
        emit(mm.kernel, _PTE_ALLOC, addr & PMD_MASK, table, mm.c.pgd, pmd)
        pmd_entry_set(mm, pmd)
        held = table
    else:
        got = not pmd_huge(pmdval) and pte_get_unless_zero(mm, pmd)
        held = entry_pfn(pmdval) if got else 0
    pmd_unlock(mm, pmd)
    if not won:
        mm.memory.page(table).flags &= ~lib.PG_table
        mm.memory.free_pages(table, zero=True)
    return held


def pte_alloc_get(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, int]:
    """Find or install the table of addr, take a reference, the caller's to put on every path (D10),
    and return it.

    A table whose count is 0 and that still stands in its PMD has a freer who has not come that far:
    its work is done here, not waited for, so nobody can be kept waiting by a preempted freer (D2).
    In the first design there is no such moment.
    """
    while True:
        result, table = pte_try_get(mm, pmd)
        if result == TryGet.SUCCEEDED:
            return PteAlloc.OK, table
        if result == TryGet.FAILED_HUGE_PMD:
            return PteAlloc.HUGE_PMD, table
        if result == TryGet.FAILED_ZERO:
            free_pte_table(mm, pmd, addr)
            continue
        made = table_alloc(mm)
        if made is None:
            return PteAlloc.OOM, 0
        emit(mm.kernel, _PTE_ALLOC_ONE, made, mm.c.pgd)
        pte_ref_init(mm, made, pmd, int(pte_ref_is_enabled(mm)))
        if held := pmd_install(mm, pmd, addr, made):
            return PteAlloc.OK, held


def pte_alloc_get_map(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, EntryPa]:
    """pte_alloc_get(), and the address of addr's PTE (0 unless OK)."""
    result, table = pte_alloc_get(mm, pmd, addr)
    return result, table_entry(table, addr) if result == PteAlloc.OK else EntryPa(0)


def pte_alloc_get_map_lock(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, EntryPa]:
    """pte_alloc_get_map() with the PTE lock taken if it is OK."""
    while True:
        result, table = pte_alloc_get(mm, pmd, addr)
        if result != PteAlloc.OK:
            return result, EntryPa(0)
        if _lock_same(mm, pmd, table):
            return result, table_entry(table, addr)


def pte_put(mm: MmStruct, table: int, addr: int) -> None:
    """Drop one reference, a visitor's: else as pte_put_many()."""
    _put_many(mm, None, table, addr, 1, _VISITOR)


def pte_put_many(mm: MmStruct, table: int, addr: int, nr: int) -> None:
    """Drop nr references of the table, those of entries; the last one frees it and flushes at once.

    No PTE lock and no PMD lock is held. Dropping more than there are is the bug PTE_REF_UNDERFLOW
    (D7). Release, and acquire by the last: who frees sees every entry that others cleared.
    """
    _put_many(mm, None, table, addr, nr, _ENTRIES)


def pte_put_tlb(tlb: Gather, table: int, addr: int) -> None:
    """pte_put() whose flush, and whose frame, are left to the gather."""
    _put_many(tlb.mm, tlb, table, addr, 1, _VISITOR)


def pte_put_many_tlb(tlb: Gather, table: int, addr: int, nr: int) -> None:
    """pte_put_many() whose flush, and whose frame, are left to the gather."""
    _put_many(tlb.mm, tlb, table, addr, nr, _ENTRIES)


def pte_put_vmf(vmf: VmFault) -> None:
    """Drop the fault's reference, if it holds one; before mmap_lock is dropped."""
    table, vmf.c.table = vmf.table, 0
    if table:
        pte_put(vmf.mm, table, vmf.c.address)


def _put_many(
    mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: int
) -> None:
    """Drop nr references: without a lock unless they are the last (as refcount_dec_and_lock())."""
    if not nr or not pte_ref_is_enabled(mm):
        return
    mm.kernel.point("pte_put")
    page = mm.memory.page(table)
    if page.pte_refcount > nr:
        _table_put(mm, table, nr, holder)
    elif page.pte_refcount and mm.kernel.c.policy == lib.FREE_TABLES_REFCOUNT_PMDLOCK:
        _put_last_locked(mm, tlb, table, addr, nr, holder)
    else:
        _put_last_rcu(mm, tlb, table, addr, nr, holder)


def _put_last_locked(
    mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: int
) -> None:
    """First design: the count reaches 0 under the PMD lock, and the PMD is cleared in the same
    hold: nobody ever finds a count of 0 (D2).
    """
    pmd = _lock_pmd_of(mm, table)
    if _table_put(mm, table, nr, holder):
        _free_and_unlock(mm, tlb, pmd, addr)
    else:
        pmd_unlock(mm, pmd)


def _put_last_rcu(
    mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: int
) -> None:
    """Second design: once the count is 0, anybody may free the table; RCU keeps its frame until
    the back pointer was read.
    """
    rcu_read_lock(mm.kernel)
    if _table_put(mm, table, nr, holder):
        pmd = EntryPa(mm.memory.page(table).pmd)
        mm.kernel.point("free_pte_table")
        pmd_lock(mm, pmd)
        _free_and_unlock(mm, tlb, pmd, addr)
    rcu_read_unlock(mm.kernel)


def _lock_pmd_of(mm: MmStruct, table: int) -> EntryPa:
    """Take the PMD lock of the slot in which the table, which is held, stands: a mover may change
    the back pointer until then. The PMD table that it leaves could go, with the lock that is waited
    for, if RCU did not keep it.
    """
    counted = table_is_counted(mm, 2)
    if counted:
        rcu_read_lock(mm.kernel)
    page = mm.memory.page(table)
    while True:
        pmd = EntryPa(page.pmd)
        pmd_lock(mm, pmd)
        if page.pmd == pmd:
            break
        pmd_unlock(mm, pmd)
    if counted:
        rcu_read_unlock(mm.kernel)
    return pmd


def _table_put(mm: MmStruct, table: int, nr: int, holder: int) -> bool:
    """Drop nr references; whether none is left."""
    page = mm.memory.page(table)
    old = page.pte_refcount
    if old < nr:
        mm.kernel.bug(Bug.PTE_REF_UNDERFLOW, table)
        return False
    page.pte_refcount = old - nr
    emit(mm.kernel, _PTE_PUT, table, old, old - nr, holder)
    return bool(old == nr)


def free_pte_table(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """Free the table under pmd if its count is 0: exactly once, whoever asks and however often. No
    lock is held.

    One table's flush is one INVLPG, which drops the paging-structure caches with it, and it comes
    before the PMD lock is dropped, so that no new table can be installed beside old translations
    (D3, D4); what gathers of other CPUs still owe for these addresses is flushed with it.
    """
    pmd_lock(mm, pmd)
    _free_and_unlock(mm, None, pmd, addr)


def free_pte_table_tlb(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """free_pte_table() whose flush and whose frame are the gather's."""
    pmd_lock(tlb.mm, pmd)
    _free_and_unlock(tlb.mm, tlb, pmd, addr)


def _free_and_unlock(mm: MmStruct, tlb: Gather | None, pmd: EntryPa, addr: int) -> None:
    start = addr & PMD_MASK
    with Span(mm.kernel, _FREEING, start, start + PMD_SIZE, mm.c.pgd):
        _detach_and_unlock(mm, tlb, pmd, addr)


def _detach_and_unlock(mm: MmStruct, tlb: Gather | None, pmd: EntryPa, addr: int) -> None:
    table = _detach_pte_table(mm, pmd, addr)
    if table is not None:
        mm.kernel.point("pmd_cleared")
        if tlb is not None:
            tlb_gather_owed(tlb, addr, 1)
            pte_free_tlb(tlb, table, addr)
        else:
            flush_pte_table(mm, addr)
    pmd_unlock(mm, pmd)
    if table is not None:
        mm_dec_nr_ptes(mm)
        if tlb is None:
            tlb_remove_tables(mm.kernel, [table])
            pmd_entry_cleared(mm, pmd, addr)
        else:
            pmd_entry_cleared_tlb(tlb, pmd, addr)


def _detach_pte_table(mm: MmStruct, pmd: EntryPa, addr: int) -> int | None:
    """Take the dead table out of pmd; its frame, or None if another did, or it lives. The PMD lock
    is held.
    """
    pmdval = mm.memory.read_u64(pmd)
    if pmd_none(pmdval) or pmd_huge(pmdval) or mm.memory.page(entry_pfn(pmdval)).pte_refcount:
        return None
    xchg_pmd(mm, addr, pmd, 0, _FREEING)
    if not table_is_empty(mm.memory, pmdval & ADDR_MASK):
        mm.kernel.bug(Bug.PTE_TABLE_NOT_EMPTY, addr)
        xchg_pmd(mm, addr, pmd, pmdval, _FREEING)
        return None
    emit(mm.kernel, _PTE_FREE, addr & PMD_MASK, entry_pfn(pmdval), mm.c.pgd, pmd, _FREEING)
    return entry_pfn(pmdval)
