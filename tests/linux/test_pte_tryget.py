# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a try-get has four results, and holds nothing unless it succeeds (F17 to F20)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.free_tables import FreeTablesPolicy
from mmu.linux.pgtable import TABLE
from mmu.linux.pte_ref import PteAlloc, TryGet
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def none(world: World) -> None:
    world.pmd()


def zero(world: World) -> None:
    engine.pte_alloc_get(world.mm, world.pmd(), BASE)
    world.table().pte_refcount = 0


def huge(world: World) -> None:
    world.memory.write_u64(world.pmd(), TABLE | lib.X86_PS)


def live(world: World) -> None:
    engine.pte_alloc_get(world.mm, world.pmd(), BASE)


STATES = [
    (none, TryGet.FAILED_NONE),
    (zero, TryGet.FAILED_ZERO),
    (huge, TryGet.FAILED_HUGE_PMD),
    (live, TryGet.SUCCEEDED),
]


@pytest.mark.parametrize(
    ("arrange", "expected"), STATES, ids=lambda value: getattr(value, "__name__", value)
)
def test_each_result(world: World, arrange: Callable[[World], None], expected: TryGet) -> None:
    """F17"""
    arrange(world)
    assert engine.pte_try_get(world.mm, world.pmd())[0] == expected
    assert world.mm.kernel.c.this_cpu.rcu_nesting == 0


@pytest.mark.parametrize(
    ("arrange", "expected"), STATES[:3], ids=lambda value: getattr(value, "__name__", value)
)
def test_none_means_nothing_is_held(
    world: World, arrange: Callable[[World], None], expected: TryGet
) -> None:
    """F18, D6: no reference, no lock, no RCU section."""
    arrange(world)
    table = world.table() if arrange is zero else None
    for tryget in (engine.pte_tryget_map, engine.pte_tryget_map_lock):
        assert tryget(world.mm, world.pmd(), BASE) is None
        assert world.mm.kernel.c.this_cpu.rcu_nesting == 0
        assert table is None or (table.pte_refcount, table.ptl) == (0, 0)


def test_success_holds_a_reference_and_with_lock_the_lock(world: World) -> None:
    live(world)
    mm, pmd = world.mm, world.pmd()
    addr = BASE + 5 * PAGE_SIZE
    table = world.memory.read_u64(pmd) & lib.X86_ADDR_MASK
    assert engine.pte_tryget_map(mm, pmd, addr) == table + 5 * 8
    assert (world.count(), world.table().ptl) == (2, 0)
    assert engine.pte_tryget_map_lock(mm, pmd, addr) == table + 5 * 8
    assert (world.count(), world.table().ptl) == (3, 1)
    engine.pte_unlock(mm, world.frame())
    engine.pte_put_many(mm, world.frame(), BASE, 2)
    assert world.count() == 1


def test_get_unless_zero(world: World) -> None:
    live(world)
    assert engine.pte_get_unless_zero(world.mm, world.pmd())
    assert world.count() == 2
    world.table().pte_refcount = 0
    assert not engine.pte_get_unless_zero(world.mm, world.pmd())
    assert world.count() == 0


def test_a_dying_table_is_a_hole_to_walkers_and_no_obstacle_to_faults(world: World) -> None:
    """F19, F20, D2, D9: the freer stopped between count 0 and the PMD; mprotect passes, a fault
    completes its work.
    """
    world.map()
    zero(world)
    old = world.memory.read_u64(world.pmd())
    world.mm.mprotect(BASE, PAGE_SIZE, 1)
    world.mm.mprotect(BASE, PAGE_SIZE, 3)
    world.touch(BASE)
    assert world.memory.read_u64(world.pmd()) != old
    assert world.count() == world.entries() == 1
    assert world.counter("pte_tables_freed") == 1
    engine.free_pte_table(world.mm, world.pmd(), BASE)
    assert world.counter("pte_tables_freed") == 1, "the late freer finds nothing to free"


def test_alloc_get_tells_huge_pmd_and_out_of_memory_apart(world: World) -> None:
    mm, pmd = world.mm, world.pmd()
    world.memory.c.fail_after = 0
    assert engine.pte_alloc_get(mm, pmd, BASE)[0] == PteAlloc.OOM
    world.memory.c.fail_after = 0
    assert engine.pte_alloc_get_map(mm, pmd, BASE) == (PteAlloc.OOM, 0)
    huge(world)
    assert engine.pte_alloc_get_map_lock(mm, pmd, BASE) == (PteAlloc.HUGE_PMD, 0)
    assert mm.kernel.c.this_cpu.rcu_nesting == 0


def test_aba_drops_the_reference_of_the_table_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """D11, ABA: the table leaves its slot between the PMD's reading and the increment, another
    comes in.
    """
    world = World("python")
    mm, pmd = world.mm, world.pmd()
    other_pmd = world.pmd(BASE + (2 << 20))
    engine.pte_alloc_get(mm, pmd, BASE)
    engine.pte_alloc_get(mm, other_pmd, BASE + (2 << 20))
    first, second = world.table(), world.table(BASE + (2 << 20))
    real = FreeTablesPolicy.table_get_unless_zero

    def swapped(self: FreeTablesPolicy, mm_: object, table: int) -> bool:
        a, b = world.memory.read_u64(pmd), world.memory.read_u64(other_pmd)
        world.memory.write_u64(pmd, b)
        world.memory.write_u64(other_pmd, a)
        return real(self, mm, table)

    monkeypatch.setattr(FreeTablesPolicy, "table_get_unless_zero", swapped)
    assert engine.pte_try_get(mm, pmd)[0] == TryGet.FAILED_NONE
    assert (first.pte_refcount, second.pte_refcount) == (1, 1)
