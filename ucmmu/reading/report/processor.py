# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB rates by array and by function of the guest, shootdowns and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mmu.trace.reader import Batch, TraceFile
from ucmmu.reading.report.figures import Array, CpuShootdowns, Figures, Function

TOP = 20
"""Functions that a report names; the others are one row."""
_MAX_CPUS = 256

Records = npt.NDArray[np.void]


class ProcessorWork:
    """Counts what the processors did, batch by batch."""

    def __init__(self, trace: TraceFile, figures: Figures) -> None:
        self._id = {desc.name: desc.id for desc in trace.descs}
        self._figures = figures
        names = [array["name"] for array in trace.head.get("arrays", ())]
        self._arrays = [Array(name) for name in names]
        self._cpus: dict[int, CpuShootdowns] = {}
        self._reasons: Counter[int] = Counter()
        self._pages: Counter[int] = Counter()
        self._faults: Counter[int] = Counter()
        self._ip: dict[int, tuple[int, int]] = {}
        self._by_ip: dict[tuple[int, int], npt.NDArray[np.int64]] = {}

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        records = batch.records
        kind = records["id"]
        self._add_arrays(records, kind)
        self._add_shootdowns(records, kind)
        faults = records["b"][kind == self._id["page_fault"]]
        self._faults.update(faults.tolist())
        self._add_places(records, kind)

    def finish(self, name_of: Callable[[int, int, int], str], reason_of: Callable[[int], str],
               fault_of: Callable[[int], str]) -> None:
        """Give what was counted its names: ``name_of(task, ip, event)`` is a guest's function."""
        figures = self._figures
        figures.arrays = [array for array in self._arrays if array.hits or array.fills]
        figures.cpus = [self._cpus[cpu] for cpu in sorted(self._cpus)]
        for reason, count in self._reasons.most_common():
            figures.reasons[reason_of(reason)] = count
        figures.pages_flushed = _ranges(self._pages)
        for code, count in self._faults.most_common():
            text = fault_of(code)
            figures.faults[text] = figures.faults.get(text, 0) + count
        figures.functions = _by_function(self._by_ip, name_of)

    def _add_arrays(self, records: Records, kind: npt.NDArray[np.uint8]) -> None:
        for name, attribute in (
            ("tlb_hit", "hits"),
            ("tlb_fill", "fills"),
            ("tlb_evict", "evictions"),
            ("tlb_drop", "drops"),
        ):
            counts = np.bincount(records["c"][kind == self._id[name]].astype(np.intp))
            for number, count in enumerate(counts.tolist()):
                while number >= len(self._arrays):
                    self._arrays.append(Array(f"array {len(self._arrays)}"))
                array = self._arrays[number]
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

    def _add_places(self, records: Records, kind: npt.NDArray[np.uint8]) -> None:
        """Count instructions, look-ups, misses and faults by task and the instruction they are of."""
        insn = kind == self._id["insn"]
        lookup = (kind == self._id["tlb_hit"]) | (kind == self._id["tlb_miss"])
        miss = kind == self._id["tlb_miss"]
        fault = kind == self._id["page_fault"]
        for cpu in np.unique(records["cpu"]).tolist():
            mine = (records["cpu"] == cpu) & (insn | lookup | fault)
            of = np.flatnonzero(mine)
            if len(of):
                self._add_places_of(cpu, records[of], [a[of] for a in (insn, lookup, miss, fault)])

    def _add_places_of(
        self, cpu: int, records: Records, flags: list[npt.NDArray[np.bool_]]
    ) -> None:
        begins = np.flatnonzero(flags[0])
        last = np.maximum.accumulate(np.where(flags[0], np.arange(len(records)), -1))
        ips = np.where(last >= 0, records["a"][np.maximum(last, 0)], self._ip.get(cpu, (0, 0))[1])
        if len(begins):
            self._ip[cpu] = int(records["task"][begins[-1]]), int(records["a"][begins[-1]])
        keys = np.empty(len(records), dtype=[("task", "<u4"), ("ip", "<u8")])
        keys["task"], keys["ip"] = records["task"], ips
        places, which = np.unique(keys, return_inverse=True)
        counts = np.stack(
            [np.bincount(which, weights=f, minlength=len(places)) for f in flags], axis=1
        ).astype(np.int64)
        for (task, ip), row in zip(places.tolist(), counts, strict=True):
            held = self._by_ip.get((task, ip))
            if held is None:
                self._by_ip[task, ip] = row
            else:
                held += row


def _by_function(
    by_ip: dict[tuple[int, int], npt.NDArray[np.int64]], name_of: Callable[[int, int, int], str]
) -> list[Function]:
    """The functions with most misses, most faults, most instructions first; the rest is one."""
    functions: dict[str, Function] = {}
    for (task, ip), (instructions, lookups, misses, faults) in by_ip.items():
        name = name_of(task, ip, -1)
        function = functions.setdefault(name, Function(name))
        function.instructions += int(instructions)
        function.lookups += int(lookups)
        function.misses += int(misses)
        function.faults += int(faults)
    rows = sorted(
        functions.values(), key=lambda f: (-f.misses, -f.faults, -f.instructions, f.name)
    )
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
