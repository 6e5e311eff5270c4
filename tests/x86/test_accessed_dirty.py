# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a walk sets A of each entry it uses, D of the leaf for a write, atomically, and never
clears them (SDM 4.8).

A of an upper entry is set when the entry is used, even if a lower level then faults; the leaf is
touched only when nothing faults.
"""

from __future__ import annotations

import pytest

from mmu.events import EventRing
from mmu.x86 import Access, Mmu, Outcome, WalkMode
from mmu.x86.entries import X86_A, X86_D, X86_P, X86_US
from mmu.x86.faults import PF_US, PF_WR
from ucmmu.testing.tables import USER, VA, Tables

MODES = [WalkMode.QUIET, WalkMode.HARDWARE]


def bits(tables: Tables, lowest: int = 1) -> list[int]:
    """A and D of the entries from the PML4E down."""
    return [tables.get(VA, level) & (X86_A | X86_D) for level in range(4, lowest - 1, -1)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("access", [Access.READ, Access.FETCH])
def test_reads_and_fetches_set_a(tables: Tables, mmu: Mmu, access: Access, mode: WalkMode) -> None:
    tables.map(VA)
    mmu.walk(VA, access, mode=mode)
    assert bits(tables) == [X86_A] * 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_write_sets_d_of_the_leaf_only(
    tables: Tables, mmu: Mmu, level: int, mode: WalkMode
) -> None:
    tables.map(VA, level=level)
    mmu.walk(VA, Access.WRITE, mode=mode)
    assert bits(tables, level) == [X86_A] * (4 - level) + [X86_A | X86_D]


def test_a_probe_sets_nothing(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    assert mmu.walk(VA, Access.WRITE).dirty is False
    assert bits(tables) == [0] * 4


def test_a_denied_access_leaves_the_leaf_alone(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=X86_P | X86_US)
    mmu.walk(VA, Access.WRITE, mode=WalkMode.QUIET)
    assert bits(tables) == [X86_A, X86_A, X86_A, 0]


def test_upper_entries_are_used_even_if_a_lower_one_faults(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    tables.put(VA, 1, 0)
    mmu.walk(VA, mode=WalkMode.QUIET)
    assert bits(tables) == [X86_A, X86_A, X86_A, 0]


def test_set_bits_stay(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | X86_A | X86_D)
    mmu.walk(VA, Access.READ, mode=WalkMode.QUIET)
    assert bits(tables)[-1] == X86_A | X86_D


def test_a_supervisor_write_without_wp_sets_d_of_a_read_only_page(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=X86_P)
    mmu.write_cr0(mmu.c.cr0 & ~(1 << 16))
    mmu.translate(VA, Access.WRITE, user=False)
    assert bits(tables)[-1] == X86_A | X86_D


def test_a_write_through_a_clean_tlb_entry_walks_and_sets_d(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    walks = mmu.counters()["dtlb_store_misses.miss_causes_a_walk"]
    assert mmu.translate(VA, Access.WRITE).ok
    assert mmu.counters()["dtlb_store_misses.miss_causes_a_walk"] == walks + 1
    assert bits(tables)[-1] == X86_A | X86_D
    entry = mmu.resident(VA, Access.WRITE)
    assert entry is not None and entry.dirty
    mmu.translate(VA, Access.WRITE)
    assert mmu.counters()["dtlb_store_misses.miss_causes_a_walk"] == walks + 1


def test_a_cleared_d_is_not_seen_until_the_entry_goes(tables: Tables, mmu: Mmu) -> None:
    """Whoever clears D must flush, or writes go unnoticed (SDM 4.10.4.2)."""
    tables.map(VA)
    mmu.translate(VA, Access.WRITE)
    tables.change(VA, 1, clear=X86_D)
    mmu.translate(VA, Access.WRITE)
    assert bits(tables)[-1] == X86_A
    mmu.invlpg(VA)
    mmu.translate(VA, Access.WRITE)
    assert bits(tables)[-1] == X86_A | X86_D


def change_after_reading(tables: Tables, level: int, value: int) -> None:
    """Be another agent: set VA's entry of a level just after a walk has read it, before it sets A
    or D there.

    The ring holds one record, so it calls on_full at every event. Those of a first walk are, from
    level 4 down, walk_entry and walk_set_ad; the entry has been read when its walk_entry is told.
    """
    pa = tables.entry_pa(VA, level)
    events = iter(range(100))

    def on_full(ring: EventRing) -> None:
        ring.read()
        if next(events) == 2 * (4 - level):
            tables.memory.write_u64(pa, value)

    ring = EventRing(1, on_full=on_full)
    ring.enable()
    ring.emit(0)
    tables.mmu.ring = ring


@pytest.mark.parametrize("level", [4, 3, 2, 1])
def test_an_entry_that_changes_under_the_walk(tables: Tables, mmu: Mmu, level: int) -> None:
    """The walk begins again and believes only what it reads then; nothing is written to the entry
    it gave up.
    """
    tables.map(VA)
    change_after_reading(tables, level, 0)
    walk = mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE)
    assert (walk.result, walk.level, walk.error_code) == (Outcome.PAGE_FAULT, level, PF_US | PF_WR)
    assert tables.memory.read_u64(walk.entry_pa[level]) == 0
    assert mmu.counters()["page_walker_loads"] == 2 * (5 - level)


def test_a_page_that_moves_under_the_walk(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    other = tables.frame()
    change_after_reading(tables, 1, other | USER)
    walk = mmu.walk(VA, Access.WRITE, mode=WalkMode.HARDWARE)
    assert (walk.result, walk.pa) == (Outcome.OK, other)
    assert tables.get(VA, 1) == other | USER | X86_A | X86_D
