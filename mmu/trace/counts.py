# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference counts of PTE tables at an event, and who held them, rebuilt from events alone.

A table's first count is 1, its installer's as a visitor; or 512, those of its entries, where a
deposited table is withdrawn. From then on ``pte_get`` and ``pte_put`` say each change, from what to
what, and whether the references are a visitor's or those of entries. A visitor puts what it got
itself, so what is held by visitors is, by task, what was got and not yet put, the last first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmu.events import EVENTS, EventDesc
from mmu.trace.tables import last, numbers_of
from mmu.trace.where import Where

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, TraceFile

CHANGES: Final = ("pte_get", "pte_put")
"""A count changes."""
VISITOR: Final = 0
"""``holder``: one who looks or writes."""
ENTRIES: Final = 1
"""``holder``: entries that are not none."""
POLICY: Final = 2
"""``holder``: the policy itself."""


@dataclass(frozen=True)
class Visitor:
    """One reference that a visitor holds: the task, its CPU, the kernel function, and the event
    since which it does.
    """

    task: int
    cpu: int
    site: str
    event: int


@dataclass
class Count:
    """The count of one table: ``count`` in all, None before the first change is known; ``entries``
    those of entries, ``kept`` those of the policy; the rest are ``visitors``, the last one last.
    """

    count: int | None = None
    entries: int = 0
    kept: int = 0
    visitors: list[Visitor] = field(default_factory=list)

    def change(self, old: int, new: int, holder: int, by: Visitor) -> None:
        """References were taken or dropped."""
        if self.count is None:
            self._begin(old, by)
        self.count = new
        if holder == ENTRIES:
            self.entries += new - old
        elif holder == POLICY:
            self.kept += new - old
        elif new > old:
            self.visitors += [by] * (new - old)
        else:
            for _ in range(old - new):
                self._leave(by.task)

    def _begin(self, old: int, by: Visitor) -> None:
        """The first change that is known: one reference before is the installer's."""
        if old == 1:
            self.visitors = [by]
        else:
            self.entries = old

    def _leave(self, task: int) -> None:
        """A visitor puts: the one that the task got last, else the last of all."""
        for at in range(len(self.visitors) - 1, -1, -1):
            if self.visitors[at].task == task:
                del self.visitors[at]
                return
        if self.visitors:
            self.visitors.pop()


_LIFE: Final = (*CHANGES, "mm_page_alloc")


class Counts:
    """The counts of all tables as the events so far left them: apply() each batch, in order.

    ``of`` is by frame, for tables whose count was ever told; one that is freed and handed out again
    begins anew.
    """

    def __init__(self, descs: Sequence[EventDesc] = EVENTS, sites: Sequence[str] = ("",)) -> None:
        self._sites = sites
        self._names = {desc.id: desc.name for desc in descs if desc.name in _LIFE}
        self._kinds = numbers_of(descs, *_LIFE)
        self.of: dict[int, Count] = {}

    def apply(self, batch: Batch) -> None:
        """Go on by these events."""
        at = np.flatnonzero(np.isin(batch.records["id"], self._kinds))
        for number, record in zip(
            batch.numbers[at].tolist(), batch.records[at].tolist(), strict=True
        ):
            self._apply(number, record)

    def _apply(self, number: int, record: tuple[int, ...]) -> None:
        kind, cpu, site, task, _, _, a, old, new, holder = record
        name = self._names[kind]
        if name == "mm_page_alloc":
            self.of.pop(a, None)
            return
        by = Visitor(task, cpu, self._sites[site] if site < len(self._sites) else "", number)
        self.of.setdefault(a, Count()).change(old, new, holder, by)


def allocated(trace: TraceFile, pfn: int, end: int) -> int | None:
    """The number of the event that handed frame ``pfn`` out last before event number ``end``; None
    if none did.
    """
    alloc = numbers_of(trace.descs, "mm_page_alloc")

    def matches(batch: Batch) -> npt.NDArray[np.bool_]:
        records = batch.records
        return np.asarray(np.isin(records["id"], alloc) & (records["a"] == np.uint64(pfn)))

    where = Where(events=frozenset(("mm_page_alloc",)), frames=frozenset((pfn,)), end=end)
    found = last(trace, where, matches)
    return None if found is None else int(found[0].numbers[found[1]])


def count_before(trace: TraceFile, pfn: int, end: int) -> Count | None:
    """The count of the table in frame ``pfn`` before event number ``end``, since the frame was last
    handed out; None if no event tells of it.
    """
    begin = allocated(trace, pfn, end)
    counts = Counts(trace.descs, trace.sites)
    where = Where(events=frozenset(CHANGES), frames=frozenset((pfn,)), begin=begin or 0, end=end)
    for batch in trace.batches(where):
        counts.apply(batch)
    return counts.of.get(pfn)
