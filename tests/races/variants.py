# SPDX-License-Identifier: GPL-2.0-or-later
"""The published series' defects, each a small change of ours: what it did, in the place of what we
do. docs/races.md has each as a lesson; the explorer finds each by itself.

A method takes the place of the policy's (mmu.linux.free_tables), a function marked by replaces()
that of the module's. ``ucmmu race --variant tests/races/variants.py:D1 fault-fault`` runs one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmu._native import lib
from mmu.linux import anon, engine, mmu_gather, pagewalk, pte_ref, rcu, tlbflush
from mmu.linux.locks import pmd_lock, pmd_unlock, pte_lock, pte_unlock
from mmu.linux.mmu_gather import mm_dec_nr_ptes
from mmu.linux.pgtable import (
    addr_end,
    entry_pfn,
    mm_find_pmd,
    pmd_none,
    pte_table,
    table_entry,
    xchg_pmd,
)
from mmu.linux.policy import FreeTables
from mmu.linux.pt_reclaim import free_pte
from mmu.linux.pte_ref import PteAlloc, TryGet
from mmu.units import PAGE_SHIFT
from ucmmu.race.variant import Variant, replaces

RCU, PMDLOCK, SCAN = FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK, FreeTables.SCAN
BOTH = (RCU, PMDLOCK)


class D1(Variant):
    """The table is published before its count is set: whoever comes between the two finds 0."""

    policies = BOTH
    scenarios = ("fault-fault",)
    seen = "the count is not what is there"

    def install_new(self, mm: Any, pmd: Any, addr: int, table: int) -> int:
        """pmd_install() first, pte_ref_init() after."""
        held = self.pmd_install(mm, pmd, addr, table)
        if held == table:
            self.kernel.point("published")
            self.pte_ref_init(mm, table, pmd, 1)
        return held


class D2(Variant):
    """Who finds a count of 0 tries again until the freer has cleared the PMD: a freer who is
    preempted then keeps everybody waiting.
    """

    policies = (RCU,)
    scenarios = ("fault-zap",)
    seen = "a CPU waits without bound for another one to go on"

    def found_zero(self, mm: Any, pmd: Any, addr: int) -> None:
        """cpu_relax()."""
        self.kernel.point("cpu_relax")


class D2Locked(D2):
    """The same in the first design, where the count reached 0 before the PMD lock was taken."""

    policies = (PMDLOCK,)

    def put_last(self, mm: Any, tlb: Any, table: int, addr: int, nr: int, holder: Any) -> None:
        """The count first, the lock after."""
        if self.table_put(mm, table, nr, holder):
            pmd = mm.memory.page(table).pmd
            self.kernel.point("free_pte_table")
            pmd_lock(mm, pmd)
            self.free_and_unlock(mm, tlb, pmd, addr)


class D3(Variant):
    """The flush does not say that tables were freed, so lazy CPUs keep ways to them."""

    policies = BOTH
    scenarios = ("lazy-zap", "lazy-guard")
    seen = r"a translation is used after its flush is over.*\n.*whose frame was freed"

    @replaces(mmu_gather)
    def flush_tlb_mm_range(mm: Any, start: int, end: int, stride_shift: int, freed: int) -> None:
        """Without freed_tables."""
        _flush_tlb_mm_range(mm, start, end, stride_shift, 0)


_flush_tlb_mm_range = tlbflush.flush_tlb_mm_range


class D4(Variant):
    """The PMD lock is dropped between the clearing of the PMD and the flush: a new table comes
    beside old translations.
    """

    policies = BOTH
    scenarios = ("zap-visit-fault",)
    seen = "a table comes where a CPU has cached ways through the one before"

    def free_and_unlock(self, mm: Any, tlb: Any, pmd: Any, addr: int) -> None:
        """Unlock, then flush."""
        table = self.detach(mm, pmd, addr)
        pmd_unlock(mm, pmd)
        if table is None:
            return
        self.kernel.point("pmd_cleared")
        self.flush_detached(mm, tlb, table, addr)
        mm_dec_nr_ptes(mm)
        if tlb is None:
            self.tlb_remove_tables([table])


class D4Gathered(Variant):
    """A table comes into a slot whose flush a gather still owes."""

    policies = BOTH
    scenarios = ("fault-zap",)
    seen = "a table comes where a CPU has cached ways through the one before"

    def flush_before_install(self, mm: Any, pmd: Any, addr: int) -> None:
        """Nothing is flushed."""


LOCK_FREED = 0x6B6B6B6B
"""What the memory of a freed lock holds."""


class D5(Variant):
    """The lock of the table does not live as long as its frame."""

    policies = (RCU,)
    scenarios = ("zap-rcu-reader",)
    seen = "nobody can go on: CPU 1 waits for spin_lock"

    def tlb_remove_tables(self, tables: Sequence[int]) -> None:
        """The lock goes at once, the frame after a grace period."""
        for table in tables:
            self.memory.page(table).ptl = LOCK_FREED
            rcu.call_rcu(self.kernel, table)


class D6(Variant):
    """The way out for an empty slot forgets the end of the RCU read section."""

    policies = (RCU,)
    scenarios = ("fault-zap",)
    seen = "LOCK_KEPT|RCU"

    def pte_try_get(self, mm: Any, pmd: Any) -> Any:
        """An early return."""
        if pmd_none(self.memory.read_u64(pmd)):
            return TryGet.FAILED_NONE, 0
        rcu.rcu_read_lock(self.kernel)
        self.kernel.point("pte_try_get")
        pmdval = self.memory.read_u64(pmd)
        if pmd_none(pmdval):
            return TryGet.FAILED_NONE, 0
        result = self.get_named(mm, pmdval)
        rcu.rcu_read_unlock(self.kernel)
        return result, pmdval


class D6Locked(Variant):
    """The same in the first design: it forgets the PMD lock."""

    policies = (PMDLOCK,)
    scenarios = ("fault-zap",)
    seen = "LOCK_HELD|nobody can go on: CPU . waits for spin_lock"

    def pte_try_get(self, mm: Any, pmd: Any) -> Any:
        """An early return."""
        if pmd_none(self.memory.read_u64(pmd)):
            return TryGet.FAILED_NONE, 0
        self.kernel.point("pte_try_get")
        pmd_lock(mm, pmd)
        pmdval = self.memory.read_u64(pmd)
        if pmd_none(pmdval):
            return TryGet.FAILED_NONE, 0
        result = self.get_named(mm, pmdval)
        pmd_unlock(mm, pmd)
        return result, pmdval


class D7(Variant):
    """A walker's way out puts what it did not get."""

    policies = BOTH
    scenarios = ("zap-walk",)
    seen = "PTE_REF_UNDERFLOW"

    @replaces(pagewalk)
    def walk_page_range(mm: Any, start: int, end: int) -> Iterator[Any]:
        """One table of it."""
        pmd = mm_find_pmd(mm, start)
        if pmd is None or pmd_none(mm.memory.read_u64(pmd)):
            return
        result, table = pte_ref.pte_try_get(mm, pmd)
        values = None
        if result == TryGet.SUCCEEDED:
            pte_lock(mm, table)
            values = [mm.memory.read_u64(table_entry(table, start))]
            pte_unlock(mm, table)
        pte_ref.pte_put(mm, table, start)
        yield start, addr_end(start, end, 2), values


