# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever the order of the steps of several CPUs, a PTE table is freed exactly once, when
its last entry is gone, and nobody comes to it afterwards; in both designs of the count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest

from mmu.errors import MmuError
from mmu.linux import engine, policies, pte_ref
from mmu.linux.policy import FreeTables
from mmu.linux.pte_ref import TryGet
from ucmmu.race.interleaving import Interleaving, Step, explore
from ucmmu.race.world import BASE, PAGE_SIZE, SLOT, Actor, RaceWorld
from ucmmu.testing.variants import replaced

BOTH = pytest.mark.parametrize(
    "policy",
    [FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK],
    ids=lambda policy: policy.label,
)
FORMS = pytest.mark.parametrize("form", ["direct", "gathered"])
OTHER = BASE + PAGE_SIZE
GAPS = ["pte_put", "free_pte_table", "pmd_cleared", "inc_mm_tlb_gen", "tlb_flush_mmu"]


def every_order(
    policy: FreeTables,
    actors: Callable[[RaceWorld], dict[int, Actor]],
    *,
    cpus: int = 2,
    preemptions: int = 1,
    left: int | None = 0,
    points: Collection[str] | None = None,
) -> int:
    """Run the actors in every order with so few preemptions; ``left`` tables remain (None: as the
    order has it). Returns how many orders there were.
    """

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        world = RaceWorld(policy, cpus)
        made = actors(world)
        race = Interleaving(world.kernel, made, schedule=schedule, points=points).run()
        world.kernel.check()
        report = world.mm.check_tables()
        assert report.ok, str(report)
        assert left in (None, report.pte_tables)
        world.settle()
        return race

    return explore(scenario, preemptions=preemptions)


@BOTH
@FORMS
def test_a_fault_against_the_last_entrys_end(policy: FreeTables, form: str) -> None:
    """The table lives on with the fault's entry, or another one does."""

    def actors(world: RaceWorld) -> dict[int, Actor]:
        world.run_on(0)
        world.write(BASE)()
        return {0: world.clear(BASE, form), 1: world.write(OTHER)}

    assert every_order(policy, actors, left=1) > 15


@BOTH
@FORMS
def test_two_who_clear_the_last_two_entries(policy: FreeTables, form: str) -> None:
    """One of them frees the table; the other one's cleared translations go with it (F13)."""

    def actors(world: RaceWorld) -> dict[int, Actor]:
        for number, addr in enumerate((BASE, OTHER)):
            world.run_on(number)
            world.write(addr)()
        return {0: world.clear(BASE, form), 1: world.clear(OTHER, "gathered")}

    assert every_order(policy, actors) > 15


@BOTH
def test_two_zaps_and_a_fault_on_one_table(policy: FreeTables) -> None:
    def actors(world: RaceWorld) -> dict[int, Actor]:
        world.run_on(0)
        world.write(BASE, OTHER)()
        return {
            0: world.dontneed(BASE),
            1: world.dontneed(OTHER),
            2: world.write(BASE + 2 * PAGE_SIZE),
        }

    steps = {"pte_try_get", "pte_put", "pmd_cleared"}
    assert every_order(policy, actors, cpus=3, left=1, points=steps) > 30


STEPS = {"pte_try_get", "pte_put", "free_pte_table", "pmd_cleared", "tlb_flush_mmu"}


@pytest.mark.stress
@BOTH
@FORMS
@pytest.mark.parametrize("cpus", [2, 3])
def test_with_more_preemptions(policy: FreeTables, form: str, cpus: int) -> None:
    def actors(world: RaceWorld) -> dict[int, Actor]:
        world.run_on(0)
        world.write(BASE, OTHER)()
        made = {0: world.dontneed(BASE, 2 * PAGE_SIZE), 1: world.clear(OTHER, form)}
        return {**made, 2: world.write(BASE + 2 * PAGE_SIZE)} if cpus == 3 else made

    points = STEPS if cpus == 3 else None
    every_order(policy, actors, cpus=cpus, preemptions=2, left=int(cpus == 3), points=points)


@BOTH
@FORMS
@pytest.mark.parametrize("gap", GAPS)
def test_a_fault_in_each_gap_of_a_free(policy: FreeTables, form: str, gap: str) -> None:
    """The freer stands between two of its steps while another CPU's fault goes to its end, or as
    far as the freer's lock lets it.
    """
    world = RaceWorld(policy)
    world.run_on(0)
    world.write(BASE)()
    world.race(
        {0: world.clear(BASE, form), 1: world.write(OTHER)},
        [(0, gap), (1, "ended"), (0, "ended")],
    )
    assert (world.count(), bool(world.pte(OTHER))) == (1, True)
    world.settle()


@FORMS
def test_a_reader_with_the_old_value_of_the_pmd(form: str) -> None:
    """Second design: the table stays a table, with a count of 0 that refuses, until the reader has
    left its RCU read section; then it is freed.
    """
    world = RaceWorld(FreeTables.REFCOUNT)
    world.run_on(0)
    world.write(BASE)()
    page, found = world.memory.page(world.frame()), []

    def reader() -> None:
        found.append(engine.pte_try_get(world.mm, world.pmd())[0])
        found.append(bool(page._refcount))

    world.race(
        {0: world.clear(BASE, form), 1: reader}, [(1, "pte_try_get"), (0, "ended"), (1, "ended")]
    )
    assert found == [TryGet.FAILED_ZERO, True]
    world.quiesce()
    assert page._refcount == 0
    world.settle()


