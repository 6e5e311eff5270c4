# SPDX-License-Identifier: GPL-2.0-or-later
"""Records for tests of trace files, as arrays, and files of them in memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from mmu._native import ffi, lib
from mmu.events import EVENT_ID, EVENTS
from mmu.trace.format import RECORD
from mmu.trace.reader import TraceFile
from mmu.trace.where import ALL, Where
from mmu.trace.writer import TraceWriter

Records = npt.NDArray[np.void]
WORD = st.one_of(st.integers(0, 9), st.integers(0, (1 << 64) - 1), st.integers(0, 1 << 48))


def emit(writer: TraceWriter, records: Records) -> None:
    """Record these, as their CPUs would."""
    ring = writer.ring.c
    for record in records.tolist():
        kind, ring.cpu, ring.site, ring.task, ring.instruction, time, *values = record
        ring.ahead_ns = (time - ring.instruction) % (1 << 64)
        lib.ring_emit(ring, kind, ffi.new("u64[4]", values))


def written(records: Records, **how: Any) -> bytes:
    """The file of these records."""
    out = io.BytesIO()
    writer = TraceWriter(out, {"program": "test"}, **{"capacity": 1 << 8, **how})
    writer.ring.enable()
    emit(writer, records)
    writer.close({"done": True})
    return out.getvalue()


def opened(data: bytes) -> TraceFile:
    """A trace in memory."""
    return TraceFile("test.trace", io.BytesIO(data))


def read(trace: TraceFile, where: Where = ALL, reverse: bool = False) -> Records:
    """All its records for which where holds."""
    parts = [batch.records for batch in trace.batches(where, reverse)]
    return np.concatenate([np.empty(0, RECORD), *parts])


@st.composite
def any_records(draw: st.DrawFn, most: int = 20) -> Records:
    """Records of every kind with any values, often such as came before."""
    nr = draw(st.integers(1, most))
    row = st.tuples(
        st.integers(0, len(EVENTS) - 1),
        st.one_of(st.integers(0, 2), st.integers(0, 255)),
        st.sampled_from((0, 0, 1, 65535)),
        st.sampled_from((0, 1, 1, (1 << 32) - 1)),
        WORD,
        WORD,
        *[WORD] * 4,
    )
    rows = draw(st.lists(row, min_size=nr, max_size=nr))
    again = draw(st.lists(st.integers(0, nr - 1), max_size=most))
    return np.array([*rows, *(rows[i] for i in again)], RECORD)


def run_like(nr: int, seed: int = 1, cpus: int = 2) -> Records:
    """Events as a run has them: loops of instructions with accesses, now and then a walk, a fault,
    a reference, on several CPUs in turn.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, ...]] = []
    counts = [0] * cpus
    ahead, cpu, site = 0, 0, 1
    while len(rows) < nr:
        if not rng.integers(0, 40):
            cpu = int(rng.integers(0, cpus))
        loop = int(rng.integers(0, 6))
        base = 0x7F00_0000_0000 + int(rng.integers(0, 64)) * 0x1000
        for turn in range(int(rng.integers(1, 9))):
            for at in range(2 + loop):
                head = (cpu, 0, 100 + cpu, counts[cpu], counts[cpu] + ahead)
                ip = 0x40_0000 + loop * 64 + at * 4
                rows.append((EVENT_ID["insn"], *head, ip, 4, 0x1234567890 + at, 0))
                counts[cpu] += 1
                if at % 2:
                    address = base + turn * 8
                    rows.append((EVENT_ID["access"], *head, address, 8, at % 3, address - 1 << 12))
                    rows.append(
                        (EVENT_ID["tlb_hit"], *head, address, at % 3, 1, address >> 12 & 63)
                    )
        head = (cpu, site, 100 + cpu, counts[cpu], counts[cpu] + ahead)
        walk = (cpu, 0, *head[2:])
        rows.append((EVENT_ID["tlb_miss"], *walk, base, 0, 0, 0))
        rows.append((EVENT_ID["walk_entry"], *walk, base, 0x5000 + (base >> 9 & 0xFF8), 7, 1))
        if not rng.integers(0, 5):
            pfn = int(rng.integers(5, 40))
            rows.append((EVENT_ID["page_fault"], *walk, base, 4, 0, 0))
            rows.append((EVENT_ID["pte_get"], *head, pfn, 1, 2, 1))
            rows.append((EVENT_ID["set_pte"], *head, base, 0, 0x67, pfn << 12 | base >> 9 & 0xFF8))
            ahead += int(rng.integers(0, 1000))
            site = int(rng.integers(1, 4))
    return np.array(rows[:nr], RECORD)
