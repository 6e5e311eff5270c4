# SPDX-License-Identifier: GPL-2.0-or-later
"""References counted per CPU, as struct percpu_ref does (lib/percpu-refcount.c; series of 2022).

A table that is alive is counted by each CPU for itself: no cache line is shared. When it looks as
if no reference were left, the count becomes one atomic number for good::

    live     get, put: this CPU's counter       the atomic count is BIAS
      │ a put after which the counters add up to 0: kill(), the PMD lock held
      │    live = 0; wait until every CPU has had its interrupts on;
      │    atomic count += all counters - BIAS
    dying    get, put: the atomic count; at 0 the table is freed, as by refcount

Whoever counts has interrupts off between looking at ``live`` and changing its counter: once every
other CPU took an interrupt, none can still be about to change one.

Whoever drops references adds up afterwards, so who drops the last ones finds 0. Visitors are spared
that on a table that has entries: ``maybe_empty`` is 0 once some were set, and 1 before any is
dropped. Both is done under the PTE lock or after it, so no entry's end comes before its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmu.linux.bug import Bug
from mmu.linux.free_tables import FreeTablesPolicy, Holder
from mmu.linux.locks import pmd_lock, pmd_unlock
from mmu.linux.mmu_gather import Gather
from mmu.linux.pgtable import entry_pfn
from mmu.linux.rcu import rcu_read_lock, rcu_read_unlock
from mmu.linux.shared import Atomic, PerCpu, local_irqs_off, smp_mb
from mmu.linux.smp import smp_call_function
from mmu.linux.state import Kernel, MmStruct
from mmu.twin import EntryPa

BIAS = 1 << 30
"""Keeps the atomic count from 0 as long as the counters count."""


@dataclass
class Ref:
    """What a table has beside its ``struct page``, whose ``pte_refcount`` is the atomic count."""

    count: PerCpu
    live: Atomic
    maybe_empty: Atomic
    moving: int = 0
    """Taken from the counters, and not yet in the atomic count: for references()."""


class PerCpuRef(FreeTablesPolicy):
    """Per-CPU counters while a table is live, one atomic count once it may be empty."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.refs: dict[int, Ref] = {}
        self.killed = 0

    def pte_ref_init(self, mm: MmStruct, table: int, pmd: EntryPa, count: int) -> None:
        """Live from the start; the first references are this CPU's."""
        super().pte_ref_init(mm, table, pmd, BIAS)
        self.refs[table] = Ref(
            PerCpu(self.kernel, f"count of table {table:#x}"),
            Atomic(self.kernel, f"live of table {table:#x}", 1),
            Atomic(self.kernel, f"maybe_empty of table {table:#x}", 1),
        )
        self.refs[table].count.set(count)

    def add(self, table: int, nr: int, holder: Holder) -> bool:
        """Add to this CPU's counter if the table is live, and tell; whether it is."""
        ref = self.refs[table]
        with local_irqs_off(self.kernel):
            if not ref.live.read():
                return False
            ref.count.add(nr)
            if nr > 0:
                self.tell_get(table, 0, nr, holder)
            else:
                self.tell_put(table, -nr, 0, holder)
            return True

    def table_get(self, mm: MmStruct, table: int, nr: int, holder: Holder) -> None:
        """Count."""
        maybe_empty = self.refs[table].maybe_empty
        if holder is Holder.ENTRIES and maybe_empty.read():
            maybe_empty.set(0)
        if not self.add(table, nr, holder):
            super().table_get(mm, table, nr, holder)

    def table_get_unless_zero(self, mm: MmStruct, table: int) -> bool:
        """Count; a live table has not come to 0, whatever its counters say."""
        return self.add(table, 1, Holder.VISITOR) or super().table_get_unless_zero(mm, table)

    def put_many(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Count, and look whether these were the last."""
        ref = self.refs[table]
        rcu_read_lock(self.kernel)  # keeps the frame, once our references are gone
        if holder is Holder.ENTRIES and not ref.maybe_empty.read():
            ref.maybe_empty.set(1)
        if self.add(table, -nr, holder):
            self.let_all_see()
            if ref.maybe_empty.read() and ref.count.sum() == 0:
                self.kill(mm, tlb, table, addr)
            rcu_read_unlock(self.kernel)
        else:
            rcu_read_unlock(self.kernel)
            super().put_many(mm, tlb, table, addr, nr, holder)

    def kill(self, mm: MmStruct, tlb: Gather | None, table: int, addr: int) -> None:
        """Have the table counted by one number, and free it if that is 0. In an RCU read section;
        waits for all other CPUs.
        """
        page, ref = self.memory.page(table), self.refs[table]
        while True:
            pmd = EntryPa(page.pmd)
            pmd_lock(mm, pmd)
            if page.pmd == pmd:
                break
            pmd_unlock(mm, pmd)  # it was moved
        if entry_pfn(self.memory.read_u64(pmd)) != table or not ref.live.read():
            pmd_unlock(mm, pmd)  # another CPU was faster
            return
        self.killed += 1
        ref.live.set(0)
        self.stop_counting()
        for cpu in self.kernel.cpus:
            ref.moving += ref.count.take(cpu.id)
        self.kernel.lock_prefix()
        left, ref.moving = page.pte_refcount + ref.moving - BIAS, 0
        if left < 0:
            self.kernel.bug(Bug.PTE_REF_UNDERFLOW, table)
        page.pte_refcount = max(left, 0)
        if left:
            pmd_unlock(mm, pmd)
        else:
            self.free_and_unlock(mm, tlb, pmd, addr)

    def let_all_see(self) -> None:
        """An addition to a counter is no locked instruction: of two CPUs that drop the last two
        references, each could add up what the other one had before.
        """
        smp_mb(self.kernel)

    def stop_counting(self) -> None:
        """Wait until no CPU can still be between looking at ``live`` and changing its counter."""
        smp_call_function(self.kernel, lambda _: None)

    def frame_freed(self, table: int) -> None:
        """The counters go with the frame. It may be that of a PMD table, which has none."""
        self.refs.pop(table, None)

    def references(self, table: int) -> int:
        """The counters and the atomic count, without BIAS."""
        count, ref = int(self.peek(table).pte_refcount), self.refs[table]
        known = count + sum(ref.count.values) + ref.moving
        return known - (BIAS if count >= BIAS >> 1 else 0)

    def tell_get(self, table: int, old: int, new: int, holder: Holder) -> None:
        """Record what the true count went to."""
        now = self.references(table)
        super().tell_get(table, now - (new - old), now, holder)

    def tell_put(self, table: int, old: int, new: int, holder: Holder) -> None:
        """Record what the true count went to."""
        now = self.references(table)
        super().tell_put(table, now + old - new, now, holder)

    def memory_kept(self) -> int:
        """Four bytes a CPU and table (alloc_percpu())."""
        return 4 * len(self.kernel.cpus) * len(self.refs)

    def figures(self) -> dict[str, int]:
        """How often the counters were folded into one number."""
        return {"per-CPU counts folded": self.killed}