@pytest.mark.parametrize("invlpgb", [False, True], ids=["IPI", "INVLPGB"])
@FORMS
@BOTH
def test_a_lockless_walker_holds_the_frame(policy: FreeTables, form: str, invlpgb: bool) -> None:
    """It has interrupts off: the flush's IPI waits for it, or RCU does, or, where neither is, the
    interrupt of tlb_remove_table_sync_one().
    """
    world = RaceWorld(policy, 4, invlpgb=invlpgb)
    world.run_on(0)
    world.write(BASE)()
    world.race(
        {0: world.clear(BASE, form), 1: world.lockless_walk(BASE)},
        [(1, "walking"), (0, "ended"), (1, "ended")],
    )
    world.settle()


def test_without_that_interrupt_it_walks_through_a_freed_frame() -> None:
    """What the broadcast takes away, in the first design."""
    world = RaceWorld(FreeTables.REFCOUNT_PMDLOCK, 4, invlpgb=True)
    world.run_on(0)
    world.write(BASE)()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(policies, "tlb_remove_table_sync_one", lambda _: 0))
        stack.enter_context(pytest.raises(AssertionError, match="through a freed frame"))
        world.race(
            {0: world.clear(BASE, "direct"), 1: world.lockless_walk(BASE)},
            [(1, "walking"), (0, "ended"), (1, "ended")],
        )


@BOTH
def test_a_visitor_outlives_the_move_of_its_table(policy: FreeTables) -> None:
    """D11: mremap moves the table; the visitor's put is the last, and frees it in its new slot."""
    world = RaceWorld(policy)
    world.run_on(0)
    world.write(BASE)()

    def mover() -> None:
        assert world.move_table(BASE, BASE + SLOT)()
        world.clear(BASE + SLOT, "gathered")()

    world.race({0: mover, 1: world.visit(BASE)}, [(1, "visiting"), (0, "ended"), (1, "ended")])
    assert (world.frame(), world.frame(BASE + SLOT)) == (0, 0)
    world.settle()


UNCOUNTED = pytest.mark.parametrize(
    "policy", [FreeTables.NEVER, FreeTables.SCAN], ids=lambda policy: policy.label
)


def zap_and_zap(world: RaceWorld) -> dict[int, Actor]:
    """Two zaps of the whole table."""
    world.run_on(0)
    world.write(BASE)()
    return {0: world.dontneed(BASE, SLOT), 1: world.dontneed(BASE, SLOT)}


def zap_and_fault(world: RaceWorld) -> dict[int, Actor]:
    """A zap of the whole table, and a fault in it."""
    world.run_on(0)
    world.write(BASE)()
    return {0: world.dontneed(BASE, SLOT), 1: world.write(OTHER)}


@UNCOUNTED
@pytest.mark.parametrize("actors", [zap_and_zap, zap_and_fault])
def test_where_nothing_is_counted_the_table_is_looked_for_again(
    policy: FreeTables, actors: Callable[[RaceWorld], dict[int, Actor]]
) -> None:
    """Its PTE lock is waited for, and it may be gone by then (pte_offset_map_lock(), v6.18)."""
    assert every_order(policy, actors, left=None) > 10


def test_else_scan_frees_a_table_under_a_fault() -> None:
    def locked_only(mm: Any, pmd: int, table: int) -> bool:
        engine.pte_lock(mm, table)
        return True

    with ExitStack() as stack:
        stack.enter_context(replaced(pte_ref, _lock_same=locked_only))
        stack.enter_context(pytest.raises((AssertionError, MmuError)))
        every_order(FreeTables.SCAN, zap_and_fault, left=None)


@FORMS
def test_exit_does_not_wait_for_late_readers(form: str) -> None:
    """The mm is gone, its table's frame is not: a reader on another CPU still has the old PMD."""
    world = RaceWorld(FreeTables.REFCOUNT)
    world.run_on(0)
    world.write(BASE, OTHER)()
    page, pmd, seen = world.memory.page(world.frame()), world.pmd(), []

    def reader() -> None:
        seen.append(engine.pte_try_get(world.mm, pmd)[0])
        seen.append(page._refcount)

    def leaver() -> None:
        world.clear(BASE, form)()
        world.mm.exit_mmap()

    world.race({0: leaver, 1: reader}, [(1, "pte_try_get"), (0, "ended"), (1, "ended")])
    assert seen == [TryGet.FAILED_ZERO, 1]
    world.quiesce()
    assert page._refcount == 0
    world.settle()


@BOTH
def test_a_move_against_a_visitor_in_every_order(policy: FreeTables) -> None:
    """The visitor's put is of the table it held, or of one that it made in the empty slot."""

    def actors(world: RaceWorld) -> dict[int, Actor]:
        world.run_on(0)
        world.write(BASE)()
        return {0: world.move_table(BASE, BASE + SLOT), 1: world.visit(BASE)}

    assert every_order(policy, actors, left=1) > 10
