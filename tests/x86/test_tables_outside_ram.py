# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: paging structures may lie in memory that is not RAM, which a bus reaches; they are walked,
and A and D are set there, as in RAM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mmu._native import lib
from mmu.events import Event
from mmu.memory import Memory, PageFlag
from mmu.x86 import Access, Mmu, Outcome, Vendor, Walk, WalkMode
from mmu.x86.check import ChangedBy
from mmu.x86.entries import X86_A, X86_ADDR_MASK, X86_D, X86_P, X86_RW
from mmu.x86.faults import PF_P, PF_US, PF_WR
from tests.memory.other_memory import OtherMemory
from ucmmu.testing.tables import USER, VA, Tables

BEYOND = 5 << 30
FRAMES = 32
SOFTWARE = 1 << 9


class TablesOutside(Tables):
    """Tables, and pages, whose frames lie outside RAM."""

    memory: OtherMemory

    def __init__(self, mmu: Mmu, *, in_place: bool = True) -> None:
        self.mmu = mmu
        self.memory = OtherMemory(mmu.memory, BEYOND, FRAMES, in_place=in_place)
        self.root = self.frame()
        self.load()


@pytest.fixture(params=["in place", "by word"])
def outside(mmu: Mmu, request: pytest.FixtureRequest) -> Iterator[TablesOutside]:
    tables = TablesOutside(mmu, in_place=request.param == "in place")
    yield tables
    mmu.memory.connect(None)


def moved(walk: Walk, distance: int) -> tuple[object, ...]:
    """A walk whose frames lie so much lower."""

    def lower(address: int) -> int:
        return address - distance if address else 0

    entries = [entry - distance if entry & X86_P else entry for entry in walk.entry]
    places = [lower(pa) for pa in walk.entry_pa]
    return (walk.result, walk.error_code, lower(walk.pa), walk.rights, walk.level, entries, places)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("access", list(Access)[:3])
def test_the_same_as_in_ram(
    mmu: Mmu, outside: TablesOutside, recorded: Callable[[], list[Event]], access: int, exact: bool
) -> None:
    """Walks, counters and events of the same tables in both places."""
    mmu.exact = exact
    inside = Tables(mmu)
    told = []
    for tables, distance in ((inside, 0), (outside, BEYOND - inside.root)):
        tables.map(VA)
        tables.map(VA + 0x1000, flags=X86_P)
        tables.entry_pa(VA + (1 << 30), 1)
        mmu.flush_all()
        tables.load()
        recorded()
        before = mmu.counters()
        answers = []
        for va in (VA, VA + 0x1000, VA + (1 << 30), VA + (1 << 39)):
            mmu.translate(va, access)
            for mode in WalkMode:
                answers.append(moved(mmu.walk(va, access, mode=mode), distance))
        events = [event.name for event in recorded()]
        grown = {name: value - before[name] for name, value in mmu.counters().items()}
        told.append((answers, events, grown))
    assert told[0] == told[1]


def test_a_and_d_are_set_there(mmu: Mmu, outside: TablesOutside) -> None:
    outside.map(VA)
    assert mmu.walk(VA, Access.WRITE).ok
    assert not any(outside.get(VA, level) & X86_A for level in (4, 3, 2, 1))
    assert mmu.walk(VA, Access.READ, mode=WalkMode.QUIET).ok
    assert [outside.get(VA, level) & (X86_A | X86_D) for level in (4, 3, 2, 1)] == [X86_A] * 4
    assert mmu.translate(VA, Access.WRITE).ok
    assert outside.get(VA, 1) & (X86_A | X86_D) == X86_A | X86_D


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_an_entry_that_changes_meanwhile_is_read_again(
    mmu: Mmu, outside: TablesOutside, level: int
) -> None:
    page = outside.map(VA)
    at = outside.entry_pa(VA, level)
    changes = [outside.get(VA, level) | SOFTWARE]

    def change(pa: int) -> None:
        if pa == at and changes:
            outside.memory.write_u64(pa, changes.pop())

    outside.memory.before_exchange = change
    walk = mmu.walk(VA, Access.READ, mode=WalkMode.HARDWARE)
    assert walk.ok and walk.pa == page
    assert outside.get(VA, level) & (SOFTWARE | X86_A) == SOFTWARE | X86_A
    assert mmu.counters()["page_walker_loads"] == 5 - level + 4


def test_an_entry_taken_away_meanwhile(mmu: Mmu, outside: TablesOutside) -> None:
    outside.map(VA)
    at = outside.entry_pa(VA, 1)
    outside.memory.before_exchange = lambda pa: outside.memory.write_u64(at, 0)
    walk = mmu.walk(VA, Access.WRITE, mode=WalkMode.QUIET)
    assert (walk.result, walk.error_code) == (Outcome.PAGE_FAULT, PF_WR | PF_US)
    assert outside.memory.read_u64(at) == 0


@pytest.mark.parametrize("exact", [False, True])
def test_read_only_tables(mmu: Mmu, outside: TablesOutside, exact: bool) -> None:
    """As in ROM: the walk goes on, and A and D stay as they are, however often it is written."""
    mmu.exact = exact
    page = outside.map(VA)
    outside.memory.read_only = {outside.entry_pa(VA, level) & -4096 for level in (4, 3, 2, 1)}
    before = [outside.get(VA, level) for level in (4, 3, 2, 1)]
    for _ in range(2):
        assert mmu.translate(VA, Access.WRITE).pa == page
        assert mmu.walk(VA, Access.WRITE, mode=WalkMode.QUIET).entry[4:0:-1] == before
    assert [outside.get(VA, level) for level in (4, 3, 2, 1)] == before


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_where_no_memory_is(mmu: Mmu, outside: TablesOutside, level: int) -> None:
    """Neither RAM nor the bus's: the last address of the bus, and far away."""
    for nowhere in (BEYOND + FRAMES * 4096, BEYOND - 4096, 1 << 38):
        outside.map(VA)
        if level == 4:
            mmu.write_cr3(nowhere)
        else:
            outside.put(VA, level + 1, nowhere | USER)
        walk = mmu.walk(VA, mode=WalkMode.QUIET)
        assert (walk.result, walk.level) == (Outcome.BAD_TABLE, level)
        assert mmu.translate(VA, Access.READ).result == Outcome.BAD_TABLE
        outside.root = outside.frame()
        outside.load()


