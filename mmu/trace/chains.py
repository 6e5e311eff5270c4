# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the reference counts that events tell are one unbroken chain for each PTE table.

::

    pte_alloc   pte_get  pte_get  pte_put  ...  pte_put   pte_free
       1          1->2     2->4     4->3          1->0       0

A table begins at 1, its installer's reference; each change begins where the last one ended; it is
taken out of its PMD entry at 0, and its frame is free only after that. Under the policies that do
not count there is no chain, and nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmu.events import EventDesc
from mmu.trace.where import Where

if TYPE_CHECKING:
    from mmu.trace.filter import Records
    from mmu.trace.reader import Batch, TraceFile

Numbers = npt.NDArray[np.int64]

EVENTS: Final = ("pte_alloc", "pte_get", "pte_put", "pte_free", "mm_page_free")
"""The kinds of event that chains are made of."""

_NO_TABLE: Final = -1  # the count of what is no table


@dataclass(frozen=True)
class Break:
    """A table, in frame ``pfn``, whose chain breaks at ``event``, a ``kind`` of event, by their
    number: its count was ``old`` there and ``expected`` after ``before``. None for an event: the
    trace begins there, or ends. None for a count: it was no table.
    """

    pfn: int
    kind: str
    event: int | None
    old: int | None
    before: int | None
    expected: int | None

    def __str__(self) -> str:
        """One line."""
        was = "no table" if self.expected is None else f"a count of {self.expected}"
        since = "at the beginning" if self.before is None else f"after event {self.before}"
        table = f"the PTE table in frame {self.pfn:#x}"
        if self.event is None:
            return f"{table} has {was} {since} and is not freed by the end"
        says = "no table" if self.old is None else f"a count of {self.old}"
        return f"{table}: event {self.event}, {self.kind}, says {says}; {since} there was {was}"


class Chains:
    """Follows the chains of all tables: feed() each batch of a trace, in order, from its beginning.

    ``breaks`` are the breaks so far; ``tables`` how many tables there were, ``changes`` how often
    their counts changed.
    """

    def __init__(self, descs: Sequence[EventDesc]) -> None:
        self.breaks: list[Break] = []
        self.tables = self.changes = 0
        self._kinds = {desc.name: desc.id for desc in descs if desc.name in EVENTS}
        self._names = {number: name for name, number in self._kinds.items()}
        self._now: dict[int, tuple[int, int]] = {}  # count of each table, and the event it is of

    def feed(self, batch: Batch) -> None:
        """Go on by these events."""
        mine = np.isin(batch.records["id"], list(self._kinds.values()))
        records, numbers = batch.records[mine], batch.numbers[mine].astype(np.int64)
        if not len(records):
            return
        pfn, old, new = self._changes(records)
        order = np.argsort(pfn, kind="stable")
        pfn, old, new, numbers = pfn[order], old[order], new[order], numbers[order]
        first = np.concatenate([[True], pfn[1:] != pfn[:-1]])
        expected = np.concatenate([[_NO_TABLE], new[:-1]])
        before = np.concatenate([[-1], numbers[:-1]])
        for at in np.flatnonzero(first).tolist():
            expected[at], before[at] = self._now.get(int(pfn[at]), (_NO_TABLE, -1))
        for at in np.flatnonzero(old != expected).tolist():
            name = self._names[int(records["id"][order[at]])]
            self.breaks.append(
                Break(
                    *(int(pfn[at]), name, int(numbers[at]), _count(old[at])),
                    *(None if before[at] < 0 else int(before[at]), _count(expected[at])),
                )
            )
        self._remember(pfn, new, numbers)

    def _changes(self, records: Records) -> tuple[Numbers, Numbers, Numbers]:
        """Of each event the frame of the table, and its count before and after."""
        of = {name: records["id"] == number for name, number in self._kinds.items()}
        counted = of["pte_get"] | of["pte_put"]
        in_b = of["pte_alloc"] | of["pte_free"]
        self.tables += int(of["pte_alloc"].sum())
        self.changes += int(counted.sum())
        pfn = np.where(in_b, records["b"], records["a"]).astype(np.int64)
        old = np.full(len(records), _NO_TABLE, dtype=np.int64)
        new = old.copy()
        new[of["pte_alloc"]] = 1
        old[of["pte_free"]] = 0
        old[counted] = records["b"][counted]
        new[counted] = records["c"][counted]
        return pfn, old, new

    def _remember(self, pfn: Numbers, new: Numbers, numbers: Numbers) -> None:
        last = np.concatenate([pfn[1:] != pfn[:-1], [True]])
        rows = zip(pfn[last].tolist(), new[last].tolist(), numbers[last].tolist(), strict=True)
        for frame, count, number in rows:
            if count == _NO_TABLE:
                self._now.pop(frame, None)
            else:
                self._now[frame] = count, number

    def unfinished(self) -> list[Break]:
        """The tables that are not freed yet: what is wrong at the end of a whole run."""
        return [
            Break(pfn, "", None, None, number, count)
            for pfn, (count, number) in sorted(self._now.items())
        ]

    @property
    def is_counted(self) -> bool:
        """Whether any count changed: under the policies that do not count none does."""
        return self.changes > 0


def _count(value: np.int64) -> int | None:
    return None if value == _NO_TABLE else int(value)


def broken_chains(
    descs: Sequence[EventDesc], batches: Iterable[Batch], *, whole: bool = True
) -> list[Break]:
    """Every break, in order of frames within a batch; with ``whole`` a table that is left is one
    too. Of a policy that does not count: none.
    """
    chains = Chains(descs)
    for batch in batches:
        chains.feed(batch)
    if not chains.is_counted:
        return []
    return chains.breaks + (chains.unfinished() if whole else [])


def check_chains(trace: TraceFile) -> list[Break]:
    """broken_chains() of a trace; if it ends early, tables may be left.

    All of EVENTS must have been recorded, from the beginning of the run on: what a filter or a
    limit left out is found as a break.
    """
    batches = trace.batches(Where(events=frozenset(EVENTS)))
    found = Chains(trace.descs)
    for batch in batches:
        found.feed(batch)
    if not found.is_counted:
        return []
    return found.breaks + ([] if trace.torn or trace.summary is None else found.unfinished())