class D8(Variant):
    """The write to the zero page sets an entry that was set already, and counts it again."""

    policies = BOTH
    scenarios = ("zero-page-writes",)
    seen = "a reference is left at the end of an operation"

    @replaces(anon)
    def _do_wp_page(mm: Any, vma: Any, pte: Any, addr: int) -> int:
        result = _do_wp_page(mm, vma, pte, addr)
        _pte_entries_set(mm, pte >> PAGE_SHIFT, 1)
        return result


_do_wp_page = anon._do_wp_page
_handle_pte_fault = anon._handle_pte_fault


class D9(Variant):
    """A fault that cannot have the table that it saw ends in SIGBUS."""

    policies = BOTH
    scenarios = ("fault-zap",)
    seen = "a signal: SIGBUS"

    @replaces(anon)
    def _handle_pte_fault(mm: Any, vma: Any, addr: int, write: bool) -> int:
        pmd = mm_find_pmd(mm, addr)
        if pmd is not None and not pmd_none(mm.memory.read_u64(pmd)):
            result, table = pte_ref.pte_try_get(mm, pmd)
            if result != TryGet.SUCCEEDED:
                return int(lib.VM_FAULT_SIGBUS)
            pte_ref.pte_put(mm, table, addr)
        return _handle_pte_fault(mm, vma, addr, write)


class D10(Variant):
    """The way out of a fault that finds no memory loses its put."""

    policies = BOTH
    scenarios = ("zap-fault-oom",)
    seen = "has 0 entries and counts 1 references"

    @replaces(anon)
    def _handle_pte_fault(mm: Any, vma: Any, addr: int, write: bool) -> int:
        pmd = engine.pmd_alloc(mm, addr)
        assert pmd is not None
        allocated, pte = pte_ref.pte_alloc_get_map_lock(mm, pmd, addr)
        if allocated != PteAlloc.OK:
            return int(lib.VM_FAULT_OOM)
        result = anon._resolve_locked(mm, vma, pte, addr, write)
        pte_unlock(mm, pte_table(pte))
        if not result & lib.VM_FAULT_OOM:
            pte_ref.pte_put(mm, pte_table(pte), addr)
        return int(result)


class D11(Variant):
    """The put is of the table that the PMD names now."""

    policies = BOTH
    scenarios = ("move-visit",)
    seen = "PTE_TABLE_NOT_EMPTY"

    def put_many(self, mm: Any, tlb: Any, table: int, addr: int, nr: int, holder: Any) -> None:
        """The PMD is read again."""
        pmd = mm_find_pmd(mm, addr)
        named = 0 if pmd is None else entry_pfn(self.memory.read_u64(pmd))
        super().put_many(mm, tlb, named or table, addr, nr, holder)


