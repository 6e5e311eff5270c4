# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB rates by array and by function of the guest, shootdowns and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from mmu.trace.reader import Batch, TraceFile
from ucmmu.reading.attribution import U64
from ucmmu.reading.named import FunctionNames
from ucmmu.reading.names import Names
from ucmmu.reading.report.figures import Array, CpuShootdowns, Figures, Function

TOP = 20
"""Functions that a report names; the others are one row."""
OUTSIDE: Final = "(before the first instruction)"

Records = npt.NDArray[np.void]


class ProcessorWork:
    """Counts what the processors did, batch by batch."""

    def __init__(self, trace: TraceFile, figures: Figures) -> None:
        self._id = {desc.name: desc.id for desc in trace.descs}
        self._figures = figures
        self._shown = Names(trace.head)
        named = enumerate(trace.head.get("arrays", ()))
        self._arrays = {number: Array(array["name"]) for number, array in named}
        self._cpus: dict[int, CpuShootdowns] = {}
        self._reasons: Counter[int] = Counter()
        self._pages: Counter[int] = Counter()
        self._faults: Counter[int] = Counter()
        self._names = FunctionNames(trace)
        self._functions: dict[str, Function] = {}

    def add(self, batch: Batch, ips: U64) -> None:
        """Count a batch, whose events are of the instructions at ``ips``."""
        records = batch.records
        kind = records["id"]
        self._add_arrays(records, kind)
        self._add_shootdowns(records, kind)
        faults = records["b"][kind == self._id["page_fault"]]
        self._faults.update(faults.tolist())
        self._add_places(batch, kind, ips)

    def finish(self) -> None:
        """Give what was counted to the figures, by name."""
        figures = self._figures
        figures.arrays = [
            array for _, array in sorted(self._arrays.items()) if array.hits or array.fills
        ]
        figures.cpus = [self._cpus[cpu] for cpu in sorted(self._cpus)]
        for reason, count in self._reasons.most_common():
            figures.reasons[self._shown.shown("tlb_flush", "reason", reason)] = count
        figures.pages_flushed = _ranges(self._pages)
        for code, count in self._faults.most_common():
            figures.faults[self._shown.shown("page_fault", "error_code", code)] = count
        figures.functions = _top(self._functions.values())

    def _add_arrays(self, records: Records, kind: npt.NDArray[np.uint8]) -> None:
        for name, attribute in (
            ("tlb_hit", "hits"),
            ("tlb_deny", "hits"),
            ("tlb_fill", "fills"),
            ("tlb_evict", "evictions"),
            ("tlb_drop", "drops"),
        ):
            found = np.unique(records["c"][kind == self._id[name]], return_counts=True)
            for number, count in zip(found[0].tolist(), found[1].tolist(), strict=True):
                array = self._arrays.setdefault(number, Array(f"array {number}"))
                setattr(array, attribute, getattr(array, attribute) + count)
        self._figures.misses += int((kind == self._id["tlb_miss"]).sum())

    def _add_shootdowns(self, records: Records, kind: npt.NDArray[np.uint8]) -> None:
        for name, attribute in (("csd_queue_cpu", "sent"), ("csd_function_entry", "received")):
            for cpu in records["cpu"][kind == self._id[name]].tolist():
                row = self._cpus.setdefault(cpu, CpuShootdowns(cpu))
                setattr(row, attribute, getattr(row, attribute) + 1)
        flushes = records[kind == self._id["tlb_flush"]]
        self._reasons.update(flushes["a"].tolist())
        self._pages.update(flushes["b"].tolist())

    def _add_places(self, batch: Batch, kind: npt.NDArray[np.uint8], ips: U64) -> None:
        """Count instructions, look-ups, misses and faults by the function they are of."""
        miss = kind == self._id["tlb_miss"]
        lookup = miss | (kind == self._id["tlb_hit"]) | (kind == self._id["tlb_deny"])
        flags = (kind == self._id["insn"], lookup, miss, kind == self._id["page_fault"])
        codes, names = self._names.of(batch, ips)
        counts = np.stack([np.bincount(codes, flag, len(names)) for flag in flags])
        for code in np.flatnonzero(counts.any(axis=0)).tolist():
            name = names[code] or OUTSIDE
            function = self._functions.setdefault(name, Function(name))
            instructions, lookups, misses, faults = counts[:, code].astype(int).tolist()
            function.instructions += instructions
            function.lookups += lookups
            function.misses += misses
            function.faults += faults


def _top(functions: Iterable[Function]) -> list[Function]:
    """The functions with most misses, most faults, most instructions first; the rest is one."""
    rows = sorted(functions, key=lambda f: (-f.misses, -f.faults, -f.instructions, f.name))
    if len(rows) > TOP:
        rest = Function(f"{len(rows) - TOP} others")
        for row in rows[TOP:]:
            rest.instructions += row.instructions
            rest.lookups += row.lookups
            rest.misses += row.misses
            rest.faults += row.faults
        rows = [*rows[:TOP], rest]
    return rows


def _ranges(pages: Counter[int]) -> dict[str, int]:
    """Flushes by size: 1, 2 to 8, 9 to 33 pages (the ceiling), more, all."""
    names = ("0", "1", "2–8", "9–33", "34 and more", "all")
    counts = dict.fromkeys(names, 0)
    for number, count in pages.items():
        at = 5 if number == (1 << 64) - 1 else sum(number > most for most in (0, 1, 8, 33))
        counts[names[at]] += count
    return {name: count for name, count in counts.items() if count}
