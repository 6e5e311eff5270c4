# SPDX-License-Identifier: GPL-2.0-or-later
"""Paging structures as they were at an event, rebuilt from events alone.

Every store to a paging structure is an event: the kernel's (``set_pte`` to ``set_pgd``) and the
processor's (``walk_set_ad``). A frame is zero when it becomes a table (``mm_page_alloc``), so the
stores that follow say all of it.

Tables knows every table, by going through the events from the first on. entry_before() looks for
one entry, from an event backwards: in a long trace it reads only what the index says is of its
table. A store to a table that no kernel of ours made (a guest's own, under attach()) is no event;
there ``walk_entry`` says what a walk last read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmu.events import EVENTS, EventDesc
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, TraceFile

SETS: Final = ("set_pte", "set_pmd", "set_pud", "set_p4d", "set_pgd")
"""The kernel's stores, from the lowest level up: d is where, c what is there now."""
_ENTRIES: Final = 512


def numbers_of(descs: Sequence[EventDesc], *names: str) -> npt.NDArray[np.uint8]:
    """The numbers that kinds of event have in a file; a name that it does not know has none."""
    return np.array([desc.id for desc in descs if desc.name in names], dtype=np.uint8)


class Tables:
    """All paging structures, as the events so far left them: apply() each batch, in order.

    ``descs`` are the event kinds of the file. Frames are guest-physical page numbers. A frame is
    known from the first store to it on, until it is allocated anew or freed.
    """

    def __init__(self, descs: Sequence[EventDesc] = EVENTS) -> None:
        self._set = numbers_of(descs, *SETS)
        self._set_ad = numbers_of(descs, "walk_set_ad")
        self._frames = numbers_of(descs, "mm_page_alloc", "mm_page_free")
        self._slot: dict[int, int] = {}
        self._free: list[int] = []
        self._words = np.zeros((64, _ENTRIES), dtype=np.uint64)

    @property
    def frames(self) -> list[int]:
        """The frames that are known, in order."""
        return sorted(self._slot)

    def table(self, pfn: int) -> npt.NDArray[np.uint64]:
        """The 512 entries of the table in a frame; all 0 if no store to it is known."""
        slot = self._slot.get(pfn)
        return np.zeros(_ENTRIES, dtype=np.uint64) if slot is None else self._words[slot]

    def read(self, pa: int) -> int:
        """The entry at a guest-physical address."""
        return int(self.table(pa >> PAGE_SHIFT)[(pa >> 3) % _ENTRIES])

    def apply(self, batch: Batch) -> None:
        """Go on by these events."""
        records = batch.records
        kinds = records["id"]
        by_kernel = np.isin(kinds, self._set)
        stores = by_kernel | np.isin(kinds, self._set_ad)
        renewed = np.flatnonzero(np.isin(kinds, self._frames))
        at = np.flatnonzero(stores)
        where = np.where(by_kernel[at], records["d"][at], records["b"][at])
        value = np.where(by_kernel[at], records["c"][at], records["d"][at])
        pfns = where >> np.uint64(PAGE_SHIFT)
        if len(renewed):
            last = self._renew(records, renewed, pfns)
            keep = at > last
            where, value, pfns = where[keep], value[keep], pfns[keep]
        if len(where):
            self._store(pfns, where, value)

    def _renew(
        self,
        records: npt.NDArray[np.void],
        renewed: npt.NDArray[np.intp],
        pfns: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.intp]:
        """Forget the frames that were handed out or taken back; for each store (of frame ``pfns``)
        the place in the batch of the last such event of its frame, -1 if there is none.
        """
        first = records["a"][renewed]
        order = records["b"][renewed]
        if order.any():
            count = np.left_shift(np.uint64(1), order).astype(np.intp)
            renewed = np.repeat(renewed, count)
            start = np.repeat(np.cumsum(count) - count, count)
            first = np.repeat(first, count) + (np.arange(len(renewed)) - start).astype(np.uint64)
        frames, reverse = np.unique(first[::-1], return_index=True)
        when = renewed[::-1][reverse]
        for pfn in self._slot.keys() & set(frames.tolist()):
            self._free.append(self._slot.pop(pfn))
        place = np.minimum(np.searchsorted(frames, pfns), len(frames) - 1)
        return np.where(frames[place] == pfns, when[place], -1)

    def _store(
        self,
        pfns: npt.NDArray[np.uint64],
        where: npt.NDArray[np.uint64],
        value: npt.NDArray[np.uint64],
    ) -> None:
        """Make these stores; of several to one entry the last one stays."""
        frames, which = np.unique(pfns, return_inverse=True)
        slots = np.array([self._slot_of(pfn) for pfn in frames.tolist()], dtype=np.intp)
        index = (where >> np.uint64(3) & np.uint64(_ENTRIES - 1)).astype(np.intp)
        self._words[slots[which], index] = value

    def _slot_of(self, pfn: int) -> int:
        slot = self._slot.get(pfn)
        if slot is None:
            slot = self._free.pop() if self._free else len(self._slot)
            if slot == len(self._words):
                self._words = np.concatenate([self._words, np.zeros_like(self._words)])
            self._words[slot] = 0
            self._slot[pfn] = slot
        return slot


