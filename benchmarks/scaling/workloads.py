# SPDX-License-Identifier: GPL-2.0-or-later
"""What the CPUs of the model do: faults and MADV_DONTNEED, one thread on each CPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from statistics import mean
from typing import Any

from benchmarks.scaling.designs import Design, PmdTable, Slot
from benchmarks.scaling.machine import Cpu, Line, Machine, Steps
from benchmarks.scaling.parameters import Parameters

PAGES = 512
"""Pages that a PTE table maps."""


class Pattern(str, Enum):
    """What each thread touches and gives back, over and over."""

    AREAS = "areas"
    """All pages of a 2 MiB area of its own: what multi-fault does."""
    PAGES = "pages"
    """One page in each of 64 areas of its own: each fault needs a table, where it was freed."""
    SHARED = "shared"
    """Its part of 8 areas that all threads share."""
    LOOP = "loop"
    """The DONTNEED loop: all pages of a 2 MiB area, each time of the next one."""


SHARED_AREAS, SINGLE_AREAS = 8, 64
WARM_UP = 0.25
"""Rounds of each thread before anything counts."""
SETTLING = 4
"""Grace periods until as many tables come back as are taken out: per-CPU ones wait for four."""
Parts = list[tuple[Slot, range]]
"""Areas, and the pages in each."""


class Vmas(str, Enum):
    """What a fault locks."""

    OWN = "own VMAs"
    """A thread's own VMA (since 6.4): no lock is shared before the page tables."""
    ONE = "one lock"
    """One VMA for all threads, or before 6.4 the mmap_lock."""


@dataclass(frozen=True)
class Workload:
    """One run of the model."""

    pattern: Pattern
    vmas: Vmas
    design: Design
    cpus: int
    rounds: float
    """Of each thread, after the warm-up."""
    seed: int = 0
    calls: int = 1
    """Of MADV_DONTNEED, by which the pages of an area are given back."""
    sections: bool = True
    """Lookups without a count are RCU read sections, as in v6.18; not so on the kernels that the
    series was measured on.
    """
    periods: int = 0
    """Instead of rounds: so many grace periods, after SETTLING of them."""


@dataclass(frozen=True)
class Figures:
    """What a run came to. Times in ns, all per fault of one thread where not said otherwise."""

    faults_per_s: float
    """Of all threads; what they give back is in the time."""
    ns_per_fault: float
    transfers_per_fault: float
    lock_waits_per_fault: float
    lock_wait_ns: float
    """Waiting for spinlocks."""
    tables_allocated: int
    tables_freed: int
    pending: int
    """Tables that waited for a grace period at the end."""
    pending_mean: float
    """Tables that waited for a grace period, mean over the time that counts."""
    pending_max: int
    """Most tables that waited for a grace period at once."""
    freed_per_s: float
    """Tables taken out of their PMD, in the time that counts."""
    free_ns: float
    """From the last reference to the frame's return, mean; 0 if none was freed."""
    wait_ns: float
    """Of that, from the table's leaving its PMD."""

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)


def simulate(workload: Workload, parameters: Parameters) -> Figures:
    """Run it: the same workload, parameters and seed give the same figures.

    Threads start anywhere in a round; what is counted begins after a quarter of one, or after
    grace periods if it goes on for such.
    """
    machine = Machine(workload.cpus, parameters, workload.seed)
    areas = Areas(machine, workload)
    one = Line(machine)
    for cpu in machine.cpus:
        vma = one if workload.vmas is Vmas.ONE else Line(machine)
        machine.env.process(_thread(cpu, areas, vma, workload.calls))
    _run(machine, areas, workload, WARM_UP, SETTLING)
    since, total, transfers = machine.env.now, machine.faults, machine.transfers
    waits, waited = machine.lock_waits, machine.lock_waited
    frees, table_ns = areas.frees(), machine.rcu.table_ns()
    _run(machine, areas, workload, workload.rounds, workload.periods)
    elapsed, total = machine.env.now - since, machine.faults - total
    transfers, waits = machine.transfers - transfers, machine.lock_waits - waits
    waited = machine.lock_waited - waited
    frees, table_ns = areas.frees() - frees, machine.rcu.table_ns() - table_ns
    pending = machine.rcu.pending
    machine.drain()
    free_ns = [ns for slot in areas.slots for ns in slot.free_ns]
    return Figures(
        faults_per_s=total / elapsed * 1e9,
        ns_per_fault=elapsed * workload.cpus / total,
        transfers_per_fault=transfers / total,
        lock_waits_per_fault=waits / total,
        lock_wait_ns=waited / total,
        tables_allocated=sum(slot.allocations for slot in areas.slots),
        tables_freed=sum(slot.frees for slot in areas.slots),
        pending=pending,
        pending_mean=table_ns / elapsed,
        pending_max=machine.rcu.pending_max,
        freed_per_s=frees / elapsed * 1e9,
        free_ns=mean(free_ns) if free_ns else 0.0,
        wait_ns=machine.rcu.table_ns() / max(1, machine.rcu.tables),
    )


