# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine really held at some of its events, to hold a rebuilt state against."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cpu.machine import Machine
from cpu.recorder import Recorder
from mmu._native import lib
from mmu.linux.state import MmStruct
from mmu.memory import Memory
from mmu.trace.reader import TraceFile
from mmu.trace.writer import TraceWriter
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_PS
from mmu.x86.state import Unit
from tests.guests.machine import guest_machine

Held = tuple[int, ...]
"""A resident entry: slot, array, is of a paging structure, vpn, frame, level, page level, PCID,
PAT, key, flags.
"""


@dataclass
class Truth:
    """The state before event number ``end``: tables by frame, counts of PTE tables by frame,
    resident entries of each CPU, and the frame of each mm's PGD.
    """

    end: int
    tables: dict[int, bytes] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    entries: dict[int, list[Held]] = field(default_factory=dict)
    pgds: list[int] = field(default_factory=list)


def truth_of(machine: Machine, end: int) -> Truth:
    """What RAM, struct page and the arrays hold now."""
    truth = Truth(end)
    for mm in machine.kernel.mms:
        if mm.c.pgd:
            truth.pgds.append(int(mm.c.pgd) >> PAGE_SHIFT)
            _take(truth, machine.memory, mm, int(mm.c.pgd) >> PAGE_SHIFT, 4)
    for cpu in machine.kernel.cpus:
        truth.entries[cpu.id] = entries_of(cpu.mmu)
    return truth


def _take(truth: Truth, memory: Memory, mm: MmStruct, pfn: int, level: int) -> None:
    data = truth.tables[pfn] = memory.read(pfn << PAGE_SHIFT, PAGE_SIZE)
    if level == 1:
        truth.counts[pfn] = int(memory.page(pfn).pte_refcount)
        return
    for value in np.frombuffer(data, np.uint64).tolist():
        if value & X86_P and not (level <= 3 and value & X86_PS):
            _take(truth, memory, mm, (value & X86_ADDR_MASK) >> PAGE_SHIFT, level - 1)


def entries_of(unit: Unit) -> list[Held]:
    """Every valid entry of a unit, by slot."""
    tlb = unit.c.tlb
    found = []
    for slot in range(tlb.nr_entries):
        e = tlb.entry[slot]
        if e.flags & lib.TLB_VALID:
            table = int(bool(e.flags & lib.TLB_TABLE))
            found.append(
                (slot, e.array, table, e.vpn, e.frame, e.level, e.page_level, e.pcid)
                + (e.pat, e.pkey, e.flags)
            )
    return found


class Watch:
    """Records a machine and takes the truth every so many switches, up to ``most`` times."""

    def __init__(self, *, every: int, most: int) -> None:
        self.file = io.BytesIO()
        self.truths: list[Truth] = []
        self.writer: TraceWriter
        self._every, self._most, self._seen = every, most, 0

    def look(self, machine: Machine) -> None:
        """A CPU is about to switch."""
        self._seen += 1
        if self._seen % self._every == 0 and len(self.truths) < self._most:
            self.truths.append(truth_of(machine, self.writer.nr_events))


@contextmanager
def watched(
    program: str, *args: str, every: int = 1, most: int = 8, **options: Any
) -> Iterator[tuple[TraceFile, list[Truth]]]:
    """Run a guest, recorded; what came of it, and the truth at some points on the way."""
    watch = Watch(every=every, most=most)
    head = {"levels": 4, "cpus": options.get("cpus", 1)}
    watch.writer = writer = TraceWriter(watch.file, head)
    for name in ("insn", "access", "tlb_hit"):
        writer.ring.c.unwanted[lib_number(name)] = 1
    with guest_machine(program, *args, ring=writer.ring, **options) as machine:
        machine.memory.record(writer.ring)
        Recorder(machine.system, writer)
        writer.ring.enable()
        machine.scheduler.before_switch = lambda: watch.look(machine)
        result = machine.run()
        writer.ring.enable(False)
        writer.close(result.as_dict())
    assert watch.truths, "the guest is too short for a look"
    watch.file.seek(0)
    yield TraceFile("memory", watch.file), watch.truths


def lib_number(name: str) -> int:
    """The number of an event by its name."""
    from mmu.events import EVENT_ID

    return EVENT_ID[name]
