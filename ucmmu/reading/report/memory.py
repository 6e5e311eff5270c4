# SPDX-License-Identifier: GPL-2.0-or-later
"""VmSize, VmRSS and VmPTE over time, and the PTE tables at the moments that matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mmu.trace.reader import Batch, TraceFile
from mmu.trace.where import Where
from ucmmu.reading.report.figures import Figures, Life, Table

_PAGE_KB = 4
_PRESENT, _HUGE = 1, 1 << 7
_FRAME = 0x000F_FFFF_FFFF_F000
_SWAPPER_MEMBER = 2
"""MM_SWAPENTS: not resident."""

Numbers = npt.NDArray[np.int64]


def _ids(trace: TraceFile, *names: str) -> list[int]:
    return [desc.id for desc in trace.descs if desc.name in names]


class MemoryOverTime:
    """Follows the sizes of all address spaces together, batch by batch."""

    def __init__(self, trace: TraceFile, figures: Figures) -> None:
        self._figures = figures
        self._total_vm = _ids(trace, "total_vm")
        self._rss_stat = _ids(trace, "rss_stat")
        self._alloc = _ids(trace, "pte_alloc")
        self._free = _ids(trace, "pte_free")
        self._upper = _ids(trace, "set_pud", "set_p4d", "set_pgd")
        self._exit = [n for n, name in enumerate(trace.sites) if name == "exit_mmap"]
        self._entry = _ids(trace, "funcgraph_entry")
        self._sizes: dict[int, int] = {}
        self._resident: dict[tuple[int, int], int] = {}
        self._tables = 0
        self._tables_peak = 0
        self.peak_event: int | None = None
        self.ends: list[tuple[int, int]] = []
        """Event number and mm of each exit_mmap()."""

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        records = batch.records
        kind = records["id"]
        self._add_sizes(records[np.isin(kind, self._total_vm)])
        self._add_resident(records[np.isin(kind, self._rss_stat)])
        self._add_tables(batch)
        ends = np.flatnonzero(np.isin(kind, self._entry) & np.isin(records["site"], self._exit))
        for at in ends.tolist():
            self.ends.append((int(batch.numbers[at]), int(records["c"][at])))

    def _add_sizes(self, records: npt.NDArray[np.void]) -> None:
        total = sum(self._sizes.values())
        values = []
        for mm, pages in zip(records["a"].tolist(), records["b"].tolist(), strict=True):
            total += pages - self._sizes.get(mm, 0)
            self._sizes[mm] = pages
            values.append(total * _PAGE_KB)
        self._figures.size.add(records["time"], np.array(values, dtype=np.float64))

    def _add_resident(self, records: npt.NDArray[np.void]) -> None:
        records = records[records["b"] != _SWAPPER_MEMBER]
        total = sum(self._resident.values())
        values = []
        for mm, member, pages in zip(
            records["a"].tolist(), records["b"].tolist(), records["c"].tolist(), strict=True
        ):
            total += pages - self._resident.get((mm, member), 0)
            self._resident[mm, member] = pages
            values.append(total * _PAGE_KB)
        self._figures.rss.add(records["time"], np.array(values, dtype=np.float64))

    def _add_tables(self, batch: Batch) -> None:
        records = batch.records
        kind = records["id"]
        change = np.zeros(len(records), dtype=np.int64)
        change[np.isin(kind, self._alloc)] = 1
        change[np.isin(kind, self._free)] = -1
        upper = np.isin(kind, self._upper)
        change[upper] = _is_table(records["c"][upper]) - _is_table(records["b"][upper])
        moved = np.flatnonzero(change)
        if not len(moved):
            return
        tables = self._tables + np.cumsum(change[moved])
        self._tables = int(tables[-1])
        at = int(tables.argmax())
        if tables[at] > self._tables_peak:
            self._tables_peak = int(tables[at])
            self.peak_event = int(batch.numbers[moved[at]]) + 1
            self._figures.peak_time = int(records["time"][moved[at]])
        self._figures.pte.add(records["time"][moved], tables.astype(np.float64) * _PAGE_KB)


def _is_table(entries: npt.NDArray[np.uint64]) -> Numbers:
    tables: Numbers = ((entries & (_PRESENT | _HUGE)) == _PRESENT).astype(np.int64)
    return tables


class _Tables:
    """Which PTE tables there are, and how many entries of each are not none."""

    KINDS = frozenset({"pte_alloc", "pte_free", "set_pte", "mm_page_free"})

    def __init__(self, trace: TraceFile) -> None:
        self._id = {desc.name: desc.id for desc in trace.descs}
        self._entries = np.zeros(1 << 10, dtype=np.int32)
        self.tables: dict[int, Table] = {}
        self.lives: list[Life] = []
        self._open: dict[int, Life] = {}

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        records = batch.records
        kind = records["id"]
        begin = 0
        for at in np.flatnonzero(kind != self._id["set_pte"]).tolist():
            self._set_ptes(records[begin:at])
            self._table_event(records[at])
            begin = at + 1
        self._set_ptes(records[begin:])

    def now(self) -> list[Table]:
        """A copy of what there is now, by mm and address."""
        tables = sorted(self.tables.values(), key=lambda table: (table.mm, table.address))
        return [Table(t.mm, t.address, t.pfn, self._count(t.pfn)) for t in tables]

    def _count(self, pfn: int) -> int:
        return int(self._entries[pfn]) if pfn < len(self._entries) else 0

    def _set_ptes(self, records: npt.NDArray[np.void]) -> None:
        sets = records[records["id"] == self._id["set_pte"]]
        if not len(sets):
            return
        pfns = (sets["d"] >> np.uint64(12)).astype(np.intp)
        if (most := int(pfns.max())) >= len(self._entries):
            self._entries = np.concatenate(
                [self._entries, np.zeros(max(most + 1, 2 * len(self._entries)), dtype=np.int32)]
            )
        change = (sets["c"] != 0).astype(np.int32) - (sets["b"] != 0).astype(np.int32)
        np.add.at(self._entries, pfns, change)

    def _table_event(self, record: np.void) -> None:
        kind, time = int(record["id"]), int(record["time"])
        if kind == self._id["mm_page_free"]:
            life = self._open.get(int(record["a"]))
            if life is not None and life.unhooked is not None:
                life.freed = time
                del self._open[life.pfn]
            return
        address, pfn, mm = int(record["a"]), int(record["b"]), int(record["c"])
        if kind == self._id["pte_alloc"]:
            self.tables[pfn] = Table(mm, address, pfn, 0)
            if pfn < len(self._entries):
                self._entries[pfn] = 0
            self._open[pfn] = Life(mm, address, pfn, time)
            self.lives.append(self._open[pfn])
        else:
            self.tables.pop(pfn, None)
            if pfn in self._open:
                self._open[pfn].unhooked = time


def follow_tables(
    trace: TraceFile, figures: Figures, peak: int | None, ends: Sequence[tuple[int, int]]
) -> None:
    """Go through the trace once more for the tables at event ``peak``, those of each mm before its
    end (event number, mm), and the life of each.
    """
    state = _Tables(trace)
    stops = sorted(ends if peak is None else [*ends, (peak, -1)])
    for batch in _split(trace, [number for number, _ in stops]):
        while stops and len(batch.numbers) and batch.numbers[0] >= stops[0][0]:
            _look(figures, state, stops.pop(0)[1])
        state.add(batch)
    for _, mm in stops:
        _look(figures, state, mm)
    figures.last += state.now()
    figures.lives = state.lives


def _look(figures: Figures, state: _Tables, mm: int) -> None:
    if mm < 0:
        figures.peak = state.now()
    else:
        figures.last += [table for table in state.now() if table.mm == mm]


def _split(trace: TraceFile, stops: list[int]) -> Iterator[Batch]:
    """The table events, in batches none of which has a stop inside."""
    for batch in trace.batches(Where(events=_Tables.KINDS)):
        cuts = np.searchsorted(batch.numbers, np.array(stops, dtype=np.uint64))
        begin = 0
        for cut in [*cuts.tolist(), len(batch.numbers)]:
            if cut > begin:
                yield Batch(batch.numbers[begin:cut], batch.records[begin:cut])
                begin = cut
