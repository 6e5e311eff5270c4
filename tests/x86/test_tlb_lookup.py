# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a TLB entry serves an access by page number and size, under its PCID or if global, on its
side (SDM 4.10.2).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.events import Event
from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_D, X86_G
from mmu.x86.registers import CR4_PCIDE
from ucmmu.testing.tables import USER, VA, Tables

Counted = Callable[..., AbstractContextManager[None]]
NAMES = {
    Access.READ: ("dTLB-loads", "dtlb_load_misses"),
    Access.WRITE: ("dTLB-stores", "dtlb_store_misses"),
    Access.FETCH: ("iTLB-loads", "itlb_misses"),
}


@pytest.mark.parametrize("access", NAMES)
def test_miss_then_hit(tables: Tables, mmu: Mmu, counted: Counted, access: Access) -> None:
    pa = tables.map(VA)
    lookups, misses = NAMES[access]
    with counted(
        {
            lookups: 1,
            f"{misses}.miss_causes_a_walk": 1,
            f"{misses}.walk_completed": 1,
            f"{misses}.walk_completed_4k": 1,
            "page_walker_loads": 4,
        }
    ):
        assert mmu.translate(VA + 5, access).pa == pa + 5
    with counted({lookups: 1}):
        assert mmu.translate(VA + 6, access).pa == pa + 6


@pytest.mark.parametrize(
    ("first", "second"), [(Access.READ, Access.FETCH), (Access.FETCH, Access.READ)]
)
def test_the_second_level_serves_both_sides(
    tables: Tables, mmu: Mmu, counted: Counted, first: Access, second: Access
) -> None:
    pa = tables.map(VA)
    mmu.translate(VA, first)
    lookups, misses = NAMES[second]
    with counted({lookups: 1, f"{misses}.stlb_hit": 1}):
        assert mmu.translate(VA, second).pa == pa
    with counted({lookups: 1}):
        mmu.translate(VA, second)


@pytest.mark.ucmmu(geometry="skylake")
@pytest.mark.parametrize(("level", "array"), [(1, "DTLB 4K"), (2, "DTLB 2M"), (3, "DTLB 1G")])
def test_one_entry_serves_the_whole_page(
    tables: Tables, mmu: Mmu, counted: Counted, level: int, array: str
) -> None:
    size = 1 << (12 + 9 * (level - 1))
    base = VA & -size
    tables.map(VA, size, level=level)
    mmu.translate(VA, Access.READ)
    entry = mmu.resident(VA)
    assert entry is not None
    assert (entry.array, entry.va, entry.pa, entry.level) == (array, base, size, level)
    with counted({"dTLB-loads": 2}):
        assert mmu.translate(base, Access.READ).pa == size
        assert mmu.translate(base + size - 1, Access.READ).pa == 2 * size - 1
    assert not mmu.translate(base + size, Access.READ).ok
    assert not mmu.translate(base - 1, Access.READ).ok


def test_entries_are_tagged_with_the_pcid(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    here = tables.map(VA)
    other = Tables(mmu)
    there = other.map(VA)
    tables.load(pcid=1)
    assert mmu.translate(VA, Access.READ).pa == here
    other.load(pcid=2)
    assert mmu.translate(VA, Access.READ).pa == there
    with counted({"dTLB-loads": 2}):
        tables.load(pcid=1, keep=True)
        assert mmu.translate(VA, Access.READ).pa == here
        other.load(pcid=2, keep=True)
        assert mmu.translate(VA, Access.READ).pa == there
    assert {entry.pcid for entry in mmu.entries()} == {1, 2}


def test_without_pcide_there_is_only_pcid_0(tables: Tables, mmu: Mmu) -> None:
    """CR3[11:0] then are cache controls (SDM table 4-12)."""
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
    tables.map(VA)
    tables.load(pcid=0x18)
    mmu.translate(VA, Access.READ)
    assert {entry.pcid for entry in mmu.entries()} == {0}


def test_global_entries_serve_every_pcid(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    pa = tables.map(VA, flags=USER | X86_G)
    tables.load(pcid=1)
    mmu.translate(VA, Access.READ)
    Tables(mmu).load(pcid=2)
    with counted({"dTLB-loads": 1}):
        assert mmu.translate(VA, Access.READ).pa == pa


def test_a_lookup_tells_its_array(
    tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]]
) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    recorded()
    mmu.translate(VA + 9, Access.READ)
    mmu.translate(VA, Access.FETCH)
    names = [array.name for array in mmu.geometry.arrays]
    told = [(event.name, names[event["array"]]) for event in recorded()]
    assert told == [("tlb_hit", "DTLB"), ("tlb_hit", "STLB"), ("tlb_fill", "ITLB")]


@pytest.mark.parametrize(("flags", "perms"), [(USER, 5), (USER | X86_D, 7)])
def test_a_hit_grants_what_the_walk_did(tables: Tables, mmu: Mmu, flags: int, perms: int) -> None:
    """No W before D is set, whoever asks first."""
    tables.map(VA, flags=flags)
    assert [mmu.translate(VA, Access.READ).perms for _ in range(2)] == [perms] * 2


@pytest.mark.parametrize("access", [Access.READ, Access.WRITE, Access.FETCH])
def test_a_miss_is_told(
    tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]], access: Access
) -> None:
    tables.map(VA)
    recorded()
    mmu.translate(VA + 9, access)
    told = [event.fields for event in recorded() if event.name == "tlb_miss"]
    assert told == [{"address": VA + 9, "access": access}]


def test_fast_has_no_tlb(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    mmu.exact = False
    tables.map(VA)
    with counted({"page_walker_loads": 8}):
        mmu.translate(VA, Access.READ)
        mmu.translate(VA, Access.READ)
    assert mmu.entries() == mmu.paging_structure_caches() == []


def test_resident_changes_nothing(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    tables.map(VA)
    assert mmu.resident(VA) is None
    mmu.translate(VA, Access.READ)
    before = mmu.entries()
    with counted({}):
        entry = mmu.resident(VA)
        assert entry is not None and entry.array == "DTLB"
        fetched = mmu.resident(VA, Access.FETCH)
        assert fetched is not None and fetched.array == "STLB"
    assert mmu.entries() == before