def _run(machine: Machine, areas: Areas, workload: Workload, rounds: float, periods: int) -> None:
    """Go on for so many rounds of each thread, or grace periods if the workload has such."""
    if workload.periods:
        machine.env.run(machine.env.now + periods * machine.parameters.grace_period)
    else:
        faults = rounds * areas.faults_in_a_round() * workload.cpus
        machine.run_faults(max(1, round(faults)))


class Areas:
    """The areas of a workload, side by side: a PMD table has 512 of them."""

    def __init__(self, machine: Machine, workload: Workload) -> None:
        self.slots: list[Slot] = []
        self._machine = machine
        self._workload = workload
        self._pmd = PmdTable(machine)
        self._parts = [self._make(cpu) for cpu in range(workload.cpus)]

    def faults_in_a_round(self) -> int:
        """Of a thread; of several that share areas, on average."""
        if self._workload.pattern is Pattern.SHARED:
            return SHARED_AREAS * PAGES // self._workload.cpus
        return sum(len(pages) for _, pages in self._parts[0])

    def frees(self) -> int:
        """Tables that were taken out of their PMD, so far."""
        return sum(slot.frees for slot in self.slots)

    def of(self, cpu: int) -> Parts:
        """What a thread touches in its next round."""
        if self._workload.pattern is Pattern.LOOP:
            return [(self._next(), range(PAGES))]
        return self._parts[cpu]

    def _next(self) -> Slot:
        number = len(self.slots)
        if number and number % PAGES == 0:
            self._pmd = PmdTable(self._machine)
        workload = self._workload
        slot = Slot(
            self._machine,
            self._pmd,
            number % PAGES,
            workload.design,
            sections=workload.sections,
        )
        self.slots.append(slot)
        return slot

    def _make(self, cpu: int) -> Parts:
        pattern, cpus = self._workload.pattern, self._workload.cpus
        if pattern is Pattern.PAGES:
            return [(self._next(), range(1)) for _ in range(SINGLE_AREAS)]
        if pattern is not Pattern.SHARED:
            return [(self._next(), range(PAGES))]
        while len(self.slots) < SHARED_AREAS:
            self._next()
        first, end = (PAGES * number // cpus for number in (cpu, cpu + 1))
        turned = (self.slots[(cpu + turn) % SHARED_AREAS] for turn in range(SHARED_AREAS))
        return [(slot, range(first, end)) for slot in turned]


def _thread(cpu: Cpu, areas: Areas, vma: Line, calls: int) -> Steps:
    machine, parameters = cpu.machine, cpu.machine.parameters
    a_page = parameters.fault + parameters.zap_page
    skipped = int(cpu.random.random() * areas.faults_in_a_round())
    yield machine.env.timeout(cpu.random.random() * a_page)
    while not machine.stopped:
        parts = areas.of(cpu.number)
        for slot, pages in parts:
            first, skipped = min(skipped, len(pages)), max(0, skipped - len(pages))
            for page in pages[first:]:
                yield from _fault(cpu, slot, page, vma)
                machine.faults += 1
                if machine.stopped:
                    return
        for slot, pages in parts:
            for piece in _pieces(pages, calls):
                yield from _madvise(cpu, slot, piece, vma)


def _pieces(pages: range, number: int) -> list[range]:
    size = -(-len(pages) // number)
    return [pages[at : at + size] for at in range(0, len(pages), size)]


def _modelled(slot: Slot) -> float:
    """What of a measured time without a count the model spends itself: the VMA's lock, the PTE
    lock, and the read section of a lookup if it is one.
    """
    parameters = slot.machine.parameters
    section = parameters.rcu_read if slot.sections else 0.0
    return parameters.shared_accesses * parameters.atomic + parameters.lock + section


def _fault(cpu: Cpu, slot: Slot, page: int, vma: Line) -> Steps:
    parameters = cpu.machine.parameters
    yield from _access(cpu, vma, first=True)
    yield from slot.alloc_get(cpu)
    cpu.work(max(0.0, parameters.fault - _modelled(slot)))
    yield from slot.set(cpu, page)
    yield from _access(cpu, vma, first=False)
    yield from cpu.catch_up()


def _madvise(cpu: Cpu, slot: Slot, pages: range, vma: Line) -> Steps:
    parameters = cpu.machine.parameters
    yield from _access(cpu, vma, first=True)
    cpu.work(max(0.0, parameters.zap_call - _modelled(slot)))
    yield from slot.zap(cpu, pages)
    yield from cpu.flush_others()
    yield from _access(cpu, vma, first=False)


def _access(cpu: Cpu, vma: Line, *, first: bool) -> Steps:
    """Lock or unlock: half of the read-modify-writes, the odd one to lock."""
    number = int(cpu.machine.parameters.shared_accesses)
    for _ in range((number + first) // 2):
        yield from vma.modify(cpu)
