# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine really held at some of its events, to hold a rebuilt state against."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cpu.machine import Machine
from cpu.recorder import Recorder
from mmu._native import ffi, lib
from mmu.events import EVENT_ID, EventRing
from mmu.linux.state import Kernel
from mmu.memory import Memory
from mmu.trace.counts import Counts
from mmu.trace.format import RECORD
from mmu.trace.reader import Batch, TraceFile
from mmu.trace.tables import Tables
from mmu.trace.tlbs import Tlbs
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


def truth_of(kernel: Kernel, end: int) -> Truth:
    """What RAM, struct page and the arrays hold now."""
    truth = Truth(end)
    for mm in kernel.mms:
        if mm.c.pgd:
            truth.pgds.append(int(mm.c.pgd) >> PAGE_SHIFT)
            _take(truth, mm.memory, int(mm.c.pgd) >> PAGE_SHIFT, 4)
    for cpu in kernel.cpus:
        truth.entries[cpu.id] = entries_of(cpu.mmu)
    return truth


def _take(truth: Truth, memory: Memory, pfn: int, level: int) -> None:
    data = truth.tables[pfn] = memory.read(pfn << PAGE_SHIFT, PAGE_SIZE)
    if level == 1:
        truth.counts[pfn] = int(memory.page(pfn).pte_refcount)
        return
    for value in np.frombuffer(data, np.uint64).tolist():
        if value & X86_P and not (level <= 3 and value & X86_PS):
            _take(truth, memory, (value & X86_ADDR_MASK) >> PAGE_SHIFT, level - 1)


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
    """Records a machine and takes the truth every so many system calls, up to ``most`` times."""

    def __init__(self, *, every: int, most: int) -> None:
        self.file = io.BytesIO()
        self.truths: list[Truth] = []
        self.writer: TraceWriter
        self._every, self._most, self._seen = every, most, 0

    def look(self, machine: Machine) -> None:
        """A task enters the kernel."""
        self._seen += 1
        if self._seen % self._every == 0 and len(self.truths) < self._most:
            self.truths.append(truth_of(machine.kernel, self.writer.nr_events))


@contextmanager
def watched(
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    *args: str,
    every: int = 1,
    most: int = 8,
    **options: Any,
) -> Iterator[tuple[TraceFile, list[Truth]]]:
    """Run a guest, recorded; what came of it, and the truth at some points on the way."""
    watch = Watch(every=every, most=most)
    head = {"levels": 4, "cpus": options.get("cpus", 1)}
    watch.writer = writer = TraceWriter(watch.file, head)
    for name in ("insn", "access", "tlb_hit"):
        writer.ring.c.unwanted[EVENT_ID[name]] = 1
    with guest_machine(program, *args, ring=writer.ring, **options) as machine:
        machine.memory.record(writer.ring)
        Recorder(machine.system, writer)
        writer.ring.enable()
        entered_kernel = machine.scheduler.entered_kernel

        def looked_at() -> None:
            watch.look(machine)
            entered_kernel()

        monkeypatch.setattr(machine.scheduler, "entered_kernel", looked_at)
        result = machine.run()
        writer.ring.enable(False)
        writer.close(result.as_dict())
    assert watch.truths, "the guest is too short for a look"
    watch.file.seek(0)
    yield TraceFile("memory", watch.file), watch.truths


def unread(ring: EventRing, first: int) -> Batch:
    """The unread records of a ring with no writer, the first of which has number ``first``."""
    records = ffi.new("struct event[]", max(int(ring.c.head - ring.c.tail), 1))
    count = lib.ring_read(ring.c, records, len(records))
    data = np.frombuffer(ffi.buffer(records), RECORD)[:count].copy()
    return Batch(np.arange(first, first + count, dtype=np.uint64), data)


@dataclass
class Rebuilt:
    """All that is rebuilt from events: apply() each batch, then hold it against a truth."""

    tables: Tables = field(default_factory=Tables)
    tlbs: Tlbs = field(default_factory=Tlbs)
    counts: Counts = field(default_factory=Counts)

    def apply(self, batch: Batch) -> None:
        """Go on by these events."""
        for part in (self.tables, self.tlbs, self.counts):
            part.apply(batch)

    def check(self, truth: Truth, *, counted: bool) -> None:
        """Every byte, entry and count is the true one."""
        for pfn, data in truth.tables.items():
            assert self.tables.table(pfn).tobytes() == data, f"table {pfn:#x} at {truth.end}"
        for cpu, entries in truth.entries.items():
            assert held(self.tlbs, cpu) == entries, f"CPU {cpu} at {truth.end}"
        told = {pfn: self.count(pfn) for pfn in truth.counts}
        assert told == (truth.counts if counted else dict.fromkeys(truth.counts, 0))

    def count(self, pfn: int) -> int:
        """The count of a table; 0 if no event told of it. Of entries and visitors there are as
        many.
        """
        count = self.counts.of.get(pfn)
        if count is None:
            return 0
        assert count.count == count.entries + len(count.visitors), hex(pfn)
        return count.count


def held(tlbs: Tlbs, cpu: int) -> list[Held]:
    """What is resident on a CPU, in the form of a truth."""
    return [
        (one.slot, one.array, int(one.table), one.va >> PAGE_SHIFT, one.pa, one.level)
        + (one.page_level, one.pcid, one.pat, one.pkey, one.flags)
        for one in tlbs.entries(cpu)
    ]
