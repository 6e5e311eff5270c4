# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a walk may begin below CR3, at the deepest paging-structure cache entry of its address (SDM
4.10.3).

Levels are easily off by one: each is tested for which addresses it serves, and how many entries the
walk then reads.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.events import Event
from mmu.x86 import Access, Mmu, Outcome, Vendor
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_RW, X86_US, X86_XD
from mmu.x86.tlb import TLB_TABLE
from ucmmu.testing.tables import USER, VA, Tables

REACH = {2: 1 << 21, 3: 1 << 30, 4: 1 << 39}
pytestmark = pytest.mark.ucmmu(geometry="skylake")


def loads(mmu: Mmu, va: int, access: Access = Access.READ, *, user: bool = True) -> int:
    """How many entries the walk for an access reads."""
    before = mmu.counters()["page_walker_loads"]
    mmu.translate(va, access, user=user)
    return mmu.counters()["page_walker_loads"] - before


def drop(mmu: Mmu, tables: Tables, *levels: int) -> None:
    """Take the paging-structure cache entries of these levels, and all TLB entries, out of the
    model.
    """
    tlb = mmu.c.tlb
    for n in range(tlb.nr_entries):
        if not tlb.entry[n].flags & TLB_TABLE or tlb.entry[n].level in levels:
            tlb.entry[n].flags = 0


def test_a_walk_enters_each_table_it_used(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    cached = {entry.level: entry for entry in mmu.paging_structure_caches()}
    assert sorted(cached) == [2, 3, 4]
    for level, entry in cached.items():
        assert entry.pa == tables.get(VA, level) & X86_ADDR_MASK
        assert entry.va == VA & -REACH[level]


@pytest.mark.parametrize("leaf", [2, 3])
def test_a_leaf_is_no_table(tables: Tables, mmu: Mmu, leaf: int) -> None:
    tables.map(VA, level=leaf)
    mmu.translate(VA, Access.READ)
    assert [entry.level for entry in mmu.paging_structure_caches()] == list(range(leaf + 1, 5))


@pytest.mark.parametrize(
    ("distance", "reads"), [(4096, 1), (1 << 21, 2), (1 << 30, 3), (1 << 39, 4)]
)
def test_how_far_each_level_reaches(tables: Tables, mmu: Mmu, distance: int, reads: int) -> None:
    """A neighbour in the same page table needs its PTE only, one in the same directory its PDE too,
    and so on.
    """
    tables.map(VA)
    neighbour = VA ^ distance
    tables.map(neighbour)
    assert loads(mmu, VA) == 4
    assert loads(mmu, neighbour) == reads


@pytest.mark.parametrize(
    ("levels", "reads"), [((), 1), ((2,), 2), ((2, 3), 3), ((2, 3, 4), 4), ((3,), 1), ((3, 4), 1)]
)
def test_the_deepest_hit_wins(
    tables: Tables, mmu: Mmu, levels: tuple[int, ...], reads: int
) -> None:
    pa = tables.map(VA)
    mmu.translate(VA, Access.READ)
    drop(mmu, tables, *levels)
    assert loads(mmu, VA) == reads
    assert mmu.resident(VA).pa == pa  # type: ignore[union-attr]


def test_a_hit_is_told(tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]]) -> None:
    tables.map(VA)
    tables.map(VA + 4096)
    mmu.translate(VA, Access.READ)
    (cached,) = [entry for entry in mmu.paging_structure_caches() if entry.level == 2]
    (array,) = [a for a in mmu.c.tlb.array if a.tables >> 2 & 1]
    slot = array.first + cached.set * array.ways + cached.way
    recorded()
    mmu.translate(VA + 4096, Access.READ)
    assert [str(e) for e in recorded() if e.name == "walk_cache_hit"] == [
        f"walk_cache_hit address={VA + 4096:#x} level=0x2 table={cached.pa:#x} slot={slot:#x}"
    ]
    assert mmu.counters()["walk_cache_hits"] == 1


