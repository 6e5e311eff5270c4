# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what the caches hold and what was counted follows from the events alone.

Each entry that enters or leaves a TLB array or a paging-structure cache has an event, with its
place and what it holds. Whoever reads the events from the start knows every array, entry by entry,
at any time; and the counters of the MMU, which count what the events tell.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.events import Event, EventRing
from mmu.x86 import Geometry, Mmu, list_geometries
from mmu.x86.entries import X86_RW
from mmu.x86.tlb import TLB_TABLE, TLB_VALID, first_level
from mmu.x86.walk import Access
from tests.x86.twins import TORTURE, Op, Twins, script
from ucmmu.testing.tables import USER, VA, Tables

if TYPE_CHECKING:
    from mmu._native import struct_tlb_entry

ENGINES = ("c", "python")
_LIKE = ("dtlb_load_misses", "dtlb_store_misses", "itlb_misses")
_LOADS = ("dTLB-loads", "dTLB-stores", "iTLB-loads")
_SIZES = {1: "4k", 2: "2m_4m", 3: "1g"}

Entry = tuple[int, int, int, int]
"""Address, frame, number of the array, and the word that events.def calls entry."""


def resident(mmu: Mmu) -> dict[int, Entry]:
    """By place, what the arrays hold."""
    entries = mmu.c.tlb.entry
    return {
        slot: (e.vpn << 12, e.frame, e.array, _word(slot, e))
        for slot, e in ((slot, entries[slot]) for slot in range(mmu.c.tlb.nr_entries))
        if e.flags & TLB_VALID
    }


def _word(slot: int, e: struct_tlb_entry) -> int:
    low = slot | e.pcid << 16 | e.pat << 28 | e.level << 32 | e.page_level << 36
    return int(low | e.pkey << 40 | e.flags << 48)


class Rebuilt:
    """The caches and the counters as events tell them."""

    def __init__(self, mmu: Mmu) -> None:
        self._kinds = [mmu.c.tlb.array[n].kind for n in range(mmu.c.tlb.nr_arrays)]
        self.held: dict[int, Entry] = {}
        self.counted: Counter[str] = Counter()

    def feed(self, events: Iterable[Event]) -> None:
        """Go on with these."""
        for event in events:
            what, _, how = event.name.rpartition("_")
            if what in ("tlb", "walk_cache") and how in ("fill", "evict", "drop"):
                self._move(how, event)
            self._count(event)

    def _move(self, how: str, event: Event) -> None:
        a, b, c, word = event.values
        entry, slot = (a, b, c, word), word & 0xFFFF
        assert bool(word >> 48 & TLB_TABLE) == event.name.startswith("walk_cache")
        if how != "fill":
            assert self.held.pop(slot) == entry, f"{event} of {self.held.get(slot)}"
            return
        if slot in self.held:
            assert _tag(self.held[slot]) == _tag(entry), f"{event} over {self.held[slot]}"
        self.held[slot] = entry

    def _count(self, event: Event) -> None:
        self.counted.update(self._counters(event))

    def _counters(self, event: Event) -> Iterator[str]:
        name, fields = event.name, event.fields
        if name in ("tlb_hit", "tlb_miss", "tlb_deny"):
            like = (0, 1, 2, 0, 1, 0)[fields["access"]]
            yield _LOADS[like]
            if name == "tlb_miss":
                yield f"{_LIKE[like]}.miss_causes_a_walk"
            elif name == "tlb_hit" and not self._is_first(fields["array"], fields["access"]):
                yield f"{_LIKE[like]}.stlb_hit"
        elif name == "walk_done":
            like = (0, 1, 2, 0, 1, 0)[fields["access"]]
            yield f"{_LIKE[like]}.walk_completed"
            yield f"{_LIKE[like]}.walk_completed_{_SIZES[fields['level']]}"
        elif name in _SIMPLE:
            yield _SIMPLE[name]
        elif _invalidates(event):
            yield "tlb_invalidations"

    def _is_first(self, array: int, access: int) -> bool:
        return bool(self._kinds[array] & first_level(access))


