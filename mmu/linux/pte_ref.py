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
from mmu.events import EVENT_ID
from mmu.linux.free_tables import Holder
from mmu.linux.free_tables import TryGet as TryGet
from mmu.linux.locks import pmd_lock, pte_lock, pte_unlock
from mmu.linux.mmu_gather import Gather
from mmu.linux.pgalloc import table_alloc
from mmu.linux.pgtable import entry_pfn, table_entry
from mmu.linux.policies import policy_of
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.rcu import rcu_read_lock, rcu_read_unlock
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import emit
from mmu.twin import EntryPa

_PTE_ALLOC_ONE: Final = EVENT_ID["pte_alloc_one"]
_PTE_TRYGET: Final = EVENT_ID["pte_tryget"]


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
    policy_of(mm.kernel).pte_ref_init(mm, table, pmd, count)


def pte_get(mm: MmStruct, table: int) -> None:
    """Take one more reference, a visitor's: else as pte_get_many()."""
    policy_of(mm.kernel).table_get(mm, table, 1, Holder.VISITOR)


def pte_get_many(mm: MmStruct, table: int, nr: int) -> None:
    """Take nr more references, those of entries; 0 does nothing.

    The caller holds a reference already, or the PTE lock and a non-none entry; no PMD lock is
    needed. Taking from 0 is the bug PTE_REF_FROM_ZERO. Relaxed: who may increment sees the table
    anyway.
    """
    if nr:
        policy_of(mm.kernel).table_get(mm, table, nr, Holder.ENTRIES)


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
    table = entry_pfn(mm.memory.read_u64(pmd))
    return policy_of(mm.kernel).table_get_unless_zero(mm, table)


def pte_try_get(mm: MmStruct, pmd: EntryPa) -> tuple[TryGet, int]:
    """Take a reference on the table that pmd refers to now, and return it. Nothing is held on
    failure, neither a lock nor an RCU read section (D6).

    First design: under the PMD lock. Second: in an RCU read section, on a copy of the PMD's value;
    after success the PMD is read again, and if another table, or none, stands there now (ABA), the
    reference is dropped from the table that was held, not from the one that the PMD names now
    (D11).
    """
    policy = policy_of(mm.kernel)
    result, pmdval = policy.pte_try_get(mm, pmd)
    table = 0 if result == TryGet.FAILED_NONE else entry_pfn(pmdval)
    if policy.counts and mm.kernel.ring is not None:
        has_count = result in (TryGet.SUCCEEDED, TryGet.FAILED_ZERO)
        count = policy.references(table) + policy.kept(table) if has_count else 0
        emit(mm.kernel, _PTE_TRYGET, table, result, count)
    return result, table


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
    table = _try_get_lock(mm, pmd)
    return table_entry(table, addr) if table else None


def pte_relock(mm: MmStruct, pmd: EntryPa, table: int) -> int:
    """Take the PTE lock of the visited table again, after it was dropped midway; the table to go on
    with.

    A table that is counted is still there. Under the other policies it may have gone, and another
    may stand there: 0 if none does.
    """
    if pte_ref_is_enabled(mm):
        pte_lock(mm, table)
        return table
    return _try_get_lock(mm, pmd)


def _try_get_lock(mm: MmStruct, pmd: EntryPa) -> int:
    """Find the table and take its PTE lock; 0: nothing is held.

    One that is not counted may go meanwhile: it is looked up and locked in one RCU read section,
    and looked for again if it is not the same any more.
    """
    counted = pte_ref_is_enabled(mm)
    while True:
        if not counted:
            rcu_read_lock(mm.kernel)
        result, table = pte_try_get(mm, pmd)
        found = result == TryGet.SUCCEEDED
        same = found and _lock_same(mm, pmd, table)
        if not counted:
            rcu_read_unlock(mm.kernel)
        if not found:
            return 0
        if same:
            return table


