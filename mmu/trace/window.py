# SPDX-License-Identifier: GPL-2.0-or-later
"""Recording around what is of interest: from the Nth fault on, or near certain events only."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from mmu.trace.filter import Mask, Records

MAX_HELD: Final = 1 << 20
"""Events that are held back at most, to be recorded if something of interest follows."""


@dataclass
class Held:
    """A segment that waits for what follows it: which of its events are wanted so far."""

    first: int
    records: Records
    mask: Mask = field(init=False)

    def __post_init__(self) -> None:
        self.mask = np.zeros(len(self.records), dtype=np.bool_)


class FromNth:
    """Wants everything from event number ``nth`` (from 1) of these kinds on."""

    def __init__(self, kinds: Collection[int], nth: int) -> None:
        self._kinds = list(kinds)
        self._missing = nth

    def mask(self, records: Records) -> Mask:
        """Which of the next records are wanted."""
        wanted = np.ones(len(records), dtype=np.bool_)
        if self._missing > 0:
            found = np.isin(records["id"], self._kinds).nonzero()[0]
            if len(found) < self._missing:
                wanted[:] = False
            else:
                wanted[: found[self._missing - 1]] = False
            self._missing -= len(found)
        return wanted


class Near:
    """Wants what is near events of certain kinds.

    For each there is a number N of instructions: wanted is everything, on all CPUs, that was
    recorded from the first event that comes at most N instructions of its CPU before it to the last
    that comes at most N instructions after it.
    """

    def __init__(self, kinds: Sequence[tuple[Collection[int], int]]) -> None:
        self._kinds = [(list(numbers), near) for numbers, near in kinds]
        self._most = max(near for _, near in kinds)
        self._held: deque[Held] = deque()
        self._until: dict[int, int] = {}
        """By CPU: a window is open up to that instruction of its."""

    def add(self, first: int, records: Records) -> list[Held]:
        """Take the next records; returns those that nothing that follows can change."""
        held = Held(first, records)
        self._held.append(held)
        self._go_on(held)
        for kinds, near in self._kinds:
            found = np.isin(records["id"], kinds)
            for cpu in np.unique(records["cpu"][found]).tolist():
                self._open(held, found, near, cpu)
        return self._settled()

    def rest(self) -> list[Held]:
        """Everything that is still held."""
        held, self._held = list(self._held), deque()
        return held

    def _go_on(self, held: Held) -> None:
        """Want what the windows that are open reach."""
        for cpu, until in list(self._until.items()):
            after = _of(held.records, cpu) & (held.records["instruction"] > until)
            places = after.nonzero()[0]
            if len(places):
                held.mask[: places[0]] = True
                del self._until[cpu]
            else:
                held.mask[:] = True

    def _open(self, held: Held, found: Mask, near: int, cpu: int) -> None:
        places = _of(held.records, cpu).nonzero()[0]
        counts = held.records["instruction"][places].astype(np.int64)
        triggers = counts[found[places]]
        begins = np.searchsorted(counts, triggers - near)
        ends = np.searchsorted(counts, triggers + near, side="right")
        edges = np.zeros(len(held.records) + 1, dtype=np.int64)
        np.add.at(edges, places[begins], 1)
        closed = ends < len(places)
        np.add.at(edges, places[ends[closed]], -1)
        held.mask |= edges[:-1].cumsum() > 0
        if not closed.all():
            self._until[cpu] = max(self._until.get(cpu, 0), int(triggers.max()) + near)
        if begins[0] == 0:
            self._reach_back(held, cpu, int(triggers[0]) - near)

    def _reach_back(self, held: Held, cpu: int, begin: int) -> None:
        """Want what comes before the segment from instruction ``begin`` of the CPU on."""
        spans: list[tuple[Held, int]] = [(held, int(_of(held.records, cpu).nonzero()[0][0]))]
        found = None
        for earlier in reversed(list(self._held)[:-1]):
            places = _of(earlier.records, cpu).nonzero()[0]
            counts = earlier.records["instruction"][places].astype(np.int64)
            at = int(np.searchsorted(counts, begin))
            if at < len(places):
                found = len(spans)
                spans.append((earlier, int(places[at])))
            else:
                spans.append((earlier, 0))
            if at > 0:
                break
        if found is not None:
            held.mask[: spans[0][1]] = True
            for span in spans[1:found]:
                span[0].mask[:] = True
            spans[found][0].mask[spans[found][1] :] = True

    def _settled(self) -> list[Held]:
        out = []
        newest = self._newest()
        nr = sum(len(held.records) for held in self._held)
        while len(self._held) > 1 and (nr > MAX_HELD or self._is_far(self._held[0], newest)):
            out.append(self._held.popleft())
            nr -= len(out[-1].records)
        return out

    def _newest(self) -> dict[int, int]:
        newest: dict[int, int] = {}
        for held in self._held:
            for cpu, last in _last(held.records).items():
                newest[cpu] = last
        return newest

    def _is_far(self, held: Held, newest: Mapping[int, int]) -> bool:
        return all(last + self._most < newest[cpu] for cpu, last in _last(held.records).items())


def _of(records: Records, cpu: int) -> npt.NDArray[np.bool_]:
    wanted: npt.NDArray[np.bool_] = records["cpu"] == cpu
    return wanted


def _last(records: Records) -> dict[int, int]:
    """The last instruction of each CPU in the records."""
    out = {}
    for cpu in np.unique(records["cpu"]).tolist():
        out[cpu] = int(records["instruction"][_of(records, cpu)].max())
    return out