def test_memory_that_goes_away(mmu: Mmu, outside: TablesOutside) -> None:
    outside.map(VA)
    assert mmu.walk(VA).ok
    outside.memory.take_away()
    assert mmu.walk(VA).result == Outcome.BAD_TABLE


def test_frames_of_tables_are_marked(mmu: Mmu, outside: TablesOutside) -> None:
    """In exact, so that stores to them are noticed."""
    page = outside.map(VA)
    mmu.walk(VA)
    assert not any(outside.memory.flags)
    mmu.translate(VA, Access.READ)
    tables = {outside.entry_pa(VA, level) & -4096 for level in (4, 3, 2, 1)}
    for number, flags in enumerate(outside.memory.flags):
        at = BEYOND + number * 4096
        assert flags == (PageFlag.TABLE if at in tables else 0), hex(at)
    assert page not in tables


def test_from_ram_to_outside_and_back(mmu: Mmu, outside: TablesOutside, tables: Tables) -> None:
    """A PML4 in RAM, a page directory outside, its page table in RAM again."""
    page = tables.map(VA)
    table = outside.frame()
    for at in range(0, 4096, 8):
        directory = tables.get(VA, 3) & X86_ADDR_MASK
        outside.memory.write_u64(table + at, tables.memory.read_u64(directory + at))
    tables.put(VA, 3, table | USER)
    tables.load()
    for _ in range(2):
        assert mmu.refill(VA, Access.WRITE).pa == page
        assert mmu.walk(VA, Access.WRITE, mode=WalkMode.QUIET).pa == page


class TestChecked:
    """The checker for stale translations looks there too."""

    @pytest.fixture(params=["c", "python"])
    def mmu(self, request: pytest.FixtureRequest) -> Iterator[Mmu]:
        memory = Memory(1 << 20)
        mmu = Mmu(memory, geometry="tiny", engine=request.param, exact=True, check=True)
        mmu.c.vendor = Vendor.AMD
        yield mmu
        assert mmu.check is not None
        assert mmu.check.lost == 0
        mmu.check.close()
        memory.close()

    def test_nothing_changed_nothing_told(self, mmu: Mmu, outside: TablesOutside) -> None:
        for va in (VA, VA + 4096, VA + (1 << 30)):
            outside.map(va)
            for access in (Access.READ, Access.WRITE, Access.FETCH):
                assert mmu.translate(va, access).ok
        assert mmu.check is not None and not mmu.check.uses()

    @pytest.mark.parametrize("level", [1, 2, 3, 4])
    def test_a_changed_entry(self, mmu: Mmu, outside: TablesOutside, level: int) -> None:
        outside.map(VA)
        mmu.translate(VA, Access.WRITE)
        page, at = outside.get(VA, 1), outside.entry_pa(VA, level)
        outside.put(VA, level, 0)
        assert mmu.translate(VA, Access.WRITE).ok
        assert mmu.check is not None
        (use,) = mmu.check.uses()
        assert (use.used, use.entry_pa, use.old, use.new) == (True, at, page, 0)
        assert use.changed is not None and use.changed.by == ChangedBy.HOST

    def test_a_flush_is_enough(self, mmu: Mmu, outside: TablesOutside) -> None:
        outside.map(VA)
        mmu.translate(VA, Access.WRITE)
        outside.change(VA, 1, clear=X86_RW)
        mmu.invlpg(VA)
        assert mmu.translate(VA, Access.WRITE).error_code == PF_P | PF_WR | PF_US
        assert mmu.check is not None and not mmu.check.uses()

    def test_frames_of_one_chain(self, mmu: Mmu, outside: TablesOutside) -> None:
        """The copies of the checker are found by a hash of the frame: here all have the same."""
        count = 4096
        outside.memory = OtherMemory(mmu.memory, BEYOND, 5 * count)
        step = count - 1

        def frame() -> int:
            outside.memory._free += step * 4096
            return outside.memory.alloc_pages() << 12

        outside.frame = frame  # type: ignore[method-assign]
        outside.root = frame()
        outside.load()
        outside.map(VA)
        mmu.translate(VA, Access.WRITE)
        at = [outside.entry_pa(VA, level) >> 12 for level in (4, 3, 2, 1)]
        assert len({pfn % count for pfn in at}) == 1 and len(set(at)) == 4
        changed = outside.entry_pa(VA, 2)
        outside.put(VA, 2, 0)
        mmu.translate(VA, Access.WRITE)
        assert mmu.check is not None
        assert [(use.entry_pa, use.level) for use in mmu.check.uses()] == [(changed, 1)]

    def test_memory_that_goes_away(self, mmu: Mmu, outside: TablesOutside) -> None:
        """Nothing more is known of its tables; the entry above them still is."""
        outside.map(VA)
        mmu.translate(VA, Access.WRITE)
        outside.memory.take_away()
        lib.check_sync(mmu.c)
        assert mmu.translate(VA, Access.WRITE).ok
        assert mmu.check is not None and not mmu.check.uses()
