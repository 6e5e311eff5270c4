# SPDX-License-Identifier: GPL-2.0-or-later
"""How a PTE table is found, counted and freed: four designs, as what they do to lines and locks.

- **none**: a lookup is a read section that reads the PMD; a table stays.
- **pmd_lock**: a lookup takes the PMD lock and adds 1 to the count.
- **RCU**: a lookup is a read section: it reads the PMD, adds 1 and reads the PMD again.
- **per-CPU**: a lookup is a read section that adds 1 to a counter of its CPU. Who empties the table
  makes it atomic, and adds the counters of all CPUs up a grace period later. If it is in use then,
  its counters are on again, until somebody empties it once more.

In all that count, the visitor's reference becomes that of the entry it sets, and a zap subtracts
its entries and itself. Who finds the count 0 clears the PMD under the PMD lock; then the table is
free, under pmd_lock at once, else a grace period later.

The count and the PTE lock stand in one line, that of the table's struct page (v6.18: ptdesc).

That a lookup without a count is a read section too is so in v6.18 (pte_offset_map_lock()) and in
native/mm/pte_ref.c. The kernels that the series was measured on had none there: ``sections`` is
false for them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from benchmarks.scaling.machine import Cpu, Line, Machine, SpinLock, Steps

PMDS_IN_A_LINE = PTES_IN_A_LINE = 8


class Design(str, Enum):
    """Who may free an empty table, and how others are kept from using it."""

    NONE = "none"
    PMD_LOCK = "pmd_lock"
    RCU = "RCU"
    PER_CPU = "per-CPU"


class PmdTable:
    """What a PMD table's users share: its lock, and the lines of its entries."""

    def __init__(self, machine: Machine) -> None:
        self.lock = SpinLock(machine)
        self._machine = machine
        self._lines: dict[int, Line] = {}

    def line(self, slot: int) -> Line:
        """The line in which the entry number ``slot`` stands."""
        number = slot // PMDS_IN_A_LINE
        if number not in self._lines:
            self._lines[number] = Line(self._machine)
        return self._lines[number]


class Table:
    """A PTE table."""

    def __init__(self, machine: Machine) -> None:
        self.line = Line(machine)
        self.ptl = SpinLock(machine, self.line)
        self.mode = Line(machine)
        """Per-CPU: whether the counters are in use, or one atomic count."""
        self.entries: dict[int, Line] = {}
        self.present: set[int] = set()
        self.visitors = 0
        self.dying = False


