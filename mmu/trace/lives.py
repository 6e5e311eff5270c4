# SPDX-License-Identifier: GPL-2.0-or-later
"""The lives of PTE tables: from the allocation of a frame to the end of the grace period after it
was unhooked.

::

    mm_page_alloc, pte_alloc_one     a zeroed frame
    pte_alloc                        installed in a PMD entry: count 1
    pte_get, pte_put, set_pte ...    in use
    pte_put to 0, pte_free           taken out of its PMD entry
    flush_tlb_mm_range               no CPU holds what came through it
    rcu_callback                     handed to RCU
    rcu_invoke_callback              a grace period later: free

A table that mremap moves is installed in another PMD entry meanwhile, and lives on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mmu.trace.counts import CHANGES, allocated
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_PS, level_size

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile

OF_A_TABLE: Final = (
    "mm_page_alloc",
    "pte_alloc_one",
    "pte_alloc",
    *CHANGES,
    "pte_tryget",
    "set_pte",
    "walk_set_ad",
    "pte_free",
    "rcu_callback",
    "rcu_invoke_callback",
    "mm_page_free",
)
"""The kinds of event that tell a table's life."""
_HOOKS: Final = ("pte_alloc", "pte_free", "set_pmd")


def table_of(pmd: int) -> int | None:
    """The frame of the PTE table that a PMD entry refers to; None: to none."""
    if pmd & (X86_P | X86_PS) != X86_P:
        return None
    return (pmd & X86_ADDR_MASK) >> PAGE_SHIFT


@dataclass
class Stay:
    """A PTE table's stay in one PMD entry: in frame ``pfn``, for ``address``, in the PMD entry at
    guest-physical ``pmd_pa`` of ``mm`` (its PGD; None: no event tells).

    ``begin`` is the number of the event that installed it (None: before the trace), ``end`` that of
    the one that took it out (None: it is there at the end).
    """

    pfn: int
    address: int
    pmd_pa: int
    mm: int | None = None
    begin: int | None = None
    end: int | None = None


def stays_at(trace: TraceFile, va: int) -> list[Stay]:
    """Every PTE table that was ever installed for ``va``, of every mm, in order."""
    size = level_size(2)
    base = va & -size
    where = Where(events=frozenset(_HOOKS), addresses=((base, base + size),))
    stays: list[Stay] = []
    now: dict[int, Stay] = {}
    for one in trace.events(where):
        name = one.event.name
        if name == "set_pmd":
            _set_pmd(one, base, stays, now)
        elif name == "pte_alloc":
            _came(one, base, stays, now).mm = one.event["mm"]
        else:
            _went(one, base, stays, now).mm = one.event["mm"]
    return stays


def _stay(stays: list[Stay], now: dict[int, Stay], new: Stay) -> Stay:
    stays.append(new)
    now[new.pmd_pa] = new
    return new


def _came(one: Numbered, base: int, stays: list[Stay], now: dict[int, Stay]) -> Stay:
    """pte_alloc; set_pmd may have told of it already."""
    pfn, pmd_pa = one.event["pfn"], one.event["pmd_pa"]
    stay = now.get(pmd_pa)
    if stay is None or stay.pfn != pfn:
        stay = _stay(stays, now, Stay(pfn, base, pmd_pa, begin=one.number))
    return stay


def _went(one: Numbered, base: int, stays: list[Stay], now: dict[int, Stay]) -> Stay:
    """pte_free; set_pmd may have told of it already, or may do so next."""
    pfn, pmd_pa = one.event["pfn"], one.event["pmd_pa"]
    stay = now.pop(pmd_pa, None)
    if stay is None or stay.pfn != pfn:
        ended = [s for s in stays if s.pmd_pa == pmd_pa and s.pfn == pfn]
        if ended:
            return ended[-1]
        stay = Stay(pfn, base, pmd_pa)
        stays.append(stay)
    stay.end = one.number
    return stay


def _set_pmd(one: Numbered, base: int, stays: list[Stay], now: dict[int, Stay]) -> None:
    """A PMD entry refers to another table now, or to none."""
    pmd_pa = one.event["entry_pa"]
    old, new = table_of(one.event["old"]), table_of(one.event["new"])
    stay = now.get(pmd_pa)
    if stay is not None and stay.pfn == new:
        return
    if stay is None and old is not None and not any(s.pmd_pa == pmd_pa for s in stays):
        stay = _stay(stays, now, Stay(old, base, pmd_pa))
    if stay is not None and old == stay.pfn:
        stay.end = one.number
        del now[pmd_pa]
    if new is not None:
        mms = [s.mm for s in stays if s.pmd_pa >> PAGE_SHIFT == pmd_pa >> PAGE_SHIFT]
        _stay(stays, now, Stay(new, base, pmd_pa, mms[-1] if mms else None, one.number))


@dataclass
class Life:
    """One life of a PTE table: its frame, and its events from the allocation of the frame on, to
    the last before the frame is handed out again.

    ``breaks`` says in words where the chain of its counts breaks.
    """

    pfn: int
    events: list[Numbered] = field(default_factory=list)
    counts: list[tuple[int, int]] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)

    def add(self, one: Numbered) -> None:
        """Its next event."""
        self.events.append(one)
        if one.event.name in CHANGES:
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
        """Whether the frame was a PTE table in that life."""
        return any(one.event.name in ("pte_alloc_one", "pte_alloc") for one in self.events)


def life_at(trace: TraceFile, pfn: int, number: int) -> Life:
    """The life in which frame ``pfn`` is at event ``number``."""
    begin = allocated(trace, pfn, number + 1) or 0
    life = Life(pfn)
    for one in _events_of(trace, pfn, begin):
        if one.event.name == "mm_page_alloc" and one.number > max(begin, number):
            break
        life.add(one)
    return life


def lives_of(trace: TraceFile, pfn: int) -> Iterator[Life]:
    """Every life of frame ``pfn`` as a PTE table, in order."""
    life = Life(pfn)
    for one in _events_of(trace, pfn, 0):
        if one.event.name == "mm_page_alloc":
            if life.is_table:
                yield life
            life = Life(pfn)
        life.add(one)
    if life.is_table:
        yield life


def _events_of(trace: TraceFile, pfn: int, begin: int) -> Iterator[Numbered]:
    """But for those of PTE tables that came to, or went from, an entry in that frame."""
    where = Where(events=frozenset(OF_A_TABLE), frames=frozenset((pfn,)), begin=begin)
    for one in trace.events(where):
        if one.event.name not in ("pte_alloc", "pte_free") or one.event["pfn"] == pfn:
            yield one


def hooks_of(trace: TraceFile, life: Life, address: int) -> list[Numbered]:
    """The stores to PMD entries that hooked or unhooked the table in this life, that of ``address``
    among others: they name the frame in a value only, so they are looked for by address, or, if the
    table was moved, among all.
    """
    size = level_size(2)
    places = {
        one.event["address"] & -size
        for one in life.events
        if one.event.name in ("pte_alloc", "pte_free")
    }
    base = address & -size
    unmoved = places <= {base} and life.number_of("pte_free") is not None
    end = life.events[-1].number + 1 if life.number_of("mm_page_free") is not None else None
    where = Where(
        events=frozenset(("set_pmd",)),
        addresses=((base, base + size),) if unmoved else (),
        begin=life.events[0].number if life.events else 0,
        end=end,
    )
    return [
        one
        for one in trace.events(where)
        if life.pfn in (table_of(one.event["old"]), table_of(one.event["new"]))
    ]
