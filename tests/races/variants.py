# SPDX-License-Identifier: GPL-2.0-or-later
"""The published series' defects, as functions that take the place of ours in the Python engine.

Each is what the series, or a step of it, did; the docstring says which defect of docs/pte_ref.md it
is. ucmmu.testing.variants puts them in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmu._native import lib
from mmu.linux import anon, mmu_gather, pgalloc, pt_reclaim, pte_ref, rcu, tlbflush
from mmu.linux.locks import pmd_lock, pmd_unlock
from mmu.linux.pgtable import entry_pfn, mm_find_pmd, pmd_none, xchg_pmd
from mmu.linux.policies import policy_of
from mmu.linux.pte_ref import PteAlloc, TryGet


def find(mm: Any, pmd: int, addr: int, *, install: Callable[..., int], spin: bool = False) -> Any:
    """pte_alloc_get()'s loop, with another way to install, and to spin on a count of 0."""
    while True:
        result, table = pte_ref.pte_try_get(mm, pmd)
        if result == TryGet.SUCCEEDED:
            return PteAlloc.OK, table
        if result == TryGet.FAILED_ZERO and spin:
            mm.kernel.point("cpu_relax")
        elif result == TryGet.FAILED_ZERO:
            policy_of(mm.kernel).found_zero(mm, pmd, addr)
        elif held := install(mm, pmd, addr, pgalloc.table_alloc(mm)):
            return PteAlloc.OK, held


def d1_published_before_its_count(mm: Any, pmd: int, addr: int) -> Any:
    """D1: pmd_install() first, pte_ref_init() after."""

    def install(mm: Any, pmd: int, addr: int, table: int) -> int:
        held = pte_ref.pmd_install(mm, pmd, addr, table)
        mm.kernel.point("published")
        pte_ref.pte_ref_init(mm, table, pmd, 1)
        return held

    return find(mm, pmd, addr, install=install)


def d2_spins_on_zero(mm: Any, pmd: int, addr: int) -> Any:
    """D2: who finds a count of 0 tries again until the freer has cleared the PMD."""

    def install(mm: Any, pmd: int, addr: int, table: int) -> int:
        pte_ref.pte_ref_init(mm, table, pmd, 1)
        return pte_ref.pmd_install(mm, pmd, addr, table)

    return find(mm, pmd, addr, install=install, spin=True)


def d2_zero_before_the_lock(
    self: Any, mm: Any, tlb: Any, table: int, addr: int, nr: int, holder: int
) -> None:
    """D2, first design: the count reaches 0 before the PMD lock is taken."""
    if self.table_put(mm, table, nr, holder):
        pmd = mm.memory.page(table).pmd
        mm.kernel.point("free_pte_table")
        pmd_lock(mm, pmd)
        self.free_and_unlock(mm, tlb, pmd, addr)


_flush_tlb_mm_range = tlbflush.flush_tlb_mm_range


def d3_without_freed_tables(mm: Any, start: int, end: int, stride: int, freed_tables: int) -> None:
    """D3: the flush does not say that tables were freed."""
    _flush_tlb_mm_range(mm, start, end, stride, 0)


def d4_flushed_after_the_lock(self: Any, mm: Any, tlb: Any, pmd: int, addr: int) -> None:
    """D4: the PMD lock is dropped between the clearing of the PMD and the flush."""
    table = self.detach(mm, pmd, addr)
    pmd_unlock(mm, pmd)
    if table is None:
        return
    mm.kernel.point("pmd_cleared")
    self.flush_detached(mm, tlb, table, addr)
    mmu_gather.mm_dec_nr_ptes(mm)
    if tlb is None:
        self.tlb_remove_tables([table])


def d4_owed_flush_forgotten(self: Any, mm: Any, pmd: int, addr: int) -> None:
    """D4, gathered: a table comes into a slot whose flush is still owed."""


LOCK_FREED = 0x6B6B6B6B
"""What the memory of a freed lock holds."""


def d5_lock_freed_at_once(self: Any, tables: Any) -> None:
    """D5: the table's lock does not live as long as its frame."""
    for table in tables:
        self.memory.page(table).ptl = LOCK_FREED
        rcu.call_rcu(self.kernel, table)


def d6_section_left_open(self: Any, mm: Any, pmd: int) -> Any:
    """D6: the way out for an empty slot forgets the end of the RCU read section."""
    rcu.rcu_read_lock(mm.kernel)
    pmdval = mm.memory.read_u64(pmd)
    mm.kernel.point("pte_try_get")
    if pmd_none(mm.memory.read_u64(pmd)):
        return TryGet.FAILED_NONE, 0
    result = self.get_named(mm, pmdval)
    rcu.rcu_read_unlock(mm.kernel)
    return result, pmdval