def test_rights_so_far_are_kept(tables: Tables, mmu: Mmu) -> None:
    """A walk that begins below must still know what the levels above forbid."""
    for va in (VA, VA + 4096, VA + 8192):
        tables.map(va)
    tables.change(VA, 4, set=X86_XD)
    tables.change(VA, 3, clear=X86_RW)
    mmu.translate(VA, Access.READ)
    assert mmu.translate(VA + 4096, Access.READ).perms == 1
    assert mmu.translate(VA + 8192, Access.WRITE).result == Outcome.PAGE_FAULT
    assert mmu.translate(VA + 8192, Access.FETCH).result == Outcome.PAGE_FAULT


def test_rights_pass_from_one_entry_to_the_next(tables: Tables, mmu: Mmu) -> None:
    """A directory's entry that is made by a walk from a PDPTE's knows what that one, and those
    above, forbid.
    """
    next_table = VA ^ (1 << 21)
    for va in (VA, next_table, next_table + 4096):
        tables.map(va)
    tables.change(VA, 4, set=X86_XD)
    tables.change(VA, 3, clear=X86_RW)
    mmu.translate(VA, Access.READ)
    assert loads(mmu, next_table) == 2
    made = {entry.va: entry for entry in mmu.paging_structure_caches() if entry.level == 2}
    entry = made[next_table & -(1 << 21)]
    assert (entry.writable, entry.user, entry.xd) == (False, True, True)
    assert mmu.translate(next_table + 4096, Access.READ).perms == 1


def test_entries_are_tagged_with_the_pcid_and_never_global(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | 1 << 8)
    tables.load(pcid=1)
    mmu.translate(VA, Access.READ)
    assert {(e.pcid, e.is_global) for e in mmu.paging_structure_caches()} == {(1, False)}
    tables.map(VA + 4096)
    tables.map(VA + 8192)
    assert loads(mmu, VA + 8192) == 1
    tables.load(pcid=2)
    assert loads(mmu, VA + 4096) == 4


def test_a_walk_from_the_top_enters_none_twice(tables: Tables, mmu: Mmu) -> None:
    """A write that lacks D walks from CR3, past entries that are there already."""
    tables.map(VA)
    assert (loads(mmu, VA), loads(mmu, VA, Access.WRITE)) == (4, 4)
    assert sorted(entry.level for entry in mmu.paging_structure_caches()) == [2, 3, 4]


def test_a_stale_entry_leads_to_the_old_table(tables: Tables, mmu: Mmu) -> None:
    """A table removed from its PDE without a flush: its frame still decides (SDM 4.10.3.1)."""
    tables.map(VA)
    old = tables.map(VA + 4096)
    mmu.translate(VA, Access.READ)
    tables.put(VA, 2, 0)
    new = tables.map(VA + 4096)
    assert old != new
    assert mmu.walk(VA + 4096).pa == new
    assert mmu.refill(VA + 4096, Access.READ).pa == old
    assert mmu.translate(VA + 4096, Access.READ).pa == old
    mmu.invlpg(VA)
    mmu.invlpg(VA + 4096)
    assert mmu.translate(VA + 4096, Access.READ).pa == new


def stale_table(tables: Tables, mmu: Mmu) -> int:
    """The PDE cache leads to the old table, which has no entry for VA + 4096; the tables in memory
    do. Its frame.
    """
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.put(VA, 2, 0)
    return tables.map(VA + 4096)


def test_on_amd_a_fault_behind_a_stale_entry_is_checked_from_the_top(
    tables: Tables, mmu: Mmu
) -> None:
    """No fault, and the stale entries are gone."""
    mmu.c.vendor = Vendor.AMD
    new = stale_table(tables, mmu)
    assert mmu.refill(VA + 4096, Access.READ).pa == new
    assert loads(mmu, VA + 4096) == 1 + 4
    assert mmu.resident(VA + 4096).pa == new  # type: ignore[union-attr]
    assert mmu.counters()["page_faults_hw"] == 0


