# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a full set gives one place away, counted and told; a stale entry that goes is to be
forgotten by consumers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from mmu.events import Event
from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_D, X86_G, X86_P, X86_PK_SHIFT, X86_PWT, X86_RW, X86_US, X86_XD
from mmu.x86.registers import CR4_SMAP
from ucmmu.testing.tables import SUPERVISOR, USER, VA, Tables

STEP = 2 << 12
"""Pages this far apart share a set of the first level of ``tiny``, which has two ways."""


def fill(tables: Tables, mmu: Mmu, pages: int) -> list[int]:
    """Read so many pages of one set, mapping those that are not mapped."""
    vas = [VA + i * STEP for i in range(pages)]
    for va in vas:
        if not tables.get(va, 1):
            tables.map(va)
        mmu.translate(va, Access.READ)
    return vas


def in_array(mmu: Mmu, name: str) -> set[int]:
    return {entry.va for entry in mmu.entries() if entry.array == name}


def test_empty_places_go_first(tables: Tables, mmu: Mmu) -> None:
    fill(tables, mmu, 2)
    assert [entry.way for entry in mmu.entries() if entry.array == "DTLB"] == [0, 1]
    assert mmu.counters()["tlb_evictions"] == 0


def test_a_third_page_evicts(tables: Tables, mmu: Mmu, recorded: Callable[[], list[Event]]) -> None:
    vas = fill(tables, mmu, 2)
    first = mmu.resident(vas[0])
    assert first is not None
    tables.map(VA + 2 * STEP)
    recorded()
    mmu.translate(VA + 2 * STEP, Access.READ)
    assert mmu.counters()["tlb_evictions"] == 1
    evicted = [event.fields for event in recorded() if event.name == "tlb_evict"]
    assert [(e["address"], e["pa"], e["array"]) for e in evicted] == [(vas[0], first.pa, 0)]
    assert in_array(mmu, "DTLB") == {vas[1], VA + 2 * STEP}


def test_the_levels_evict_by_themselves(tables: Tables, mmu: Mmu) -> None:
    """The first level is not inclusive: a page may stay in one level when it leaves the other."""
    vas = fill(tables, mmu, 3)
    assert vas[0] not in in_array(mmu, "DTLB")
    assert vas[0] in in_array(mmu, "STLB")
    hits = mmu.counters()["dtlb_load_misses.stlb_hit"]
    mmu.translate(vas[0], Access.READ)
    assert mmu.counters()["dtlb_load_misses.stlb_hit"] == hits + 1
    assert vas[0] in in_array(mmu, "DTLB")


def test_another_set_is_left_alone(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA + 4096)
    mmu.translate(VA + 4096, Access.READ)
    fill(tables, mmu, 3)
    assert VA + 4096 in in_array(mmu, "DTLB")


def test_a_fresh_entry_leaves_quietly(tables: Tables, mmu: Mmu) -> None:
    """What a consumer learned from it is still what a walk would say."""
    fill(tables, mmu, 2)
    mmu.tables_changed()
    mmu.take_soft_flush()
    fill(tables, mmu, 4)
    assert mmu.take_soft_flush() == (False, [])


def test_a_stale_entry_is_to_be_forgotten(tables: Tables, mmu: Mmu) -> None:
    vas = fill(tables, mmu, 2)
    tables.map(vas[0])
    mmu.tables_changed()
    mmu.take_soft_flush()
    tables.map(VA + 2 * STEP)
    mmu.translate(VA + 2 * STEP, Access.READ)
    assert mmu.take_soft_flush() == (False, [vas[0]])


def evicted_after(tables: Tables, mmu: Mmu, change: Callable[[], None]) -> tuple[bool, list[int]]:
    """What is to be forgotten when two more pages push VA's entry, older than the change, out of
    its set.
    """
    mmu.translate(VA, Access.READ)
    change()
    mmu.tables_changed()
    mmu.take_soft_flush()
    for i in (1, 2):
        tables.map(VA + i * STEP)
        mmu.translate(VA + i * STEP, Access.READ)
    assert VA not in in_array(mmu, "DTLB")
    return mmu.take_soft_flush()


@pytest.mark.parametrize(
    ("level", "set", "clear"),
    [
        (1, 0, X86_P),
        (1, 0, X86_RW),
        (1, 0, X86_US),
        (2, 0, X86_RW),
        (2, X86_XD, 0),
        (1, X86_XD, 0),
        (1, 0, X86_D),
        (1, 1 << X86_PK_SHIFT, 0),
        (1, 1 << 20, 0),
    ],
)
def test_each_change_that_makes_stale(
    tables: Tables, mmu: Mmu, level: int, set: int, clear: int
) -> None:
    tables.map(VA, 0, USER | X86_D)
    change = functools.partial(tables.change, VA, level, set=set, clear=clear)
    assert evicted_after(tables, mmu, change) == (False, [VA])


