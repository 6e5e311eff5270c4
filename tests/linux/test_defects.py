# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what one CPU can show of the defects of the published reference-counting series.

tests/races/variants.py has the historical variants, on two CPUs.
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.linux import engine, pte_ref
from mmu.linux.bug import Bug, MmBug
from mmu.linux.pte_ref import PteAlloc, VmFault
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World


@pytest.fixture
def world() -> World:
    return World("python")


def held(world: World) -> int:
    """A table of BASE with the caller's reference; returns its PMD."""
    assert engine.pte_alloc_get(world.mm, world.pmd(), BASE)[0] == PteAlloc.OK
    return world.pmd()


def test_d3_the_flush_says_that_tables_were_freed(world: World) -> None:
    """Without it CPUs with a lazy TLB would be spared, and keep paging-structure-cache entries to
    the freed table.
    """
    for form in ("direct", "gathered"):
        held(world)
        world.events()
        if form == "direct":
            pte_ref.pte_put(world.mm, world.frame(), BASE)
        else:
            tlb = engine.tlb_gather_mmu(world.mm)
            pte_ref.pte_put_tlb(tlb, world.frame(), BASE)
            engine.tlb_finish_mmu(tlb)
        assert [event["freed_tables"] for event in world.events("flush_tlb_mm_range")] == [1], form


@pytest.mark.parametrize("name", ["c", "python"])
def test_a_fault_puts_what_it_holds_once(name: str) -> None:
    """pte_put_vmf(): before mmap_lock is dropped, and not again after."""
    world = World(name)
    held(world)
    vmf = VmFault(world.mm, BASE, world.frame())
    pte_ref.pte_get(world.mm, vmf.table)
    for _ in range(2):
        engine.pte_put_vmf(vmf)
    assert (world.count(), vmf.table) == (1, 0)


def test_scan_must_look_again_after_it_let_the_lock_go(world: World) -> None:
    """CONFIG_PT_RECLAIM: entries refilled while the PTE lock was dropped keep the table
    (try_to_free_pte).
    """
    from mmu.linux import zap
    from mmu.linux.policy import FreeTables

    world = World("python", FreeTables.SCAN)
    world.map()
    for page in range(20):
        world.touch(BASE + page * PAGE_SIZE)
    real, refilled = zap.tlb_flush_mmu, []

    def refill(tlb: object) -> None:
        real(tlb)
        if not refilled:
            refilled.append(engine.do_anonymous_fault(world.mm, BASE, True))

    world.memory.c.fail_after = 0  # no batch: the lock is let go every 8 frames
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            zap,
            "tlb_flush_mmu",
            lambda tlb: (setattr(world.memory.c, "fail_after", 100), refill(tlb)),
        )
        tlb = engine.tlb_gather_mmu(world.mm)
        engine.unmap_page_range(tlb, BASE, BASE + (2 << 20), lib.ZAP_RECLAIM_PT)
        engine.tlb_finish_mmu(tlb)
    assert refilled == [0]
    assert world.entries() == 1


@pytest.mark.parametrize("name", ["c", "python"])
def test_scan_gives_way_when_the_pmd_lock_is_taken(name: str) -> None:
    """CONFIG_PT_RECLAIM only tries the PMD lock inside the PTE lock; the slow path waits for it."""
    from mmu.linux.policy import FreeTables

    world = World(name, FreeTables.SCAN)
    world.map()
    world.touch(BASE)
    engine.pmd_lock(world.mm, world.pmd())
    with pytest.raises(MmBug) as caught:  # on one CPU nobody will ever release it
        world.mm.madvise(BASE, 2 << 20, 4)
    assert caught.value.bug == Bug.LOCK_HELD
    assert world.counter("pte_tables_freed") == 1
