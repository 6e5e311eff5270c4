# SPDX-License-Identifier: GPL-2.0-or-later
"""What each CPU's TLB and paging-structure caches held at an event, rebuilt from events alone.

Every entry that comes into an array, or leaves it, is an event: ``tlb_fill``, ``tlb_evict``,
``tlb_drop`` and their ``walk_cache_`` kin. What a place holds is what was last entered there, if
nothing took it out since. native/trace/ring.h draws the word in which they say where and as what.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mmu._native import lib
from mmu.events import EVENTS, EventDesc
from mmu.trace.tables import numbers_of
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86.entries import vpn_of
from mmu.x86.tlb import TLB_DIRTY, TLB_GLOBAL, TLB_RW, TLB_SHSTK, TLB_US, TLB_XD

if TYPE_CHECKING:
    from mmu.trace.reader import Batch, TraceFile

COMES: Final = ("tlb_fill", "walk_cache_fill")
"""An entry comes into an array."""
GOES: Final = ("tlb_evict", "tlb_drop", "walk_cache_evict", "walk_cache_drop")
"""An entry leaves one."""
_TABLES: Final = ("walk_cache_fill", "walk_cache_evict", "walk_cache_drop")
_SLOT_MASK: Final = 0xFFFF
_TOP_LEVEL: Final = 5


@dataclass(frozen=True)
class Cached:
    """One resident entry.

    ``slot`` is its place among those of all arrays of CPU ``cpu``, ``array`` the number of its
    array; ``va`` and ``pa`` where its page begins, or with ``table`` where its reach begins and
    which paging structure it leads to. ``level`` and the rest are those of ``struct tlb_entry``
    (native/x86/state.h); ``event`` is the number of the event that entered it.
    """

    cpu: int
    slot: int
    array: int
    table: bool
    va: int
    pa: int
    level: int
    page_level: int
    pcid: int
    pat: int
    pkey: int
    flags: int
    event: int

    @property
    def is_global(self) -> bool:
        """Whether it serves every PCID."""
        return bool(self.flags & TLB_GLOBAL)

    @property
    def rights(self) -> str:
        """Its combined rights, and D and G, as letters: w u x d g, and s of a shadow stack."""
        on = (
            ("w", self.flags & TLB_RW),
            ("u", self.flags & TLB_US),
            ("x", not self.flags & TLB_XD),
            ("d", self.flags & TLB_DIRTY),
            ("g", self.flags & TLB_GLOBAL),
        )
        letters = "".join(letter if bit else "-" for letter, bit in on)
        return letters + "s" if self.flags & TLB_SHSTK else letters


def _bits(word: int, shift: int, width: int) -> int:
    return word >> shift & (1 << width) - 1


def _cached(record: npt.NDArray[np.void], number: int, table: bool) -> Cached:
    word = int(record["d"])
    return Cached(
        cpu=int(record["cpu"]),
        slot=_bits(word, lib.EVENT_ENTRY_SLOT_SHIFT, 16),
        array=int(record["c"]),
        table=table,
        va=int(record["a"]),
        pa=int(record["b"]),
        level=_bits(word, lib.EVENT_ENTRY_LEVEL_SHIFT, 4),
        page_level=_bits(word, lib.EVENT_ENTRY_PAGE_LEVEL_SHIFT, 4),
        pcid=_bits(word, lib.EVENT_ENTRY_PCID_SHIFT, 12),
        pat=_bits(word, lib.EVENT_ENTRY_PAT_SHIFT, 4),
        pkey=_bits(word, lib.EVENT_ENTRY_PKEY_SHIFT, 8),
        flags=_bits(word, lib.EVENT_ENTRY_FLAGS_SHIFT, 16),
        event=number,
    )


class Tlbs:
    """The arrays of every CPU as the events so far left them: apply() each batch, in order."""

    def __init__(self, descs: Sequence[EventDesc] = EVENTS) -> None:
        self._kinds = numbers_of(descs, *COMES, *GOES)
        self._comes = numbers_of(descs, *COMES)
        self._tables = numbers_of(descs, *_TABLES)
        self._held: dict[int, Cached] = {}

    def apply(self, batch: Batch) -> None:
        """Go on by these events."""
        at = np.flatnonzero(np.isin(batch.records["id"], self._kinds))
        if not len(at):
            return
        records = batch.records[at]
        for number in _last_of_each(_places(records)):
            self._place(records[number], int(batch.numbers[at[number]]))

    def _place(self, record: npt.NDArray[np.void], number: int) -> None:
        cpu, slot = int(record["cpu"]), int(record["d"]) & _SLOT_MASK
        if record["id"] in self._comes:
            cached = _cached(record, number, bool(record["id"] in self._tables))
            self._held[cpu << 16 | slot] = cached
        else:
            self._held.pop(cpu << 16 | slot, None)

    def entries(self, cpu: int) -> list[Cached]:
        """What is resident on a CPU, in order of place."""
        return [self._held[key] for key in sorted(self._held) if key >> 16 == cpu]


def _places(records: npt.NDArray[np.void]) -> npt.NDArray[np.uint64]:
    """CPU and place of each entry that comes or goes, as one number."""
    slots = records["d"] & np.uint64(_SLOT_MASK)
    return np.asarray(records["cpu"].astype(np.uint64) << np.uint64(16) | slots)


def _last_of_each(keys: npt.NDArray[np.uint64]) -> list[int]:
    """Where each key stands for the last time."""
    _, reverse = np.unique(keys[::-1], return_index=True)
    return [len(keys) - 1 - int(at) for at in reverse]


def cached_before(trace: TraceFile, va: int, end: int) -> list[Cached]:
    """What the CPUs held for an address before event number ``end``: its page in each size, and the
    paging-structure-cache entries on the way to it; by CPU and place.
    """
    bases = {vpn_of(va, level) << PAGE_SHIFT for level in range(1, _TOP_LEVEL + 1)}
    wanted = np.array(sorted(bases), dtype=np.uint64)
    where = Where(
        events=frozenset(COMES + GOES),
        addresses=tuple((base, base + PAGE_SIZE) for base in sorted(bases)),
        end=end,
    )
    comes = numbers_of(trace.descs, *COMES)
    tables = numbers_of(trace.descs, *_TABLES)
    seen: set[int] = set()
    held: list[Cached] = []
    for batch in trace.batches(where, reverse=True):
        at = np.flatnonzero(np.isin(batch.records["a"], wanted))
        records = batch.records[at]
        places = _places(records)
        for number in _last_of_each(places):
            place = int(places[number])
            if place in seen:
                continue
            seen.add(place)
            record = records[number]
            if record["id"] in comes:
                event = int(batch.numbers[at[number]])
                held.append(_cached(record, event, bool(record["id"] in tables)))
    serves = (c for c in held if c.va == vpn_of(va, c.level) << PAGE_SHIFT)
    return sorted(serves, key=lambda c: (c.cpu, c.slot))


def rebuild(trace: TraceFile, end: int, batches: Iterable[Batch] | None = None) -> Tlbs:
    """Everything resident before event number ``end``. ``batches`` are the events to go through, if
    not all of ``trace``.
    """
    tlbs = Tlbs(trace.descs)
    where = Where(events=frozenset(COMES + GOES), end=end)
    for batch in trace.batches(where) if batches is None else batches:
        tlbs.apply(batch)
    return tlbs