def test_an_unmapped_page_without_rights(tables: Tables, mmu: Mmu) -> None:
    """A supervisor's read-only page: a walk that ends in a fault tells no rights either, and is not
    the same.
    """
    tables.map(VA, 0, X86_P)
    assert mmu.translate(VA, Access.READ, user=False).ok
    tables.put(VA, 1, 0)
    mmu.tables_changed()
    mmu.take_soft_flush()
    for i in (1, 2):
        tables.map(VA + i * STEP)
        mmu.translate(VA + i * STEP, Access.READ)
    assert mmu.take_soft_flush() == (False, [VA])


@pytest.mark.parametrize("set", [X86_PWT, 0xE00])
def test_a_change_that_does_not(tables: Tables, mmu: Mmu, set: int) -> None:
    """Bits that are software's, or that a soft TLB has no use for."""
    tables.map(VA)
    assert evicted_after(tables, mmu, lambda: tables.change(VA, 1, set=set)) == (False, [])


def test_d_set_makes_nothing_stale(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    assert evicted_after(tables, mmu, lambda: tables.change(VA, 1, set=X86_D)) == (False, [])


def test_no_longer_a_shadow_stack(tables: Tables, mmu: Mmu) -> None:
    """Which it was for the R/W of the levels above, and for no other reason."""
    tables.map(VA, flags=X86_P | X86_US | X86_D)
    assert evicted_after(tables, mmu, lambda: tables.change(VA, 2, clear=X86_RW)) == (False, [VA])


def test_a_table_for_a_large_page(tables: Tables, mmu: Mmu) -> None:
    """The same frames with the same rights, but one by one: what holds for one page does not for
    its neighbours.
    """
    base = VA & -(2 << 20)
    tables.map(base, 0, level=2)
    mmu.translate(base, Access.READ)
    tables.put(base, 2, 0)
    tables.map(base, 0)
    mmu.tables_changed()
    mmu.take_soft_flush()
    for i in (1, 2):
        tables.map(base + i * (2 << 21), level=2)
        mmu.translate(base + i * (2 << 21), Access.READ)
    assert mmu.take_soft_flush() == (True, [])


@pytest.mark.parametrize("flags", [USER, SUPERVISOR])
def test_smap_makes_nothing_stale(tables: Tables, mmu: Mmu, flags: int) -> None:
    """An entry is compared as its own page's owner sees it."""
    tables.map(VA, flags=flags)
    mmu.write_cr4(mmu.c.cr4 | CR4_SMAP)
    assert mmu.translate(VA, Access.READ, user=flags == USER).ok
    mmu.tables_changed()
    mmu.take_soft_flush()
    for i in (1, 2):
        tables.map(VA + i * STEP)
        mmu.translate(VA + i * STEP, Access.READ)
    assert mmu.take_soft_flush() == (False, [])


@pytest.mark.parametrize(("flags", "forgotten"), [(USER, []), (USER | X86_G, [VA])])
def test_another_pcids_entry(tables: Tables, mmu: Mmu, flags: int, forgotten: list[int]) -> None:
    """No soft TLB has one, unless it is global: it is every PCID's."""
    tables.map(VA, 0, flags)

    def change() -> None:
        tables.map(VA, 1 << 20, flags)
        tables.load(2, keep=True)

    assert evicted_after(tables, mmu, change) == (False, forgotten)


def test_a_change_that_is_not_announced(tables: Tables, mmu: Mmu) -> None:
    """Who changes tables without a word has no consumer that could have learned from them."""
    fill(tables, mmu, 2)
    tables.map(VA)
    mmu.take_soft_flush()
    fill(tables, mmu, 4)
    assert mmu.take_soft_flush() == (False, [])


def test_a_stale_large_page_means_everything(tables: Tables, mmu: Mmu) -> None:
    """512 pages are more than the list names singly."""
    tables.map(VA, level=2)
    mmu.translate(VA, Access.READ)
    tables.map(VA, 2 << 20, level=2)
    mmu.tables_changed()
    mmu.take_soft_flush()
    for i in (1, 2):
        tables.map(VA + i * (2 << 21), level=2)
        mmu.translate(VA + i * (2 << 21), Access.READ)
    assert mmu.take_soft_flush() == (True, [])


def test_the_instruction_side_evicts_too(tables: Tables, mmu: Mmu) -> None:
    for i in range(3):
        tables.map(VA + (i << 12))
        mmu.translate(VA + (i << 12), Access.FETCH)
    assert in_array(mmu, "ITLB") == {VA + 4096, VA + 8192}
