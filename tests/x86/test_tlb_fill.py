# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a walk's result, with combined rights, enters the second level and the side's first level
(SDM 4.10.2.2).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.events import Event
from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_D, X86_G, X86_P, X86_RW, X86_US, X86_XD
from ucmmu.testing.tables import USER, VA, Tables


def arrays(mmu: Mmu) -> list[str]:
    return [entry.array for entry in mmu.entries()]


@pytest.mark.parametrize(
    ("access", "first"), [(Access.READ, "DTLB"), (Access.WRITE, "DTLB"), (Access.FETCH, "ITLB")]
)
def test_where_it_goes(tables: Tables, mmu: Mmu, access: Access, first: str) -> None:
    tables.map(VA)
    mmu.translate(VA, access)
    assert arrays(mmu) == [first, "STLB"]


def test_a_size_that_no_array_holds_is_not_cached_there(tables: Tables, mmu: Mmu) -> None:
    """``tiny`` has no second level, and no instruction side, for 1 GiB."""
    tables.map(VA, level=3)
    mmu.translate(VA, Access.FETCH)
    assert arrays(mmu) == []
    mmu.translate(VA, Access.READ)
    assert arrays(mmu) == ["DTLB"]


def test_what_an_entry_keeps(tables: Tables, mmu: Mmu) -> None:
    pa = tables.map(VA, flags=USER | X86_G | X86_D)
    tables.change(VA, 4, clear=X86_RW)
    tables.change(VA, 2, set=X86_XD)
    tables.load(pcid=7)
    mmu.translate(VA + 0x10, Access.READ)
    entry = mmu.resident(VA)
    assert entry is not None
    assert (entry.va, entry.pa, entry.level, entry.pcid) == (VA, pa, 1, 7)
    assert (entry.writable, entry.user, entry.xd, entry.dirty, entry.is_global) == (
        False,
        True,
        True,
        True,
        True,
    )
    assert (
        str(entry)
        == f"{entry.array}[{entry.set}][{entry.way}]: {VA:#x} -> {pa:#x} 4 KiB -u-dg pcid 0x7"
    )


def test_each_flag_of_an_entry_is_told_by_itself(tables: Tables, mmu: Mmu) -> None:
    tables.load()
    told = {"writable": X86_RW, "user": X86_US, "xd": X86_XD, "is_global": X86_G}
    for number, (name, flag) in enumerate(told.items()):
        va = VA + (number << 12)
        tables.map(va, flags=X86_P | flag)
        mmu.translate(va, Access.READ, user=False)
        entry = mmu.resident(va)
        assert entry is not None
        assert {other for other in told if getattr(entry, other)} == {name}
        assert not entry.dirty and not entry.shadow_stack


def test_a_set_is_the_page_number_modulo_the_sets(tables: Tables, mmu: Mmu) -> None:
    for i in range(3):
        mmu.flush_all()
        tables.map(VA + (i << 12))
        mmu.translate(VA + (i << 12), Access.READ)
        page = (VA >> 12) + i
        assert [(e.array, e.set) for e in mmu.entries()] == [("DTLB", page % 2), ("STLB", page % 3)]


def test_a_large_page_is_indexed_by_its_own_number(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, level=2)
    mmu.translate(VA, Access.READ)
    page = VA >> 21
    assert [(e.array, e.set) for e in mmu.entries()] == [("DTLB", page % 2), ("STLB", page % 3)]


def test_a_set_never_holds_one_tag_twice(tables: Tables, mmu: Mmu) -> None:
    """A write to a clean page walks again: the new entry takes the old one's place, not a second
    one.
    """
    tables.map(VA)
    mmu.translate(VA, Access.FETCH)
    mmu.translate(VA, Access.READ)
    mmu.translate(VA, Access.WRITE)
    assert sorted(arrays(mmu)) == ["DTLB", "STLB"]


@pytest.mark.parametrize("flags", [0, X86_P | X86_RW])
def test_a_fault_enters_nothing(tables: Tables, mmu: Mmu, flags: int) -> None:
    tables.map(VA, flags=flags)
    assert not mmu.translate(VA, Access.READ).ok
    assert mmu.entries() == mmu.paging_structure_caches() == []


def test_fills_are_told(tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]]) -> None:
    pa = tables.map(VA)
    recorded()
    mmu.translate(VA + 3, Access.WRITE)
    names = [array.name for array in mmu.geometry.arrays]
    told = [(e["address"], e["pa"], names[e["array"]]) for e in recorded() if e.name == "tlb_fill"]
    assert told == [(VA, pa, "STLB"), (VA, pa, "DTLB")]


def test_rights_come_from_all_levels(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    tables.change(VA, 3, clear=X86_US)
    mmu.translate(VA, Access.READ, user=False)
    entry = mmu.resident(VA)
    assert entry is not None and not entry.user