def test_on_amd_what_led_nowhere_is_dropped(tables: Tables, mmu: Mmu) -> None:
    """Also where the second walk has no entry to replace it with: the table is a large page now."""
    mmu.c.vendor = Vendor.AMD
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.map(VA, 0, level=2)
    assert mmu.translate(VA + 4096, Access.READ).level == 2
    assert sorted(entry.level for entry in mmu.paging_structure_caches()) == [3, 4]


def test_on_intel_a_fault_behind_a_stale_entry_happens_once(tables: Tables, mmu: Mmu) -> None:
    """The fault drops the entries that the walk used, so the next access finds the new table (SDM
    4.10.4.1).
    """
    new = stale_table(tables, mmu)
    assert mmu.refill(VA + 4096, Access.READ).result == Outcome.PAGE_FAULT
    assert mmu.translate(VA + 4096, Access.READ).result == Outcome.PAGE_FAULT
    assert mmu.translate(VA + 4096, Access.READ).pa == new
    assert mmu.counters()["page_faults_hw"] == 1


@pytest.mark.parametrize("vendor", Vendor)
def test_a_table_outside_ram_behind_a_stale_entry(tables: Tables, mmu: Mmu, vendor: Vendor) -> None:
    """x86 does not say what happens there; so no vendor's rule makes it so, if the tables in memory
    lead elsewhere.
    """
    mmu.c.vendor = vendor
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    drop(mmu, tables, 2)
    tables.put(VA, 2, 1 << 38 | USER)
    tables.put(VA, 3, 0)
    new = tables.map(VA)
    assert mmu.refill(VA, Access.READ).pa == new
    assert mmu.translate(VA, Access.READ).pa == new


@pytest.mark.parametrize(("vendor", "faults"), [(Vendor.AMD, 0), (Vendor.INTEL, 1)])
def test_stale_rights(tables: Tables, mmu: Mmu, vendor: Vendor, faults: int) -> None:
    mmu.c.vendor = vendor
    tables.map(VA, table_flags=X86_P | X86_US)
    tables.map(VA + 4096)
    mmu.translate(VA, Access.READ)
    for level in (4, 3, 2):
        tables.change(VA, level, set=X86_RW)
    answers = [mmu.translate(VA + 4096, Access.WRITE).ok for _ in range(2)]
    assert answers == [not faults, True]
    assert mmu.counters()["page_faults_hw"] == faults


def test_a_fault_drops_what_it_used(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    mmu.translate(VA + 4096, Access.READ)
    assert mmu.paging_structure_caches() == []
    assert mmu.resident(VA) is not None


def test_a_fault_drops_no_more(tables: Tables, mmu: Mmu) -> None:
    far = VA ^ 1 << 30
    for va in (far, VA):
        tables.map(va)
        mmu.translate(va, Access.READ)
    mmu.translate(VA + 4096, Access.READ)
    left = {(entry.level, entry.va) for entry in mmu.paging_structure_caches()}
    assert left == {(level, far & -REACH[level]) for level in (2, 3)}


@pytest.mark.ucmmu(geometry="tiny")
def test_they_are_few(tables: Tables, mmu: Mmu) -> None:
    """``tiny`` has two PDE entries: of three tables the least recently used is forgotten."""
    pages = [VA + (i << 21) for i in range(3)]
    for va in pages:
        tables.map(va)
        mmu.translate(va, Access.FETCH)
    reached = {entry.va for entry in mmu.paging_structure_caches() if entry.level == 2}
    assert reached == {va & -(1 << 21) for va in pages[1:]}


@pytest.mark.ucmmu(geometry="tiny")
def test_a_use_makes_young(tables: Tables, mmu: Mmu) -> None:
    """A walk that begins at an entry uses it: of two, the other one goes."""
    first, second, third = (VA + (i << 21) for i in range(3))
    for va in (first, second, first + 4096, third):
        tables.map(va)
        mmu.translate(va, Access.FETCH)
    reached = {entry.va for entry in mmu.paging_structure_caches() if entry.level == 2}
    assert reached == {va & -(1 << 21) for va in (first, third)}