class D12(Variant):
    """The visitor's reference is dropped before the entry that it set is counted."""

    policies = BOTH
    scenarios = ("fault-zap",)
    seen = "entries are not counted yet, and no visitor's reference keeps the table"

    @replaces(anon)
    def pte_entries_set(mm: Any, table: int, nr: int) -> None:
        """Later."""

    @replaces(anon)
    def pte_put(mm: Any, table: int, addr: int) -> None:
        """The put first."""
        _pte_put(mm, table, addr)
        _pte_entries_set(mm, table, 1)


_pte_put, _pte_entries_set = pte_ref.pte_put, pte_ref.pte_entries_set


class ScanMidway(Variant):
    """Merged scan: a table is freed though the PTE lock was dropped since its entries were
    cleared.
    """

    policies = (SCAN,)
    scenarios = ("zap-midway-fault",)
    seen = "a table is freed that still has entries"

    def try_to_free_pte(self, tlb: Any, pmd: Any, addr: int) -> None:
        """Without a second look."""
        pmd_lock(tlb.mm, pmd)
        pmdval = xchg_pmd(tlb.mm, addr, pmd, 0)
        pmd_unlock(tlb.mm, pmd)
        free_pte(tlb, pmd, pmdval, addr)


class ScanWaits(Variant):
    """Merged scan: the PMD lock is waited for, not tried, with the PTE lock held."""

    policies = (SCAN,)
    scenarios = ("zap-midway-zap",)
    seen = "LOCK_ORDER|no CPU can go on"

    def try_get_and_clear_pmd(self, mm: Any, pmd: Any, addr: int) -> int:
        """It waits."""
        pmd_lock(mm, pmd)
        pmdval = xchg_pmd(mm, addr, pmd, 0)
        pmd_unlock(mm, pmd)
        return pmdval


class ScanNotLookedAtAgain(Variant):
    """Where nothing is counted: the PTE lock is waited for, and the table that it is of may have
    gone meanwhile.
    """

    policies = (SCAN,)
    scenarios = ("fault-zap-2M",)
    seen = "the walk from CR3 finds 1, the counter says 2"

    @replaces(pte_ref)
    def _lock_same(mm: Any, pmd: Any, table: int) -> bool:
        pte_lock(mm, table)
        return True


class ABA(Variant):
    """The PMD is not read again after the increment."""

    policies = BOTH
    scenarios = ("move-lookup",)
    seen = "ABA"

    def pte_try_get(self, mm: Any, pmd: Any) -> Any:
        """One look."""
        rcu.rcu_read_lock(self.kernel)
        pmdval = self.memory.read_u64(pmd)
        self.kernel.point("pte_try_get")
        result = self.get_named(mm, pmdval)
        rcu.rcu_read_unlock(self.kernel)
        return result, pmdval


class NotAtomic(Variant):
    """A count that is no atomic: read, add, write."""

    policies = BOTH
    scenarios = ("fault-fault",)
    seen = "the count is not what is there"

    def table_get(self, mm: Any, table: int, nr: int, holder: Any) -> None:
        """Read, add, write."""
        page = self.memory.page(table)
        old = page.pte_refcount
        self.kernel.point("count_read")
        page.pte_refcount = old + nr
        self.tell_get(table, old, old + nr, holder)

    def table_put(self, mm: Any, table: int, nr: int, holder: Any) -> bool:
        """Read, subtract, write."""
        page = self.memory.page(table)
        old = page.pte_refcount
        self.kernel.point("count_read")
        page.pte_refcount = old - nr
        self.tell_put(table, old, old - nr, holder)
        return bool(old == nr)


class NoInterrupt(Variant):
    """First design, where a flush is a broadcast: nothing holds off the walkers without a lock."""

    policies = (PMDLOCK,)
    scenarios = ("gup-guard-invlpgb", "gup-zap-invlpgb")
    seen = "a free frame is used"

    @replaces(mmu_gather)
    def tlb_remove_table_sync_one(_kernel: Any) -> None:
        """Nobody is asked."""


class NoBarrier(Variant):
    """switch_mm_irqs_off() reads tlb_gen while other CPUs still see is_lazy and loaded_mm as they
    were: what Linux had until v6.18 for a CPU that was in mm_cpumask already.
    """

    scenarios = ("flush-switch-page", "lazy-zap-page")
    models = ("tso",)
    policies = (RCU,)
    seen = "a free frame is used|translation is used after its flush"

    @replaces(tlbflush)
    def smp_mb(_kernel: Any) -> None:
        """The stores may wait in the buffer."""


def _is_variant(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Variant) and value is not Variant


VARIANTS = {name: value for name, value in list(globals().items()) if _is_variant(value)}