@dataclass(frozen=True)
class Entry:
    """What an entry held: ``value``, as event ``number`` (a kind named ``event``) left or found
    it.
    """

    value: int
    number: int
    event: str


def last(
    trace: TraceFile, where: Where, matches: Callable[[Batch], npt.NDArray[np.bool_]]
) -> tuple[Batch, int] | None:
    """The last event that ``where`` and ``matches`` hold for: its batch and its place in that."""
    for batch in trace.batches(where, reverse=True):
        found = np.flatnonzero(matches(batch))
        if len(found):
            return batch, int(found[-1])
    return None


def entry_before(trace: TraceFile, pa: int, end: int) -> Entry | None:
    """The paging-structure entry at guest-physical ``pa``, before event number ``end``, by the last
    store to it; None if no event tells.
    """
    by_kernel = numbers_of(trace.descs, *SETS)
    set_ad = numbers_of(trace.descs, "walk_set_ad")
    alloc = numbers_of(trace.descs, "mm_page_alloc")
    pfn = pa >> PAGE_SHIFT

    def matches(batch: Batch) -> npt.NDArray[np.bool_]:
        records = batch.records
        kinds = records["id"]
        stored = np.isin(kinds, by_kernel) & (records["d"] == np.uint64(pa))
        walked = np.isin(kinds, set_ad) & (records["b"] == np.uint64(pa))
        made = np.isin(kinds, alloc) & (records["a"] == np.uint64(pfn))
        return np.asarray(stored | walked | made)

    names = frozenset((*SETS, "walk_set_ad", "mm_page_alloc"))
    found = last(trace, Where(events=names, frames=frozenset((pfn,)), end=end), matches)
    return None if found is None else _entry_of(trace, *found)


def entry_read_before(trace: TraceFile, pa: int, reach: tuple[int, int], end: int) -> Entry | None:
    """The same by the last walk that read or changed it, for an address of its ``reach`` [begin,
    end).
    """
    kinds = numbers_of(trace.descs, "walk_entry", "walk_set_ad")

    def matches(batch: Batch) -> npt.NDArray[np.bool_]:
        records = batch.records
        return np.asarray(np.isin(records["id"], kinds) & (records["b"] == np.uint64(pa)))

    names = frozenset(("walk_entry", "walk_set_ad"))
    found = last(trace, Where(events=names, addresses=(reach,), end=end), matches)
    return None if found is None else _entry_of(trace, *found)


def _entry_of(trace: TraceFile, batch: Batch, at: int) -> Entry:
    record = batch.records[at]
    name = trace.descs[int(record["id"])].name
    field = {"mm_page_alloc": None, "walk_set_ad": "d"}.get(name, "c")
    return Entry(0 if field is None else int(record[field]), int(batch.numbers[at]), name)


def rebuild(trace: TraceFile, end: int, batches: Iterable[Batch] | None = None) -> Tables:
    """All tables before event number ``end``. ``batches`` are the events to go through, if not all
    of ``trace``.
    """
    tables = Tables(trace.descs)
    names = frozenset((*SETS, "walk_set_ad", "mm_page_alloc", "mm_page_free"))
    for batch in trace.batches(Where(events=names, end=end)) if batches is None else batches:
        tables.apply(batch)
    return tables
