# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: of two installers one wins; the loser frees its table and takes a reference on the
winner's.
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.linux import engine, pgalloc
from tests.linux.world import BASE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def new_table(world: World) -> int:
    pfn = pgalloc.table_alloc(world.mm)
    assert pfn is not None
    engine.pte_ref_init(world.mm, pfn, world.pmd(), 1)
    return pfn


def test_the_count_is_there_before_the_table_is_seen(world: World) -> None:
    """D1"""
    pfn = new_table(world)
    page = world.memory.page(pfn)
    assert (page.pte_refcount, page.pmd, world.memory.read_u64(world.pmd())) == (1, world.pmd(), 0)
    assert engine.pmd_install(world.mm, world.pmd(), BASE, pfn)
    assert world.memory.read_u64(world.pmd()) == pfn << 12 | lib._PAGE_TABLE


def test_the_loser_joins_the_winner(world: World) -> None:
    mm, pmd = world.mm, world.pmd()
    winner, loser = new_table(world), new_table(world)
    assert engine.pmd_install(mm, pmd, BASE, winner)
    tables = world.tables()
    assert engine.pmd_install(mm, pmd, BASE, loser)
    assert (world.count(), world.tables(), world.counter("pte_tables_allocated")) == (2, tables, 1)
    assert world.memory.page(loser)._refcount == 0


def test_the_loser_cannot_join_a_dying_winner(world: World) -> None:
    mm, pmd = world.mm, world.pmd()
    winner, loser = new_table(world), new_table(world)
    engine.pmd_install(mm, pmd, BASE, winner)
    world.table().pte_refcount = 0
    assert not engine.pmd_install(mm, pmd, BASE, loser)
    assert world.memory.page(loser)._refcount == 0
    assert world.memory.page(winner).pte_refcount == 0


def test_the_locks_are_free_afterwards(world: World) -> None:
    mm, pmd = world.mm, world.pmd()
    engine.pmd_install(mm, pmd, BASE, new_table(world))
    engine.pmd_lock(mm, pmd)
    engine.pmd_unlock(mm, pmd)
    engine.pte_lock(mm, world.frame())
    engine.pte_unlock(mm, world.frame())
