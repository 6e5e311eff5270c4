# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the place given away is the least recently used one; a hit, a fill and a refill of the
first level are uses.
"""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from mmu.memory import Memory
from mmu.x86 import Access, Geometry, Mmu
from tests.x86.arrays import array, geometry
from ucmmu.testing.tables import VA, Tables


def one_array(entries: int, ways: int) -> Geometry:
    return geometry(array("only", "dtlb", entries, ways))


def test_a_hit_makes_young(tables: Tables, mmu: Mmu) -> None:
    pages = [VA + i * (2 << 12) for i in range(3)]
    for va in pages:
        tables.map(va)
    for va in (pages[0], pages[1], pages[0], pages[2]):
        mmu.translate(va, Access.READ)
    assert {e.va for e in mmu.entries() if e.array == "DTLB"} == {pages[0], pages[2]}


def test_a_second_level_hit_makes_young_there(tables: Tables, mmu: Mmu) -> None:
    """In ``tiny`` pages six apart share a set of both levels."""
    pages = [VA + i * (6 << 12) for i in range(4)]
    for va in pages:
        tables.map(va)
    mmu.translate(pages[0], Access.READ)
    mmu.translate(pages[1], Access.READ)
    mmu.translate(pages[0], Access.FETCH)
    mmu.translate(pages[2], Access.READ)
    assert {e.va for e in mmu.entries() if e.array == "STLB"} == {pages[0], pages[2]}


@given(
    st.sampled_from([(4, 1), (4, 2), (4, 4), (6, 2), (5, 5)]),
    st.lists(st.integers(0, 11), min_size=10, max_size=60),
    st.sampled_from(["c", "python"]),
)
def test_against_an_ordered_dictionary(
    shape: tuple[int, int], accesses: list[int], engine: str
) -> None:
    entries, ways = shape
    memory = Memory(1 << 20)
    mmu = Mmu(memory, geometry=one_array(entries, ways), engine=engine, exact=True)
    tables = Tables(mmu)
    tables.load()
    for page in range(12):
        tables.map(VA + (page << 12))
    sets: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(entries // ways)]
    misses = evictions = 0
    for page in accesses:
        mmu.translate(VA + (page << 12), Access.READ)
        ways_of_set = sets[((VA >> 12) + page) % len(sets)]
        if page in ways_of_set:
            ways_of_set.move_to_end(page)
            continue
        misses += 1
        if len(ways_of_set) == ways:
            ways_of_set.popitem(last=False)
            evictions += 1
        ways_of_set[page] = None
    assert {e.va for e in mmu.entries()} == {VA + (page << 12) for one in sets for page in one}
    counters = mmu.counters()
    assert counters["dtlb_load_misses.miss_causes_a_walk"] == misses
    assert counters["tlb_evictions"] == evictions
    memory.close()


def test_each_use_has_its_own_time(tables: Tables, mmu: Mmu) -> None:
    for i in range(4):
        tables.map(VA + (i << 12))
        mmu.translate(VA + (i << 12), Access.READ)
        mmu.translate(VA + (i << 12), Access.FETCH)
    times = [e.used for e in (*mmu.entries(), *mmu.paging_structure_caches())]
    assert len(set(times)) == len(times)
    assert max(times) == mmu.c.tlb.clock


def test_a_repeated_use_changes_nothing(tables: Tables, mmu: Mmu) -> None:
    """Of the entry used last, or entered last, of all: no tick, so no store."""
    tables.map(VA)
    tables.map(VA + 4096)
    mmu.translate(VA, Access.READ)
    mmu.translate(VA + 4096, Access.READ)
    before = mmu.c.tlb.clock, mmu.entries()
    mmu.translate(VA + 4096, Access.READ)
    mmu.translate(VA + 4096 + 8, Access.READ)
    assert (mmu.c.tlb.clock, mmu.entries()) == before
    mmu.translate(VA, Access.READ)
    assert mmu.c.tlb.clock == before[0] + 1
