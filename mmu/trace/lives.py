# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives of tables: from the allocation of a frame to the end of the grace period after it
was unhooked.

::

    mm_page_alloc, pte_alloc_one     a zeroed frame
    pte_alloc                        installed in a PMD entry: count 1
    pte_get, pte_put, set_pte ...    in use
    pte_put to 0, pte_free           taken out of its PMD entry
    flush_tlb_mm_range               no CPU holds what came through it
    rcu_callback                     handed to RCU
    rcu_invoke_callback              a grace period later: free

So is the life of a PMD or PUD table told where those are counted, by the events of its level; where
they are not, by the stores to entries alone.

A table that mremap moves is installed in another PMD entry meanwhile, and lives on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from mmu.trace.counts import allocated
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_PS, level_size

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile


class Level(NamedTuple):
    """What tables of a level are called in events; ``number`` is 1 for PTE tables.

    ``entries`` tells of a store to a table, ``hook`` of one to the entry that refers to it, whose
    address is the field ``place`` of ``alloc`` and ``free``.
    """

    number: int
    name: str
    alloc: str
    free: str
    place: str
    hook: str
    entries: str
    changes: tuple[str, str]

    @property
    def size(self) -> int:
        """Bytes of addresses that one table maps."""
        return level_size(self.number + 1)

    @property
    def events(self) -> frozenset[str]:
        """The kinds of event that tell the life of one."""
        own = {self.alloc, self.free, self.entries, *self.changes}
        return frozenset(_OF_ANY | own | (_OF_PTE if self.number == 1 else set()))


_OF_ANY: Final = {
    *("mm_page_alloc", "walk_set_ad", "rcu_callback", "rcu_invoke_callback", "mm_page_free")
}
_OF_PTE: Final = {"pte_alloc_one", "pte_tryget"}
LEVELS: Final = {
    name.lower(): Level(
        number,
        name,
        f"{name.lower()}_alloc",
        f"{name.lower()}_free",
        f"{above}_pa",
        f"set_{above}",
        f"set_{name.lower()}",
        (f"{name.lower()}_get", f"{name.lower()}_put"),
    )
    for number, name, above in ((1, "PTE", "pmd"), (2, "PMD", "pud"), (3, "PUD", "p4d"))
}
"""By name in small letters."""
PTE: Final = LEVELS["pte"]


def table_of(entry: int) -> int | None:
    """The frame of the table that an entry above PTEs refers to; None: to none."""
    if entry & (X86_P | X86_PS) != X86_P:
        return None
    return (entry & X86_ADDR_MASK) >> PAGE_SHIFT


@dataclass
class Stay:
    """A table's stay in one entry: in frame ``pfn``, for ``address``, in the entry at
    guest-physical ``entry_pa`` of ``mm`` (its PGD; None: no event tells).

    ``begin`` is the number of the event that installed it (None: before the trace), ``end`` that of
    the one that took it out (None: it is there at the end).
    """

    pfn: int
    address: int
    entry_pa: int
    mm: int | None = None
    begin: int | None = None
    end: int | None = None


def stays_at(trace: TraceFile, va: int, level: Level = PTE) -> list[Stay]:
    """Every table of the level that was ever installed for ``va``, of every mm, in order."""
    base = va & -level.size
    hooks = frozenset((level.alloc, level.free, level.hook))
    where = Where(events=hooks, addresses=((base, base + level.size),))
    stays: list[Stay] = []
    now: dict[int, Stay] = {}
    for one in trace.events(where):
        name = one.event.name
        if name == level.hook:
            _hooked(one, base, stays, now)
        elif name == level.alloc:
            _came(one, base, stays, now, level).mm = one.event["mm"]
        else:
            _went(one, base, stays, now, level).mm = one.event["mm"]
    return stays


def _stay(stays: list[Stay], now: dict[int, Stay], new: Stay) -> Stay:
    stays.append(new)
    now[new.entry_pa] = new
    return new


def _came(one: Numbered, base: int, stays: list[Stay], now: dict[int, Stay], level: Level) -> Stay:
    """The table was installed; the store may have told of it already."""
    pfn, entry_pa = one.event["pfn"], one.event[level.place]
    stay = now.get(entry_pa)
    if stay is None or stay.pfn != pfn:
        stay = _stay(stays, now, Stay(pfn, base, entry_pa, begin=one.number))
    return stay


