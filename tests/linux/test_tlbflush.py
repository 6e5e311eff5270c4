# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: flush_tlb_mm_range drops page by page up to 33 pages, the whole address space above;
freed_tables is told.
"""

from __future__ import annotations

import pytest

from mmu.linux import engine
from mmu.linux.pgtable import PMD_SIZE, TLB_FLUSH_ALL
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.mark.parametrize("pages", [1, 2, 33])
def test_up_to_the_ceiling_one_invlpg_a_page(world: World, pages: int) -> None:
    world.events()
    engine.flush_tlb_mm_range(world.mm, BASE, BASE + pages * PAGE_SIZE, 12, 0)
    expected = [BASE + i * PAGE_SIZE for i in range(pages)]
    assert [event["address"] for event in world.events("invlpg", "mov_cr3")] == expected
    assert (world.counter("nr_tlb_local_flush_one"), world.counter("nr_tlb_local_flush_all")) == (
        pages,
        0,
    )


@pytest.mark.parametrize("end", [BASE + 34 * PAGE_SIZE, TLB_FLUSH_ALL])
def test_above_the_ceiling_one_mov_to_cr3(world: World, end: int) -> None:
    world.events()
    engine.flush_tlb_mm_range(world.mm, BASE, end, 12, 1)
    flush, mov = world.events("flush_tlb_mm_range", "invlpg", "mov_cr3")
    assert (flush.name, flush.values[:3]) == ("flush_tlb_mm_range", (0, TLB_FLUSH_ALL, 1))
    assert (flush["mm"], flush.site) == (world.mm.c.pgd, "test_above_the_ceiling_one_mov_to_cr3")
    assert (mov.name, mov.values) == ("mov_cr3", (world.mmu.c.cr3,))
    assert (world.counter("nr_tlb_local_flush_one"), world.counter("nr_tlb_local_flush_all")) == (
        0,
        1,
    )


def test_the_stride_is_counted_not_the_bytes(world: World) -> None:
    world.events()
    engine.flush_tlb_mm_range(world.mm, BASE, BASE + 33 * PMD_SIZE, 21, 1)
    assert len(world.events("invlpg")) == 33


def test_what_was_translated_is_gone(world: World) -> None:
    world.map()
    for page in range(2):
        world.touch(BASE + page * PAGE_SIZE)
    engine.flush_tlb_mm_range(world.mm, BASE, BASE + PAGE_SIZE, 12, 0)
    assert world.mmu.resident(BASE) is None
    assert world.mmu.resident(BASE + PAGE_SIZE) is not None
