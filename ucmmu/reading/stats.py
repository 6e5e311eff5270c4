# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu stats``: counters rebuilt from a trace's events, in all or by group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mmu.trace.counters import CounterReader
from ucmmu.event_filter import EventFilter
from ucmmu.reading.attribution import U64
from ucmmu.reading.groups import NONE, Codes, Grouping, Whole
from ucmmu.reading.selection import Progress, attributed, batches

if TYPE_CHECKING:
    from mmu.events import EventDesc
    from mmu.trace.reader import Batch, TraceFile

Counts = dict[str, int]
"""Values of counters, and of events by ``event:NAME``."""


@dataclass(frozen=True)
class Group:
    """One group: its name, and its counters; those that are 0 are left out."""

    label: str
    counts: Counts

    def __getitem__(self, name: str) -> int:
        """A counter's value."""
        return self.counts.get(name, 0)

    def sum(self, *names: str) -> int:
        """The values of several counters together."""
        return sum(self[name] for name in names)


class _Table:
    """Sums by counter and group, in arrays that grow with the number of groups.

    The groups of each name are kept sorted; ``only`` these names are summed, if there are any.
    """

    def __init__(self, only: frozenset[str] = frozenset()) -> None:
        self._only = only
        self._sums: dict[str, tuple[Codes, npt.NDArray[np.int64]]] = {}

    def add(self, name: str, codes: Codes, amounts: npt.NDArray[np.int64] | None) -> None:
        if self._only and name not in self._only:
            return
        if amounts is None:
            groups, sums = np.unique(codes, return_counts=True)
        else:
            groups, places = np.unique(codes, return_inverse=True)
            sums = np.zeros(len(groups), dtype=np.int64)
            np.add.at(sums, places, amounts)
        if name in self._sums:
            groups, sums = _merged(*self._sums[name], groups, sums)
        self._sums[name] = groups, sums.astype(np.int64)

    def rows(self, order: Sequence[str] = (), top: int = 0) -> Iterator[tuple[int, Counts]]:
        """Each group and its sums, in the order of the groups' numbers; with ``order`` those with
        the most of these names together first, and with ``top`` only so many.
        """
        groups, ranks = self._ranked(order)
        if order:
            best = np.lexsort((groups, -ranks))
            groups = groups[best]
        if top:
            groups = groups[:top]
        for group in groups.tolist():
            counts = {}
            for name, (its, sums) in self._sums.items():
                at = int(np.searchsorted(its, group))
                if at < len(its) and its[at] == group and sums[at]:
                    counts[name] = int(sums[at])
            yield group, counts

    def _ranked(self, order: Sequence[str]) -> tuple[Codes, npt.NDArray[np.int64]]:
        """All groups, and the sums by which they are put in order."""
        known = [groups for groups, _ in self._sums.values()]
        every = np.unique(np.concatenate(known)) if known else np.zeros(0, dtype=np.int64)
        ranks = np.zeros(len(every), dtype=np.int64)
        for name in order:
            if name in self._sums:
                groups, sums = self._sums[name]
                ranks[np.searchsorted(every, groups)] += sums
        return every, ranks


def _merged(
    groups: Codes, sums: npt.NDArray[np.int64], more: Codes, amounts: npt.NDArray[np.int64]
) -> tuple[Codes, npt.NDArray[np.int64]]:
    place = np.searchsorted(groups, more)
    known = place < len(groups)
    known[known] = groups[place[known]] == more[known]
    sums[place[known]] += amounts[known]
    if known.all():
        return groups, sums
    groups = np.concatenate([groups, more[~known]])
    sums = np.concatenate([sums, amounts[~known]])
    order = np.argsort(groups, kind="stable")
    return groups[order], sums[order]


def count(
    trace: TraceFile,
    wanted: EventFilter,
    grouping: Grouping | None = None,
    *,
    order: Sequence[str] = (),
    top: int = 0,
    progress: Progress | None = None,
) -> list[Group]:
    """The counters of the events that are wanted, by group (None: of all together); see
    _Table.rows() for ``order`` and ``top``.
    """
    by = grouping or Whole(trace)
    table = _Table(by.only)
    reader = CounterReader(trace)
    kinds = _EventCounts(trace.descs)
    for batch, ips in _read(trace, wanted, by.needs_ip, progress):
        codes = by.codes(batch, ips)
        if not by.only:
            for counted in reader.feed(batch):
                _add(table, counted.name, codes[counted.positions], counted.amounts)
        kinds.add(table, batch, codes)
    return [Group(by.label(code), counts) for code, counts in table.rows(order, top)]


