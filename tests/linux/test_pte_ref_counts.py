# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a PTE table's count is its non-none entries plus its visitors (F1 to F7)."""

from __future__ import annotations

import pytest

from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.policy import FreeTables
from mmu.linux.pte_ref import PteAlloc
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World, both


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_install_counts_one_for_the_installer_and_one_table(world: World) -> None:
    """F1"""
    mm, pmd = world.mm, world.pmd()
    before = world.tables()
    assert engine.pte_alloc_get(mm, pmd, BASE)[0] == PteAlloc.OK
    assert (world.count(), world.tables() - before, world.counter("pte_tables_allocated")) == (
        1,
        1,
        1,
    )
    assert world.table().pmd == pmd
    engine.pte_put(mm, world.frame(), BASE)
    assert (world.table(), world.tables(), world.counter("pte_tables_freed")) == (None, before, 1)


def test_each_entry_counts_one(world: World) -> None:
    """F2, F3"""
    world.map()
    for n in range(1, 20):
        world.touch(BASE + n * PAGE_SIZE)
        assert world.count() == world.entries() == n


def test_changes_of_content_count_nothing(world: World) -> None:
    """F2: read then write (zero page to own page), protection away and back."""
    world.map()
    world.touch(BASE, write=False)
    assert world.count() == 1
    world.touch(BASE)
    assert world.count() == 1
    for prot in (1, 0, 3):
        world.mm.mprotect(BASE, PAGE_SIZE, prot)
        assert world.count() == world.entries() == 1


def test_visitors_count_beside_entries(world: World) -> None:
    """F4"""
    world.map()
    world.touch(BASE)
    mm, pmd = world.mm, world.pmd()
    assert engine.pte_tryget_map(mm, pmd, BASE) is not None
    assert (world.count(), world.entries()) == (2, 1)
    world.dontneed(BASE, 512)
    assert (world.count(), world.entries()) == (1, 0), "the visitor keeps the empty table"
    engine.pte_put(mm, world.frame(), BASE)
    assert world.table() is None


def test_bulk_equals_singles() -> None:
    """F5"""
    one, many = both()
    for world in (one, many):
        engine.pte_alloc_get(world.mm, world.pmd(), BASE)
    for _ in range(7):
        engine.pte_get(one.mm, one.frame())
    engine.pte_get_many(many.mm, many.frame(), 7)
    assert one.count() == many.count() == 8
    for _ in range(3):
        engine.pte_put(one.mm, one.frame(), BASE)
    engine.pte_put_many(many.mm, many.frame(), BASE, 3)
    engine.pte_put_many(many.mm, many.frame(), BASE, 0)
    engine.pte_get_many(many.mm, many.frame(), 0)
    assert one.count() == many.count() == 5


@pytest.mark.parametrize(
    ("start", "get", "nr", "bug"),
    [
        (3, False, 4, Bug.PTE_REF_UNDERFLOW),
        (0, True, 1, Bug.PTE_REF_FROM_ZERO),
        (0x7FFF_FFF0, True, 0x10, Bug.PTE_REF_OVERFLOW),
    ],
)
def test_misuse_is_caught_and_changes_nothing(
    world: World, start: int, get: bool, nr: int, bug: Bug
) -> None:
    """F6"""
    mm, pmd = world.mm, world.pmd()
    engine.pte_alloc_get(mm, pmd, BASE)
    world.table().pte_refcount = start
    with pytest.raises(MmBug) as caught:
        if get:
            engine.pte_get_many(mm, world.frame(), nr)
        else:
            engine.pte_put_many(mm, world.frame(), BASE, nr)
    assert caught.value.bug == bug
    assert world.count() == start


def test_the_highest_count_is_allowed(world: World) -> None:
    """F6, the other side of the limit."""
    mm, pmd = world.mm, world.pmd()
    engine.pte_alloc_get(mm, pmd, BASE)
    world.table().pte_refcount = 0x7FFF_FFF0
    engine.pte_get_many(mm, world.frame(), 0xF)
    assert world.count() == 0x7FFF_FFFF


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_nothing_is_left_after_exit(policy: FreeTables) -> None:
    """F7"""
    for world in both(policy):
        world.map(BASE, 2048)
        for page in range(0, 2048, 100):
            world.touch(BASE + page * PAGE_SIZE)
        world.dontneed(BASE, 700)
        world.exit()


def test_a_leaked_reference_shows_at_exit(world: World) -> None:
    """F7: with counting on, tearing down meets no PTE table; one reference too many and it does."""
    world.map()
    world.touch(BASE)
    engine.pte_get(world.mm, world.frame())
    with pytest.raises(MmBug) as caught:
        world.mm.exit_mmap()
    assert caught.value.bug == Bug.PTE_TABLE_LEAKED


@pytest.mark.parametrize("policy", [FreeTables.NEVER, FreeTables.SCAN])
@pytest.mark.parametrize("engine", ["c", "python"])
def test_other_policies_do_not_count(policy: FreeTables, engine: str) -> None:
    world = World(engine, policy)
    world.map()
    world.touch(BASE)
    assert (world.count(), world.entries()) == (0, 1)
    assert not world.events("pte_get", "pte_put", "pte_tryget")
