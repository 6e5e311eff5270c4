# SPDX-License-Identifier: GPL-2.0-or-later
"""WRONG: references counted per CPU, added up under the PMD lock while others go on counting.

It looks right: the counters are added up twice, the second time under the PMD lock, and only then
is the table dead. But whoever looks a table up does not take that lock. `ucmmu race` finds the
schedule (docs/policies.md); percpu_ref.py is right.
"""

from __future__ import annotations

from mmu.linux.free_tables import FreeTablesPolicy, Holder
from mmu.linux.locks import pmd_lock, pmd_unlock
from mmu.linux.mmu_gather import Gather
from mmu.linux.pgtable import entry_pfn
from mmu.linux.rcu import rcu_read_lock, rcu_read_unlock
from mmu.linux.shared import PerCpu
from mmu.linux.state import Kernel, MmStruct
from mmu.twin import EntryPa


class PerCpuSum(FreeTablesPolicy):
    """Per-CPU counters; ``pte_refcount`` is 1 while the table lives, then 0."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.counters: dict[int, PerCpu] = {}

    def pte_ref_init(self, mm: MmStruct, table: int, pmd: EntryPa, count: int) -> None:
        """The first references are this CPU's."""
        super().pte_ref_init(mm, table, pmd, 1)
        self.counters[table] = PerCpu(self.kernel, f"count of table {table:#x}")
        self.counters[table].values[self.kernel.this_cpu.id] = count

    def table_get(self, mm: MmStruct, table: int, nr: int, holder: Holder) -> None:
        """Count."""
        self.counters[table].add(nr)
        new = self.references(table)
        self.tell_get(table, new - nr, new, holder)

    def table_get_unless_zero(self, mm: MmStruct, table: int) -> bool:
        """Count, if the table lives."""
        if not self.memory.page(table).pte_refcount:
            return False
        self.table_get(mm, table, 1, Holder.VISITOR)
        return True

    def put_many(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Count, and free the table if nothing is left."""
        page, count = self.memory.page(table), self.counters[table]
        rcu_read_lock(self.kernel)
        count.add(-nr)
        new = self.references(table)
        self.tell_put(table, new + nr, new, holder)
        if count.sum() == 0:
            pmd = EntryPa(page.pmd)
            pmd_lock(mm, pmd)
            if entry_pfn(self.memory.read_u64(pmd)) == table and count.sum() == 0:
                page.pte_refcount = 0
                self.free_and_unlock(mm, tlb, pmd, addr)
            else:
                pmd_unlock(mm, pmd)
        rcu_read_unlock(self.kernel)

    def frame_freed(self, table: int) -> None:
        """The counters go with the frame."""
        self.counters.pop(table, None)

    def references(self, table: int) -> int:
        """All counters."""
        return sum(self.counters[table].values)