def _read(
    trace: TraceFile, wanted: EventFilter, needs_ip: bool, progress: Progress | None
) -> Iterator[tuple[Batch, U64]]:
    if needs_ip:
        yield from attributed(trace, wanted, progress)
        return
    for batch in batches(trace, wanted, progress):
        yield batch, np.zeros(0, dtype=np.uint64)


def _add(table: _Table, name: str, codes: Codes, amounts: npt.NDArray[np.int64] | None) -> None:
    inside = codes != NONE
    if not inside.all():
        codes = codes[inside]
        amounts = None if amounts is None else amounts[inside]
    if len(codes):
        table.add(name, codes, amounts)


class _EventCounts:
    """How many events of each kind there are, and what is summed of them beside counters."""

    def __init__(self, descs: list[EventDesc]) -> None:
        self._descs = descs

    def add(self, table: _Table, batch: Batch, codes: Codes) -> None:
        ids = batch.records["id"]
        for kind in np.flatnonzero(np.bincount(ids, minlength=256)).tolist():
            desc = self._descs[kind]
            own = batch.records[ids == kind]
            _add(table, f"event:{desc.name}", codes[ids == kind], None)
            if desc.name == "sys_exit":
                failed = own["b"] > np.uint64(_LARGEST_RESULT)
                _add(table, "sys_exit.errors", codes[ids == kind][failed], None)


_LARGEST_RESULT: Final = (1 << 64) - 4096


@dataclass(frozen=True)
class ArrayStats:
    """What became of one TLB array or paging-structure cache."""

    name: str
    kind: str
    entries: int
    hits: int = 0
    fills: int = 0
    evictions: int = 0
    drops: int = 0


_ARRAY_EVENTS: Final = {
    "tlb_hit": "hits",
    "tlb_fill": "fills",
    "tlb_evict": "evictions",
    "tlb_drop": "drops",
    "walk_cache_hit": "hits",
    "walk_cache_fill": "fills",
    "walk_cache_evict": "evictions",
    "walk_cache_drop": "drops",
}


def count_arrays(
    trace: TraceFile, wanted: EventFilter, progress: Progress | None = None
) -> tuple[list[ArrayStats], Group]:
    """What became of each array: hits, fills, evictions and drops, of all CPUs together; and all
    counters.
    """
    arrays = [dict(array) for array in trace.head.get("arrays", [])]
    firsts = np.array([int(array["first"]) for array in arrays], dtype=np.int64)
    sums = {what: np.zeros(len(arrays) + 1, dtype=np.int64) for what in _ARRAY_EVENTS.values()}
    table = _Table()
    reader = CounterReader(trace)
    for batch in batches(trace, wanted, progress):
        for counted in reader.feed(batch):
            _add(table, counted.name, np.zeros(len(counted.positions), np.int64), counted.amounts)
        for name, what in _ARRAY_EVENTS.items():
            number = _array_numbers(trace.descs, batch, name, firsts)
            if number is not None:
                known = np.minimum(number, len(arrays))
                sums[what] += np.bincount(known, minlength=len(arrays) + 1)
    found = [
        ArrayStats(
            name=str(array["name"]),
            kind=str(array.get("kind", "")),
            entries=int(array["sets"]) * int(array["ways"]),
            **{what: int(sums[what][at]) for what in sums},
        )
        for at, array in enumerate(arrays)
    ]
    return found, Group("all", dict(table.rows()).get(0, {}))


def _array_numbers(
    descs: list[EventDesc], batch: Batch, name: str, firsts: Codes
) -> npt.NDArray[np.int64] | None:
    """The array of each event of that name: its field ``array``, or that of its ``slot``."""
    for desc in descs:
        if desc.name == name:
            own = batch.records[batch.records["id"] == desc.id]
            if not len(own):
                return None
            if "array" in desc.fields:
                number: Codes = own["abcd"[desc.fields.index("array")]].astype(np.int64)
                return number
            slot = own["abcd"[desc.fields.index("slot")]].astype(np.int64)
            holding: Codes = np.searchsorted(firsts, slot, side="right") - 1
            return holding
    return None


def differences(trace: TraceFile, total: Group) -> dict[str, tuple[int, int]]:
    """Counters that the events give and the run's own report gives otherwise: both values."""
    report: dict[str, Any] = trace.summary or {}
    own = {
        name: int(value)
        for key in ("counters", "mm_counters", "kernel_counters")
        for name, value in (report.get(key) or {}).items()
    }
    return {name: (total[name], value) for name, value in own.items() if total[name] != value}