def _went(one: Numbered, base: int, stays: list[Stay], now: dict[int, Stay], level: Level) -> Stay:
    """The table was taken out; the store may have told of it already, or may do so next."""
    pfn, entry_pa = one.event["pfn"], one.event[level.place]
    stay = now.pop(entry_pa, None)
    if stay is None or stay.pfn != pfn:
        ended = [s for s in stays if s.entry_pa == entry_pa and s.pfn == pfn]
        if ended:
            return ended[-1]
        stay = Stay(pfn, base, entry_pa)
        stays.append(stay)
    stay.end = one.number
    return stay


def _hooked(one: Numbered, base: int, stays: list[Stay], now: dict[int, Stay]) -> None:
    """An entry refers to another table now, or to none."""
    entry_pa = one.event["entry_pa"]
    old, new = table_of(one.event["old"]), table_of(one.event["new"])
    stay = now.get(entry_pa)
    if stay is not None and stay.pfn == new:
        return
    if stay is None and old is not None and not any(s.entry_pa == entry_pa for s in stays):
        stay = _stay(stays, now, Stay(old, base, entry_pa))
    if stay is not None and old == stay.pfn:
        stay.end = one.number
        del now[entry_pa]
    if new is not None:
        mms = [s.mm for s in stays if s.entry_pa >> PAGE_SHIFT == entry_pa >> PAGE_SHIFT]
        _stay(stays, now, Stay(new, base, entry_pa, mms[-1] if mms else None, one.number))


@dataclass
class Life:
    """One life of a table of a level: its frame, and its events from the allocation of the frame
    on, to the last before the frame is handed out again.

    ``breaks`` says in words where the chain of its counts breaks.
    """

    pfn: int
    level: Level = PTE
    events: list[Numbered] = field(default_factory=list)
    counts: list[tuple[int, int]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)

    def add(self, one: Numbered) -> None:
        """Its next event."""
        self.events.append(one)
        if one.event.name in self.level.changes:
            old, count = one.event["old"], one.event["count"]
            if self.counts and self.counts[-1][1] != old:
                self.breaks.append(
                    f"event {one.number} changes a count of {old}, where it was"
                    f" {self.counts[-1][1]}"
                )
            self.counts.append((old, count))

    def number_of(self, name: str) -> int | None:
        """The number of its last event of that kind; None: it has none."""
        numbers = [one.number for one in self.events if one.event.name == name]
        return numbers[-1] if numbers else None

    @property
    def is_table(self) -> bool:
        """Whether the frame was such a table in that life."""
        told = {self.level.alloc, "pte_alloc_one"} if self.level is PTE else {self.level.alloc}
        return any(one.event.name in told for one in self.events)


def life_at(trace: TraceFile, pfn: int, number: int, level: Level = PTE) -> Life:
    """The life in which frame ``pfn`` is at event ``number``."""
    begin = allocated(trace, pfn, number + 1) or 0
    life = Life(pfn, level)
    for one in _events_of(trace, pfn, begin, level):
        if one.event.name == "mm_page_alloc" and one.number > max(begin, number):
            break
        life.add(one)
    return life


def lives_of(trace: TraceFile, pfn: int, level: Level = PTE) -> Iterator[Life]:
    """Every life of frame ``pfn`` as a table of the level, in order."""
    life = Life(pfn, level)
    for one in _events_of(trace, pfn, 0, level):
        if one.event.name == "mm_page_alloc":
            if life.is_table:
                yield life
            life = Life(pfn, level)
        life.add(one)
    if life.is_table:
        yield life


def _events_of(trace: TraceFile, pfn: int, begin: int, level: Level) -> Iterator[Numbered]:
    """But for those of tables that came to, or went from, an entry in that frame."""
    where = Where(events=level.events, frames=frozenset((pfn,)), begin=begin)
    for one in trace.events(where):
        if one.event.name not in (level.alloc, level.free) or one.event["pfn"] == pfn:
            yield one


def hooks_of(trace: TraceFile, life: Life, address: int) -> list[Numbered]:
    """The stores to entries that hooked or unhooked the table in this life, that of ``address``
    among others: they name the frame in a value only, so they are looked for by address, or, if the
    table was moved, among all.
    """
    level = life.level
    places = {
        one.event["address"] & -level.size
        for one in life.events
        if one.event.name in (level.alloc, level.free)
    }
    base = address & -level.size
    unmoved = places <= {base} and life.number_of(level.free) is not None
    end = life.events[-1].number + 1 if life.number_of("mm_page_free") is not None else None
    where = Where(
        events=frozenset((level.hook,)),
        addresses=((base, base + level.size),) if unmoved else (),
        begin=life.events[0].number if life.events else 0,
        end=end,
    )
    return [
        one
        for one in trace.events(where)
        if life.pfn in (table_of(one.event["old"]), table_of(one.event["new"]))
    ]
