# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: A and D are set by compare-exchange; an entry that changed under the walk starts it anew
(SDM 4.8).

Another agent changes entries just before the walk sets A or D in one (other_agent.py). The walk
must then read again, judge what it finds, and never write A or D into an entry that no longer says
what it read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from mmu.events import Event, EventRing
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome, WalkMode
from mmu.x86.entries import X86_A, X86_ADDR_MASK, X86_D, X86_P, X86_PS, X86_RW, X86_US
from mmu.x86.faults import PF_P, PF_RSVD, PF_US, PF_WR
from tests.x86.other_agent import Traps, other_agent
from ucmmu.testing.tables import USER, VA, Tables

OTHER = VA ^ 1 << 39
"""Of the same indexes as VA but for the PML4E's: what lies at a level on its way can take the place
of VA's.
"""
SOFTWARE = 1 << 9
"""A bit that the processor ignores."""
PAGE = 0x345
"""An offset, so that addresses are not those of pages."""

Key = tuple[int, int]
"""The address and level of an entry."""


@dataclass(frozen=True)
class Change:
    """What becomes of an entry (given: it, OTHER's), and the walk's verdict: None, or P and RSVD of
    its fault.
    """

    make: Callable[[int, int], int]
    why: int | None = None

    @property
    def ends_there(self) -> bool:
        """Whether the walk comes no further than the changed entry."""
        return self.why in (0, PF_P | PF_RSVD)


CHANGES = {
    "made absent": Change(lambda old, other: 0, why=0),
    "made reserved": Change(lambda old, other: old | 1 << 51, why=PF_P | PF_RSVD),
    "made read-only": Change(lambda old, other: old & ~X86_RW, why=PF_P),
    "made supervisor": Change(lambda old, other: old & ~X86_US, why=PF_P),
    "led elsewhere": Change(lambda old, other: other),
    "A set": Change(lambda old, other: old | X86_A),
    "A and D set": Change(lambda old, other: old | X86_A | X86_D),
    "a software bit set": Change(lambda old, other: old | SOFTWARE),
}


@dataclass(frozen=True)
class Told:
    result: Outcome
    error_code: int
    pa: int


def _walk(mmu: Mmu, mode: WalkMode) -> Told:
    walk = mmu.walk(VA + PAGE, Access.WRITE, mode=mode)
    return Told(walk.result, walk.error_code, walk.pa)


def _translate(mmu: Mmu) -> Told:
    answer = mmu.translate(VA + PAGE, Access.WRITE)
    return Told(answer.result, answer.error_code, answer.pa)


def _refill(mmu: Mmu) -> Told:
    answer = mmu.refill(VA + PAGE, Access.WRITE)
    return Told(answer.result, answer.error_code, answer.pa)


WAYS: dict[str, tuple[Callable[[Mmu], Told], bool, bool]] = {
    "walk": (lambda mmu: _walk(mmu, WalkMode.HARDWARE), True, True),
    "walk quietly": (lambda mmu: _walk(mmu, WalkMode.QUIET), True, False),
    "translate in exact": (_translate, True, True),
    "translate in fast": (_translate, False, True),
    "refill in fast": (_refill, False, False),
}
"""How a write comes about, whether in exact, and whether its walk counts."""


class Paths:
    """The entries of VA and OTHER, each mapped to a frame of its own, with no A set: where they
    lie, what they said.
    """

    def __init__(self, tables: Tables) -> None:
        self._memory = tables.memory
        for va in (VA, OTHER):
            tables.map(va)
        self.at = {
            (va, level): tables.entry_pa(va, level) for va in (VA, OTHER) for level in (4, 3, 2, 1)
        }
        self.before = self.now()

    def now(self) -> dict[Key, int]:
        """What they say, wherever the tables above may lead by now."""
        return {key: self._memory.read_u64(pa) for key, pa in self.at.items()}

    def trap(self, level: int, new: int) -> Traps:
        """VA's entry of that level becomes new when A or D is about to be set there."""
        pa = self.at[VA, level]
        return {pa & X86_ADDR_MASK: {pa: new}}

    def frame(self, va: int) -> int:
        return self.before[va, 1] & X86_ADDR_MASK