_SIMPLE = {
    "walk_entry": "page_walker_loads",
    "walk_cache_hit": "walk_cache_hits",
    "tlb_evict": "tlb_evictions",
    "page_fault": "page_faults_hw",
}


def _tag(entry: Entry) -> tuple[object, ...]:
    """What makes a fill go over an entry: address, size and PCID, unless it is global."""
    va, _, array, word = entry
    return va, array, word >> 32 & 0xF


def _invalidates(event: Event) -> bool:
    fields = event.fields
    match event.name:
        case "invlpg" | "tlb_flush_all":
            return True
        case "invpcid":
            return fields["type"] < 2
        case "mov_cr3":
            return not fields["value"] >> 63
        case "mov_cr4":
            return bool(fields["flushed"])
        case "invlpgb":
            return not (fields["rax"] & 4 and fields["edx"] & 0xFFFF)
    return False


def counts(op: Op) -> bool:
    """Whether what the operation does is counted as it is told: not a walk past the TLB, or without
    one.
    """
    return not (op[0] == "walk" and op[4] == 2) and op[:2] != ("set", "exact")


def follow(twins: Twins, engine: str, ops: list[Op]) -> None:
    """After each operation the rebuilt caches are the unit's, and at the end the counters."""
    twins.reset()
    mmu = twins.mmus[ENGINES.index(engine)]
    assert mmu.ring is not None
    mmu.ring.read()
    rebuilt = Rebuilt(mmu)
    rebuilt.held = resident(mmu)
    before = mmu.counters()
    for op in ops:
        if counts(op):
            twins.do(mmu, *op)
            rebuilt.feed(mmu.ring.read())
            assert rebuilt.held == resident(mmu), op
    grown = {name: n - before[name] for name, n in mmu.counters().items() if n != before[name]}
    assert grown == dict(rebuilt.counted)
    assert mmu.ring.lost == 0


GEOMETRIES: list[tuple[str | Geometry, int]] = [(name, 4) for name in list_geometries()]
GEOMETRIES += [("tiny", 5), (TORTURE, 4), (TORTURE, 5)]


def _name(world: object) -> str:
    return world if isinstance(world, str) else "torture"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("geometry", "levels"), GEOMETRIES, ids=lambda value: _name(value))
def test_random_sequences(geometry: str | Geometry, levels: int, engine: str) -> None:
    small = _name(geometry) in ("tiny", "torture")
    twins = Twins(0, geometry, levels)
    choice = script(30, 140)
    for seed in range((12 if small else 2) if engine == "c" else (4 if small else 1)):
        follow(twins, engine, choice.draw(random.Random(seed).random))
    twins.close()


_tortured = Twins(0, TORTURE)


@given(ops=script(5, 60).strategy, engine=st.sampled_from(ENGINES))
def test_any_sequence(ops: list[Op], engine: str) -> None:
    follow(_tortured, engine, ops)


def test_an_entry_that_forbids_is_told(
    tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]]
) -> None:
    """Intel's processors believe it: a fault without a walk, which takes the entry away."""
    tables.map(VA, flags=USER & ~X86_RW)
    mmu.translate(VA, Access.READ)
    entries = resident(mmu)
    recorded()
    mmu.translate(VA + 1, Access.WRITE)
    events = recorded()
    denied = events[0]
    slot = denied["slot"]
    assert denied.fields == {
        "address": VA + 1,
        "access": Access.WRITE,
        "array": entries[slot][2],
        "slot": slot,
    }
    assert events[1].name == "page_fault"
    gone = {event["entry"] & 0xFFFF for event in events[2:]}
    assert {event.name for event in events[2:]} == {"tlb_drop", "walk_cache_drop"}
    assert gone == set(entries) - set(resident(mmu)) and slot in gone


def test_nothing_is_told_while_nobody_records(tables: Tables, mmu: Mmu, ring: EventRing) -> None:
    """Entries go all the same."""
    mmu.ring = ring
    ring.enable(False)
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    mmu.flush_all()
    assert ring.read() == [] and resident(mmu) == {}