class Slot:
    """A PMD entry: the table that stands in it, if any."""

    def __init__(
        self, machine: Machine, pmd: PmdTable, number: int, design: Design, *, sections: bool = True
    ) -> None:
        self.machine = machine
        self._pmd = pmd
        self._line = pmd.line(number)
        self._design = design
        self.sections = sections
        """Lookups without a count are read sections."""
        self._in_section = design is not Design.PMD_LOCK and (sections or design is not Design.NONE)
        self.table: Table | None = None
        self.frees = 0
        self.allocations = 0
        self.free_ns: list[float] = []
        """For each free, from the count of 0 to the frame's return to the allocator."""

    def get(self, cpu: Cpu) -> Steps:
        """Find the table for a visit; ``table`` is None if there is none, and nothing is held."""
        parameters = self.machine.parameters
        if self._design is Design.PMD_LOCK:
            yield from self._pmd.lock.acquire(cpu)
            yield from self._line.read(cpu)
            if self.table:
                self.table.visitors += 1
                yield from self.table.line.modify(cpu)
            yield from self._pmd.lock.release(cpu)
            return
        if self._in_section:
            cpu.spend(parameters.rcu_read)
        yield from self._line.read(cpu)
        if self._design is Design.NONE or self.table is None:
            return
        self.table.visitors += 1
        if self._design is Design.PER_CPU:
            yield from self._count(cpu, self.table)
        else:
            yield from self.table.line.modify(cpu)

    def _count(self, cpu: Cpu, table: Table) -> Steps:
        """A per-CPU get or put: on this CPU's counter, or atomic while the table may be dying."""
        yield from table.mode.read(cpu)
        if table.dying:
            yield from table.line.modify(cpu)
        else:
            cpu.spend(self.machine.parameters.percpu_pair / 2)

    def alloc_get(self, cpu: Cpu) -> Steps:
        """get(), and install a table if there is none."""
        yield from self.get(cpu)
        if self.table is not None:
            return
        cpu.extra_work(self.machine.parameters.table_alloc)
        yield from self._pmd.lock.acquire(cpu)
        yield from cpu.catch_up()
        if self.table is None:
            self.table = Table(self.machine)
            self.allocations += 1
            yield from self._line.modify(cpu)
        elif self._design is not Design.NONE:
            yield from self.table.line.modify(cpu)
        if self._design is not Design.NONE:
            self.table.visitors += 1
        yield from self._pmd.lock.release(cpu)

    def set(self, cpu: Cpu, page: int) -> Steps:
        """Set an entry under the PTE lock; the visitor's reference becomes the entry's."""
        table = self.table
        assert table is not None
        yield from table.ptl.acquire(cpu)
        yield from self._entry(table, page).store(cpu)
        table.present.add(page)
        if self._design is not Design.NONE:
            table.visitors -= 1
        yield from table.ptl.release(cpu)

    def _entry(self, table: Table, page: int) -> Line:
        number = page // PTES_IN_A_LINE
        if number not in table.entries:
            table.entries[number] = Line(self.machine)
        return table.entries[number]

    def zap(self, cpu: Cpu, pages: range) -> Steps:
        """Clear the entries of ``pages``; free the table if none is left."""
        yield from self.get(cpu)
        table = self.table
        if table is None:
            return
        yield from table.ptl.acquire(cpu)
        cpu.work(self.machine.parameters.zap_page * len(pages))
        for page in range(pages.start, pages.stop, PTES_IN_A_LINE):
            yield from self._entry(table, page).store(cpu)
        table.present.difference_update(pages)
        yield from table.ptl.release(cpu)
        if self._design is Design.NONE:
            return
        for _ in ("the entries'", "the visitor's"):
            if self._design is Design.PER_CPU:
                yield from self._count(cpu, table)
            else:
                yield from table.line.modify(cpu)
        table.visitors -= 1
        yield from cpu.catch_up()
        if table.present or table.visitors or self.table is not table or table.dying:
            return
        if self._design is Design.PER_CPU:
            table.dying = True
            yield from table.mode.modify(cpu)
            since = self.machine.env.now
            self.machine.rcu.call(lambda: self._sum(cpu, table, since))
        else:
            yield from self._free(cpu, table, self.machine.env.now)

    def _sum(self, cpu: Cpu, table: Table, since: float) -> None:
        """Per-CPU, a grace period later: add all counters up; free the table, or revive it."""
        machine = self.machine
        others = len(machine.cpus) - 1
        cpu.spend(machine.parameters.atomic + others * machine.parameters.transfer)
        if table.present or table.visitors:
            self._revive(cpu, table)
        elif self.table is table:
            machine.env.process(self._free(cpu, table, since))

    def _revive(self, cpu: Cpu, table: Table) -> None:
        """Per-CPU: the table is in use again, and its counters are."""
        table.dying = False
        cpu.spend(self.machine.parameters.transfer)

    def _free(self, cpu: Cpu, table: Table, since: float) -> Steps:
        machine = self.machine
        yield from self._pmd.lock.acquire(cpu)
        yield from cpu.catch_up()
        freed = self.table is table and not table.present and not table.visitors
        if freed:
            self.table = None
            self.frees += 1
            yield from self._line.modify(cpu)
            cpu.spend(machine.parameters.free_hold)
        yield from self._pmd.lock.release(cpu)
        if freed:
            cpu.extra_work(max(0.0, machine.parameters.table_free - machine.parameters.free_hold))
            if self._design is Design.PMD_LOCK:
                self._freed(since)()
            else:
                machine.rcu.free_table(self._freed(since))
        elif self._design is Design.PER_CPU and self.table is table:
            self._revive(cpu, table)

    def _freed(self, since: float) -> Callable[[], None]:
        return lambda: self.free_ns.append(self.machine.env.now - since)
