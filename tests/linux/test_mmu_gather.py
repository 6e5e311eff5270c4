# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what is unmapped is flushed once, then freed; nothing is freed before its flush."""

from __future__ import annotations

import pytest

from mmu._native import ffi, lib
from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.pgtable import PMD_SIZE, TLB_FLUSH_ALL
from mmu.linux.policy import FreeTables
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_frames_are_freed_after_the_flush(world: World) -> None:
    world.map()
    for page in range(5):
        world.touch(BASE + page * PAGE_SIZE)
    world.events()
    world.mm.munmap(BASE, 512 * PAGE_SIZE)
    names = [event.name for event in world.events("flush_tlb_mm_range", "mm_page_free")]
    assert names == ["flush_tlb_mm_range", *["mm_page_free"] * 5]


def test_the_range_is_what_was_cleared(world: World) -> None:
    world.map()
    for page in (7, 20):
        world.touch(BASE + page * PAGE_SIZE)
    world.touch(BASE)
    world.events()
    world.mm.madvise(BASE + PAGE_SIZE, 511 * PAGE_SIZE, 4)
    assert [event.values[:3] for event in world.events("flush_tlb_mm_range")] == [
        (BASE + 7 * PAGE_SIZE, BASE + 21 * PAGE_SIZE, 0)
    ]


def test_nothing_unmapped_nothing_flushed(world: World) -> None:
    world.map()
    world.events()
    world.dontneed(BASE, 512)
    assert not world.events("flush_tlb_mm_range")


@pytest.mark.parametrize("memory", [True, False])
def test_the_gather_grows_only_with_memory(world: World, memory: bool) -> None:
    """8 frames in itself; with a batch 514. Without memory for one it says "full" at 8 (F15)."""
    tlb = engine.tlb_gather_mmu(world.mm)
    frames = [world.memory.alloc_pages() for _ in range(514)]
    if not memory:
        world.memory.c.fail_after = 0
    full = [engine.tlb_remove_page(tlb, frame) for frame in frames[: 514 if memory else 8]]
    assert full == [False] * (len(full) - 1) + [True]
    engine.tlb_flush_mmu(tlb)
    assert tlb.c.nr == 0
    engine.tlb_finish_mmu(tlb)


def test_a_gathered_table_is_one_page_of_flush(world: World) -> None:
    mm = world.mm
    for slot in range(3):
        engine.pte_alloc_get(mm, world.pmd(BASE + slot * PMD_SIZE), BASE)
    tlb = engine.tlb_gather_mmu(mm)
    for slot in range(3):
        engine.pte_put_tlb(
            tlb, world.frame(BASE + slot * PMD_SIZE), BASE + slot * PMD_SIZE + 5 * PAGE_SIZE
        )
    world.events()
    engine.tlb_finish_mmu(tlb)
    assert [event["address"] for event in world.events("invlpg")] == [
        BASE + slot * PMD_SIZE for slot in range(3)
    ]


def test_an_upper_table_is_flushed_in_all_its_reach(world: World) -> None:
    """A PMD table maps 1 GiB: more pages than are flushed one by one."""
    world.map(pages=1)
    world.touch(BASE)
    world.dontneed(BASE, 1)
    assert world.tables() == 2
    world.events()
    world.mm.munmap(BASE, PAGE_SIZE)
    assert world.tables() == 0
    (flush,) = world.events("flush_tlb_mm_range")
    assert flush.values[:3] == (0, TLB_FLUSH_ALL, 1)


def test_a_whole_mm_is_flushed_whole(world: World) -> None:
    world.map()
    world.touch(BASE)
    world.events()
    world.mm.exit_mmap()
    assert {event["end"] for event in world.events("flush_tlb_mm_range")} == {TLB_FLUSH_ALL}


def test_full_of_tables_flushes_too() -> None:
    """A gather of tables alone has its limit as well: 514, then they go to RCU."""
    for name in ("c", "python"):
        world = World(name, FreeTables.NEVER, exact=False)
        world.map(BASE, 520 * 512)
        for slot in range(520):
            world.touch(BASE + slot * PMD_SIZE)
        world.events()
        world.mm.munmap(BASE, 520 * PMD_SIZE)
        assert world.mm.kernel.c.rcu.nr_pending >= 520
        world.exit()


def test_one_at_a_time(world: World) -> None:
    tlb = engine.tlb_gather_mmu(world.mm)
    with pytest.raises(MmBug) as caught:
        engine.tlb_gather_mmu(world.mm)
    assert caught.value.bug == Bug.GATHER_NESTED
    world.mm.kernel.c.this_cpu.gather = tlb.c
    engine.tlb_finish_mmu(tlb)
    assert world.mm.kernel.c.this_cpu.gather == ffi.NULL
    assert lib.MMU_GATHER_BUNDLE == 8
