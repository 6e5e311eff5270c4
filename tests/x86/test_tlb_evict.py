# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a full set gives one place away, counted and told; a stale entry that goes is to be forgotten by consumers."""

from __future__ import annotations

from collections.abc import Callable

from mmu.events import Event
from mmu.x86 import Access, Mmu
from tests.x86.tables import VA, Tables

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
    assert evicted == [{"address": vas[0], "pa": first.pa, "array": 0}]
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