@pytest.fixture
def paths(tables: Tables) -> Paths:
    return Paths(tables)


def after(before: dict[Key, int], level: int, new: int, change: Change) -> dict[Key, int]:
    """The entries after a write that met the change: worked out from the rule, entry by entry."""
    entries = {**before, (VA, level): new}
    for above in range(4, level, -1):
        entries[VA, above] |= X86_A
    if change.ends_there:
        return entries
    way = OTHER if new == before[OTHER, level] else VA
    path = [(VA, level), *((way, below) for below in range(level - 1, 0, -1))]
    for key in path[:-1]:
        entries[key] |= X86_A
    if change.why is None:
        entries[path[-1]] |= X86_A | X86_D
    return entries


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", [4, 3, 2, 1])
@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_is_read_again(
    name: str,
    level: int,
    way: str,
    mmu: Mmu,
    paths: Paths,
    recorded: Callable[[], list[Event]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act, mmu.exact, counts = WAYS[way]
    change, before = CHANGES[name], paths.before
    new = change.make(before[VA, level], before[OTHER, level])
    expected = after(before, level, new, change)
    loads = 5 - level + (5 - level if change.ends_there else 4)
    recorded()
    loads_before = mmu.counters()["page_walker_loads"]

    with other_agent(mmu, paths.trap(level, new), monkeypatch):
        told = act(mmu)

    if change.why is None:
        assert told == Told(
            Outcome.OK, 0, paths.frame(OTHER if name == "led elsewhere" else VA) + PAGE
        )
    else:
        assert told == Told(Outcome.PAGE_FAULT, change.why | PF_WR | PF_US, 0)
    assert paths.now() == expected
    assert mmu.counters()["page_walker_loads"] - loads_before == (loads if counts else 0)
    events = recorded()
    assert sum(event.name == "walk_entry" for event in events) == (loads if counts else 0)
    left = {**before, (VA, level): new}
    set_by_us = {(paths.at[key], entry) for key, entry in expected.items() if entry != left[key]}
    told_set = {(e["entry_pa"], e["entry"]) for e in events if e.name == "walk_set_ad"}
    assert told_set == (set_by_us if counts else set())


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_without_a_change_one_pass_is_enough(
    level: int, mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page was protected all the same: what springs a trap is the compare-exchange itself."""
    with other_agent(mmu, paths.trap(level, paths.before[VA, level]), monkeypatch):
        assert mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE).ok
    assert mmu.counters()["page_walker_loads"] == 4


def test_the_access_is_counted_once(
    mmu: Mmu,
    paths: Paths,
    counted: Callable[..., AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both passes count their loads; the walk is one, and what it found is what the TLB keeps."""
    name = "dtlb_store_misses."
    expected = {"dTLB-stores": 1, name + "miss_causes_a_walk": 1, name + "walk_completed": 1}
    expected |= {name + "walk_completed_4k": 1, "page_walker_loads": 8}
    with (
        counted(expected),
        other_agent(mmu, paths.trap(1, paths.before[OTHER, 1]), monkeypatch),
    ):
        assert mmu.translate(VA, Access.WRITE).ok
    entry = mmu.resident(VA, Access.WRITE)
    assert entry is not None and entry.pa == paths.frame(OTHER) and entry.dirty


@pytest.mark.parametrize("level", [3, 2])
def test_a_table_that_became_a_large_page(
    level: int, mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = USER | X86_PS
    with other_agent(mmu, paths.trap(level, large), monkeypatch):
        walk = mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE)
    assert (walk.result, walk.level, walk.pa) == (
        Outcome.OK,
        level,
        VA & (1 << 12 + 9 * (level - 1)) - 1,
    )
    assert paths.now()[VA, level] == large | X86_A | X86_D
    assert mmu.counters()["page_walker_loads"] == 2 * (5 - level)


def test_an_upper_entry_that_changed_meanwhile_is_read_again_too(
    mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PTE changed, so the walk begins anew, and finds that the PDE leads to another table by
    now.
    """
    before = paths.before
    traps = paths.trap(1, before[VA, 1] | SOFTWARE)
    traps[paths.at[VA, 1] & X86_ADDR_MASK][paths.at[VA, 2]] = before[OTHER, 2]
    with other_agent(mmu, traps, monkeypatch):
        walk = mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE)
    assert walk.ok and walk.pa == paths.frame(OTHER)
    now = paths.now()
    assert now[VA, 1] == before[VA, 1] | SOFTWARE
    assert now[OTHER, 1] == before[OTHER, 1] | X86_A | X86_D
    assert now[VA, 2] == before[OTHER, 2] | X86_A
    assert mmu.counters()["page_walker_loads"] == 8


def test_nothing_is_left_of_the_first_pass(
    mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came to the PTE; the second one ends at the PDE, and tells what a walk that began then
    would tell.
    """
    traps = paths.trap(1, paths.before[VA, 1] | SOFTWARE)
    traps[paths.at[VA, 1] & X86_ADDR_MASK][paths.at[VA, 2]] = 0
    with other_agent(mmu, traps, monkeypatch):
        walk = mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE)
    assert (walk.level, walk.error_code, walk.entry[1], walk.entry_pa[1]) == (
        2,
        PF_WR | PF_US,
        0,
        0,
    )
    assert walk == mmu.walk(VA, Access.WRITE)


def test_a_walk_starts_again_as_often_as_it_must(
    mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    traps: Traps = {}
    for level in (4, 3, 2, 1):
        traps |= paths.trap(level, paths.before[VA, level] | SOFTWARE)
    with other_agent(mmu, traps, monkeypatch):
        assert mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE).ok
    assert mmu.counters()["page_walker_loads"] == 1 + 2 + 3 + 4 + 4
    now = paths.now()
    assert [now[VA, level] ^ paths.before[VA, level] for level in (4, 3, 2)] == [
        SOFTWARE | X86_A
    ] * 3
    assert now[VA, 1] ^ paths.before[VA, 1] == SOFTWARE | X86_A | X86_D


@pytest.mark.parametrize("name", CHANGES)
def test_a_walk_from_a_cache_starts_again_there(
    name: str, tables: Tables, mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PDE is cached (SDM 4.10.3), so that each pass reads the PTE only."""
    tables.map(VA ^ 1 << 12)
    assert mmu.translate(VA ^ 1 << 12, Access.READ).ok
    loads = mmu.counters()["page_walker_loads"]
    change = CHANGES[name]
    new = change.make(paths.before[VA, 1], paths.before[OTHER, 1])
    with other_agent(mmu, paths.trap(1, new), monkeypatch):
        told = _translate(mmu)
    assert told.result == (Outcome.OK if change.why is None else Outcome.PAGE_FAULT)
    assert paths.now()[VA, 1] == (new | X86_A | X86_D if change.why is None else new)
    assert mmu.counters()["page_walker_loads"] - loads == 2


def test_a_write_that_lacks_d_only(mmu: Mmu, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The TLB has the page, clean; the walk that would set D finds it read-only by then."""
    assert mmu.translate(VA, Access.READ).ok
    read_only = (paths.before[VA, 1] | X86_A) & ~X86_RW
    with other_agent(mmu, paths.trap(1, read_only), monkeypatch):
        answer = mmu.translate(VA, Access.WRITE)
    assert (answer.result, answer.error_code) == (Outcome.PAGE_FAULT, PF_P | PF_WR | PF_US)
    assert paths.now()[VA, 1] == read_only


@pytest.mark.parametrize("engine", ["c", "python"])
def test_the_fifth_level_too(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(1 << 20)
    try:
        mmu = Mmu(memory, geometry="tiny", engine=engine, levels=5, ring=EventRing())
        tables = Tables(mmu)
        tables.map(VA)
        tables.load()
        pml5, pml4 = tables.root, tables.get(VA, 5) & X86_ADDR_MASK
        with other_agent(mmu, {pml5: {pml5: pml4 | X86_P | X86_RW}}, monkeypatch):
            walk = mmu.walk(VA, Access.READ, mode=WalkMode.HARDWARE)
        assert (walk.result, walk.error_code) == (Outcome.PAGE_FAULT, PF_P | PF_US)
        assert memory.read_u64(pml5) == pml4 | X86_P | X86_RW | X86_A
        assert mmu.counters()["page_walker_loads"] == 1 + 5
    finally:
        memory.close()
