# SPDX-License-Identifier: GPL-2.0-or-later
"""What the CPUs of the model do: faults and MADV_DONTNEED, one thread on each CPU."""

from __future__ import annotations

from collections.abc import Iterator
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


SHARED_AREAS, SINGLE_AREAS = 8, 64


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
    rounds: int
    seed: int = 0


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
    pending_max: int
    """Most tables that waited for a grace period at once."""
    free_ns: float
    """From the last reference to the frame's return, mean; 0 if none was freed."""

    def record(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)


def simulate(workload: Workload, parameters: Parameters) -> Figures:
    """Run it: the same workload, parameters and seed give the same figures.

    Threads start anywhere in a round; what is counted begins when all are well under way.
    """
    machine = Machine(workload.cpus, parameters, workload.seed)
    slots = _slots(machine, workload)
    one = Line(machine)
    for cpu in machine.cpus:
        vma = one if workload.vmas is Vmas.ONE else Line(machine)
        machine.env.process(_thread(cpu, workload, slots, vma))
    a_round = sum(len(pages) for _, pages in _parts(workload, 0, slots))
    machine.run_faults(5 * a_round * workload.cpus // 4)
    since, transfers = machine.env.now, machine.transfers
    waits, waited = machine.lock_waits, machine.lock_waited
    total = workload.rounds * a_round * workload.cpus
    machine.run_faults(total)
    elapsed = machine.env.now - since
    transfers, waits = machine.transfers - transfers, machine.lock_waits - waits
    waited = machine.lock_waited - waited
    pending = machine.rcu.pending
    machine.drain()
    free_ns = [ns for slot in slots for ns in slot.free_ns]
    return Figures(
        faults_per_s=total / elapsed * 1e9,
        ns_per_fault=elapsed * workload.cpus / total,
        transfers_per_fault=transfers / total,
        lock_waits_per_fault=waits / total,
        lock_wait_ns=waited / total,
        tables_allocated=sum(slot.allocations for slot in slots),
        tables_freed=sum(slot.frees for slot in slots),
        pending=pending,
        pending_max=machine.rcu.pending_max,
        free_ns=mean(free_ns) if free_ns else 0.0,
    )


def _areas_of(workload: Workload) -> int:
    """How many areas a thread touches in a round."""
    return {Pattern.AREAS: 1, Pattern.PAGES: SINGLE_AREAS, Pattern.SHARED: SHARED_AREAS}[
        workload.pattern
    ]


def _slots(machine: Machine, workload: Workload) -> list[Slot]:
    """The PMD entries of all areas, side by side: 512 in a PMD table."""
    shared = workload.pattern is Pattern.SHARED
    number = _areas_of(workload) * (1 if shared else workload.cpus)
    pmds = [PmdTable(machine) for _ in range(-(-number // PAGES))]
    return [
        Slot(machine, pmds[index // PAGES], index % PAGES, workload.design)
        for index in range(number)
    ]


def _parts(workload: Workload, cpu: int, slots: list[Slot]) -> Iterator[tuple[Slot, range]]:
    """The areas of a thread, and its pages in each."""
    areas = _areas_of(workload)
    if workload.pattern is Pattern.SHARED:
        first, end = (PAGES * number // workload.cpus for number in (cpu, cpu + 1))
        for turn in range(areas):
            yield slots[(cpu + turn) % areas], range(first, end)
        return
    pages = range(PAGES) if workload.pattern is Pattern.AREAS else range(1)
    for slot in slots[cpu * areas : (cpu + 1) * areas]:
        yield slot, pages


def _thread(cpu: Cpu, workload: Workload, slots: list[Slot], vma: Line) -> Steps:
    machine, parameters = cpu.machine, cpu.machine.parameters
    parts = list(_parts(workload, cpu.number, slots))
    a_round = sum(
        len(pages) * (parameters.fault + parameters.zap_page) + parameters.zap_call
        for _, pages in parts
    )
    yield machine.env.timeout(cpu.random.random() * a_round)
    while not machine.stopped:
        for slot, pages in parts:
            for page in pages:
                yield from _fault(cpu, slot, page, vma)
                machine.faults += 1
                if machine.stopped:
                    return
        for slot, pages in parts:
            yield from _madvise(cpu, slot, pages, vma)
    yield from cpu.catch_up()


def _lock_alone(parameters: Parameters) -> float:
    """What of a measured time the model spends on locks itself: the VMA's, and the PTE lock."""
    return parameters.shared_accesses * parameters.atomic + parameters.lock


def _fault(cpu: Cpu, slot: Slot, page: int, vma: Line) -> Steps:
    parameters = cpu.machine.parameters
    yield from _access(cpu, vma, first=True)
    yield from slot.alloc_get(cpu)
    cpu.work(max(0.0, parameters.fault - _lock_alone(parameters)))
    yield from slot.set(cpu, page)
    yield from _access(cpu, vma, first=False)
    yield from cpu.catch_up()


def _madvise(cpu: Cpu, slot: Slot, pages: range, vma: Line) -> Steps:
    parameters = cpu.machine.parameters
    yield from _access(cpu, vma, first=True)
    cpu.work(max(0.0, parameters.zap_call - _lock_alone(parameters)))
    yield from slot.zap(cpu, pages)
    yield from cpu.flush_others()
    yield from _access(cpu, vma, first=False)


def _access(cpu: Cpu, vma: Line, *, first: bool) -> Steps:
    """Lock or unlock: half of the read-modify-writes, the odd one to lock."""
    number = int(cpu.machine.parameters.shared_accesses)
    for _ in range((number + first) // 2):
        yield from vma.modify(cpu)
