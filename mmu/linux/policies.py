# SPDX-License-Identifier: GPL-2.0-or-later
"""The four policies that both engines have (mmu.linux.policy), as the Python engine does them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmu._native import lib
from mmu.linux.free_tables import FreeTablesPolicy, Holder, TryGet
from mmu.linux.locks import pmd_lock, pmd_unlock
from mmu.linux.mmu_gather import Gather, tlb_remove_table_sync_one
from mmu.linux.pgtable import PMD_SIZE, pmd_address
from mmu.linux.policy import FreeTables, made_by
from mmu.linux.pt_reclaim import table_is_counted
from mmu.linux.rcu import free_table_frame, rcu_read_lock, rcu_read_unlock
from mmu.linux.state import Kernel, MmStruct
from mmu.linux.tlb_check import check_speculation_everywhere
from mmu.twin import EntryPa


@made_by(FreeTables.REFCOUNT)
class Refcount(FreeTablesPolicy):
    """The second design, with RCU."""

    label = FreeTables.REFCOUNT.label
    number = FreeTables.REFCOUNT.number


@made_by(FreeTables.REFCOUNT_PMDLOCK)
class RefcountPmdlock(FreeTablesPolicy):
    """The first design: the count reaches 0 under the PMD lock, and the PMD is cleared in the same
    hold: nobody ever finds a count of 0 (D2).
    """

    label = FreeTables.REFCOUNT_PMDLOCK.label
    number = FreeTables.REFCOUNT_PMDLOCK.number

    def pte_try_get(self, mm: MmStruct, pmd: EntryPa) -> tuple[TryGet, int]:
        """Look up under the PMD lock."""
        self.kernel.point("pte_try_get")
        pmd_lock(mm, pmd)
        pmdval = self.memory.read_u64(pmd)
        result = self.get_named(mm, pmdval)
        pmd_unlock(mm, pmd)
        return result, pmdval

    def put_last(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Drop the last under the PMD lock."""
        if not self.memory.page(table).pte_refcount:
            super().put_last(mm, tlb, table, addr, nr, holder)
            return
        pmd = self.lock_pmd_of(mm, table)
        if self.table_put(mm, table, nr, holder):
            rcu_read_lock(self.kernel)  # keeps the tables above that are looked at
            addr = pmd_address(mm, pmd, addr)
            rcu_read_unlock(self.kernel)
            self.free_and_unlock(mm, tlb, pmd, addr)
        else:
            pmd_unlock(mm, pmd)

    def lock_pmd_of(self, mm: MmStruct, table: int) -> EntryPa:
        """Take the PMD lock of the slot in which the table, which is held, stands: a mover may
        change the back pointer until then. The PMD table that it leaves could go, with the lock
        that is waited for, if RCU did not keep it.
        """
        counted = table_is_counted(mm, 2)
        if counted:
            rcu_read_lock(self.kernel)
        page = self.memory.page(table)
        while True:
            pmd = EntryPa(page.pmd)
            pmd_lock(mm, pmd)
            if page.pmd == pmd:
                break
            pmd_unlock(mm, pmd)
        if counted:
            rcu_read_unlock(self.kernel)
        return pmd

    def tlb_remove_tables(self, tables: Sequence[int]) -> None:
        """Free them at once.

        It may wait: where a flush is a broadcast, no IPI has held off the lockless walkers, who
        have interrupts off.
        """
        kernel = self.kernel
        if tables and kernel.c.invlpgb:
            tlb_remove_table_sync_one(kernel)
        for table in tables:
            free_table_frame(kernel, table)
        if tables:
            check_speculation_everywhere(kernel)


@made_by(FreeTables.NEVER)
class Never(FreeTablesPolicy):
    """Nobody counts, and no zap looks."""

    label = FreeTables.NEVER.label
    number = FreeTables.NEVER.number
    counts = False

    def table_get(self, mm: MmStruct, table: int, nr: int, holder: Holder) -> None:
        """Nothing is counted."""

    def table_get_unless_zero(self, mm: MmStruct, table: int) -> bool:
        """Every table that is found may be visited."""
        return True

    def put_many(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Nothing is counted."""

    def is_dead(self, mm: MmStruct, table: int) -> bool:
        """Every table that is found may be visited."""
        return False

    def flush_before_install(self, mm: MmStruct, pmd: EntryPa, addr: int) -> None:
        """The gather's own flush is all there is."""


@made_by(FreeTables.SCAN)
class Scan(Never):
    """A zap looks (CONFIG_PT_RECLAIM)."""

    label = FreeTables.SCAN.label
    number = FreeTables.SCAN.number

    def reclaim_pt_is_enabled(self, mm: MmStruct, start: int, end: int, details: int) -> bool:
        """MADV_DONTNEED, and all 2 MiB in one go (mm/memory.c, v6.14)."""
        return bool(details & lib.ZAP_RECLAIM_PT) and end - start >= PMD_SIZE


def policy_of(kernel: Kernel) -> FreeTablesPolicy:
    """The kernel's policy."""
    policy: Any = kernel.free_tables
    return policy  # type: ignore[no-any-return]