def _lock_same(mm: MmStruct, pmd: EntryPa, table: int) -> bool:
    """Take the PTE lock of the table.

    One that is not counted may have gone before the lock was had: if pmd names another one by then,
    the lock is dropped, and False returned (pte_offset_map_lock(), v6.18).
    """
    pte_lock(mm, table)
    if pte_ref_is_enabled(mm) or entry_pfn(mm.memory.read_u64(pmd)) == table:
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
    return policy_of(mm.kernel).pmd_install(mm, pmd, addr, table)


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
            policy_of(mm.kernel).found_zero(mm, pmd, addr)
            continue
        made = table_alloc(mm)
        if made is None:
            return PteAlloc.OOM, 0
        emit(mm.kernel, _PTE_ALLOC_ONE, made, mm.c.pgd)
        if held := policy_of(mm.kernel).install_new(mm, pmd, addr, made):
            return PteAlloc.OK, held


def pte_alloc_get_map(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, EntryPa]:
    """pte_alloc_get(), and the address of addr's PTE (0 unless OK)."""
    result, table = pte_alloc_get(mm, pmd, addr)
    return result, table_entry(table, addr) if result == PteAlloc.OK else EntryPa(0)


def pte_alloc_get_map_lock(mm: MmStruct, pmd: EntryPa, addr: int) -> tuple[PteAlloc, EntryPa]:
    """pte_alloc_get_map() with the PTE lock taken if it is OK."""
    counted = pte_ref_is_enabled(mm)
    while counted or not (table := _try_get_lock(mm, pmd)):
        result, table = pte_alloc_get(mm, pmd, addr)
        if result != PteAlloc.OK:
            return result, EntryPa(0)
        if counted:
            pte_lock(mm, table)
            break
    return PteAlloc.OK, table_entry(table, addr)


def pte_put(mm: MmStruct, table: int, addr: int) -> None:
    """Drop one reference, a visitor's: else as pte_put_many()."""
    policy_of(mm.kernel).put_many(mm, None, table, addr, 1, Holder.VISITOR)


def pte_put_many(mm: MmStruct, table: int, addr: int, nr: int) -> None:
    """Drop nr references of the table, those of entries; the last one frees it and flushes at once.

    No PTE lock and no PMD lock is held. Dropping more than there are is the bug PTE_REF_UNDERFLOW
    (D7). Release, and acquire by the last: who frees sees every entry that others cleared.
    """
    if nr:
        policy_of(mm.kernel).put_many(mm, None, table, addr, nr, Holder.ENTRIES)


def pte_put_tlb(tlb: Gather, table: int, addr: int) -> None:
    """pte_put() whose flush, and whose frame, are left to the gather."""
    policy_of(tlb.mm.kernel).put_many(tlb.mm, tlb, table, addr, 1, Holder.VISITOR)


def pte_put_many_tlb(tlb: Gather, table: int, addr: int, nr: int) -> None:
    """pte_put_many() whose flush, and whose frame, are left to the gather."""
    if nr:
        policy_of(tlb.mm.kernel).put_many(tlb.mm, tlb, table, addr, nr, Holder.ENTRIES)


def pte_put_vmf(vmf: VmFault) -> None:
    """Drop the fault's reference, if it holds one; before mmap_lock is dropped."""
    table, vmf.c.table = vmf.table, 0
    if table:
        pte_put(vmf.mm, table, vmf.c.address)


def free_pte_table(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """Free the table under pmd if its count is 0: exactly once, whoever asks and however often. No
    lock is held.

    One table's flush is one INVLPG, which drops the paging-structure caches with it, and it comes
    before the PMD lock is dropped, so that no new table can be installed beside old translations
    (D3, D4); what gathers of other CPUs still owe for these addresses is flushed with it.
    """
    pmd_lock(mm, pmd)
    policy_of(mm.kernel).free_and_unlock(mm, None, pmd, addr)


def free_pte_table_tlb(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """free_pte_table() whose flush and whose frame are the gather's."""
    pmd_lock(tlb.mm, pmd)
    policy_of(tlb.mm.kernel).free_and_unlock(tlb.mm, tlb, pmd, addr)