def d6_lock_kept(self: Any, mm: Any, pmd: int) -> Any:
    """D6, first design: the way out for an empty slot forgets the PMD lock."""
    mm.kernel.point("pte_try_get")
    pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    if pmd_none(pmdval):
        return TryGet.FAILED_NONE, 0
    result = self.get_named(mm, pmdval)
    pmd_unlock(mm, pmd)
    return result, pmdval


def d7_put_after_a_failed_get(mm: Any, pmd: int, addr: int) -> None:
    """D7: a walker whose way out puts what it did not get."""
    result, table = pte_ref.pte_try_get(mm, pmd)
    if result != TryGet.SUCCEEDED:
        mm.kernel.point("nothing there")
    pte_ref.pte_put(mm, table, addr)


def walker(mm: Any, pmd: int, addr: int) -> None:
    """A walker that puts what it got."""
    result, table = pte_ref.pte_try_get(mm, pmd)
    if result == TryGet.SUCCEEDED:
        pte_ref.pte_put(mm, table, addr)


_do_wp_page = anon._do_wp_page


def d8_counted_again(mm: Any, vma: Any, pte: int, addr: int) -> int:
    """D8: the write to the zero page sets an entry that was set already, and counts it."""
    result = _do_wp_page(mm, vma, pte, addr)
    pte_ref.pte_entries_set(mm, pte >> 12, 1)
    return result


_handle_pte_fault = anon._handle_pte_fault


def d9_sigbus(mm: Any, vma: Any, addr: int, write: bool) -> int:
    """D9: a fault that cannot have the table that it saw ends in SIGBUS."""
    pmd = mm_find_pmd(mm, addr)
    if pmd is not None and not pmd_none(mm.memory.read_u64(pmd)):
        result, table = pte_ref.pte_try_get(mm, pmd)
        if result != TryGet.SUCCEEDED:
            return int(lib.VM_FAULT_SIGBUS)
        pte_ref.pte_put(mm, table, addr)
    return _handle_pte_fault(mm, vma, addr, write)


def d10_put_lost(mm: Any, table: int, addr: int) -> None:
    """D10: the way out of a fault loses its put."""


_pte_put = pte_ref.pte_put


def d11_rereads_the_pmd(mm: Any, table: int, addr: int) -> None:
    """D11: the put is of the table that the PMD names now."""
    pmd = mm_find_pmd(mm, addr)
    assert pmd is not None
    _pte_put(mm, entry_pfn(mm.memory.read_u64(pmd)), addr)


def d12_visitor_gone(mm: Any, table: int, addr: int) -> None:
    """D12: the visitor's reference is dropped before the entry is counted."""
    _pte_put(mm, table, addr)
    pte_ref.pte_entries_set(mm, table, 1)


def nothing(*_: object) -> None:
    """In the place of a step that is left out."""


def scan_without_a_second_look(self: Any, tlb: Any, pmd: Any, addr: int) -> None:
    """Merged scan: a table is freed though the PTE lock was dropped since its entries were
    cleared.
    """
    mm = tlb.mm
    pmd_lock(mm, pmd)
    pmdval = xchg_pmd(mm, addr, pmd, 0)
    pmd_unlock(mm, pmd)
    pt_reclaim.free_pte(tlb, pmd, pmdval, addr)


def scan_waits_inside_the_pte_lock(self: Any, mm: Any, pmd: int, addr: int) -> int:
    """Merged scan: the PMD lock is waited for, not tried, with the PTE lock held."""
    pmd_lock(mm, pmd)
    pmdval = xchg_pmd(mm, addr, pmd, 0)
    pmd_unlock(mm, pmd)
    return pmdval


def aba_not_looked_at_again(self: Any, mm: Any, pmd: int) -> Any:
    """ABA: the PMD is not read again after the increment."""
    rcu.rcu_read_lock(mm.kernel)
    pmdval = mm.memory.read_u64(pmd)
    mm.kernel.point("pte_try_get")
    result = self.get_named(mm, pmdval)
    rcu.rcu_read_unlock(mm.kernel)
    return result, pmdval


def split_get(self: Any, mm: Any, table: int, nr: int, _holder: int) -> None:
    """A count that is no atomic: read, add, write."""
    page = mm.memory.page(table)
    old = page.pte_refcount
    mm.kernel.point("count read")
    page.pte_refcount = old + nr


def split_put(self: Any, mm: Any, table: int, nr: int, _holder: int) -> bool:
    """A count that is no atomic: read, subtract, write."""
    page = mm.memory.page(table)
    old = page.pte_refcount
    mm.kernel.point("count read")
    page.pte_refcount = old - nr
    return bool(old == nr)
