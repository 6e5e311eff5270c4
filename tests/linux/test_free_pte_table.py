# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a table is freed exactly once, empty, flushed before its PMD is unlocked, after a grace
period (F8 to F15).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.bug import Bug, MmBug
from mmu.linux.mman import MREMAP_FIXED, MREMAP_MAYMOVE
from mmu.linux.policy import FreeTables
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, PMD_SIZE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_the_steps_come_in_order(world: World) -> None:
    """PMD cleared, flush with freed_tables, then the frame after a grace period; D3, D4."""
    world.map()
    world.touch(BASE)
    table_pfn = (world.memory.read_u64(world.pmd()) & lib.X86_ADDR_MASK) >> 12
    world.events()
    world.dontneed(BASE, 1)
    names = [
        (event.name, event.values)
        for event in world.events("pte_free", "flush_tlb_mm_range", "rcu_invoke_callback")
    ]
    assert [name for name, _ in names] == ["pte_free", "flush_tlb_mm_range", "rcu_invoke_callback"]
    assert names[0][1] == (BASE, table_pfn, world.mm.c.pgd, world.pmd())
    assert names[1][1][2] == 1, "freed_tables"
    assert names[2][1] == (table_pfn,)


@pytest.mark.parametrize("policy", [FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK])
@pytest.mark.parametrize("held_for", [BASE, 0], ids=["where it was", "nobody knows where"])
def test_a_visitor_frees_a_table_that_was_moved(
    world: World, policy: FreeTables, held_for: int
) -> None:
    """What the visitor looked up is not where the table stands: the flush is of where it stands."""
    world = World(world.engine, policy)
    new = BASE + (3 << 30) + 5 * PMD_SIZE
    world.map()
    world.touch(BASE)
    _, table = engine.pte_alloc_get(world.mm, world.pmd(), BASE)
    world.mm.mremap(BASE, PMD_SIZE, PMD_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, new)
    world.dontneed(new, 1)
    world.events()
    engine.pte_put(world.mm, table, held_for)
    freed, flushed = world.events("pte_free", "flush_tlb_mm_range")
    assert (freed.values[0], freed.values[1]) == (new, table)
    assert flushed.values[:3] == (new, new + PAGE_SIZE, 1)
    world.mm.check()


@pytest.mark.parametrize("form", ["direct", "gathered"])
def test_under_pmdlock_the_frame_goes_at_once_but_after_the_flush(world: World, form: str) -> None:
    """No RCU: when the put returns (the gather has flushed), the frame is free, and its lock."""
    world = World(world.engine, FreeTables.REFCOUNT_PMDLOCK)
    engine.pte_alloc_get(world.mm, world.pmd(), BASE)
    table = world.frame()
    page = world.memory.page(table)
    world.events()
    if form == "direct":
        engine.pte_put(world.mm, table, BASE)
    else:
        tlb = engine.tlb_gather_mmu(world.mm)
        engine.pte_put_tlb(tlb, table, BASE)
        assert page._refcount == 1, "not before the flush"
        engine.tlb_finish_mmu(tlb)
    names = ("pte_free", "flush_tlb_mm_range", "mm_page_free", "rcu_invoke_callback")
    assert [event.name for event in world.events(*names)] == list(names[:3])
    assert (page._refcount, page.ptl, world.mm.kernel.c.rcu.nr_pending) == (0, 0, 0)


def test_the_direct_form_is_one_invlpg(world: World) -> None:
    mm, pmd = world.mm, world.pmd()
    engine.pte_alloc_get(mm, pmd, BASE)
    world.events()
    engine.pte_put(mm, world.frame(), BASE + 7 * PAGE_SIZE)
    assert [e.values for e in world.events("invlpg", "mov_cr3")] == [(BASE,)]


def test_the_frame_waits_for_readers(world: World) -> None:
    """F14, D5: neither frame nor lock goes while a reader may hold the old PMD value."""
    mm, pmd = world.mm, world.pmd()
    engine.pte_alloc_get(mm, pmd, BASE)
    pfn = (world.memory.read_u64(pmd) & lib.X86_ADDR_MASK) >> 12
    engine.rcu_read_lock(mm.kernel)
    engine.pte_put(mm, world.frame(), BASE)
    world.quiesce()
    page = world.memory.page(pfn)
    assert page._refcount == 1
    assert page.flags & lib.PG_table
    assert page.pte_refcount == 0, "a reader that still sees it is refused"
    engine.rcu_read_unlock(mm.kernel)
    world.quiesce()
    assert page._refcount == 0


def test_no_translation_through_it_is_left(world: World) -> None:
    """F13: neither TLB nor paging-structure caches know a way through the freed table."""
    world.map()
    world.touch(BASE)
    frame = world.memory.read_u64(world.pmd()) & lib.X86_ADDR_MASK
    entries = world.mmu.c.tlb
    caches = [entries.entry[i] for i in range(entries.nr_entries)]
    assert any(entry.flags & lib.TLB_VALID and entry.frame == frame for entry in caches), (
        "it was cached"
    )
    world.dontneed(BASE, 1)
    assert not any(entry.flags & lib.TLB_VALID and entry.frame == frame for entry in caches)
    assert world.mmu.resident(BASE) is None


def test_a_table_with_entries_is_not_freed(world: World) -> None:
    """F11: a count that reached 0 too early is a bug told, and the table stays."""
    world.map()
    world.touch(BASE)
    with pytest.raises(MmBug) as caught:
        engine.pte_put(world.mm, world.frame(), BASE)
    assert caught.value.bug == Bug.PTE_TABLE_NOT_EMPTY
    assert world.entries() == 1


def test_asking_again_frees_nothing(world: World) -> None:
    """F8: who comes late finds the PMD none, or a living table."""
    mm, pmd = world.mm, world.pmd()
    engine.pte_alloc_get(mm, pmd, BASE)
    engine.pte_put(mm, world.frame(), BASE)
    engine.free_pte_table(mm, pmd, BASE)
    engine.pte_alloc_get(mm, pmd, BASE)
    engine.free_pte_table(mm, pmd, BASE)
    assert (world.counter("pte_tables_freed"), world.count()) == (1, 1)


def test_neighbours_share_a_table(world: World) -> None:
    """F10: freed when the last of three VMAs is empty, whatever empties it (F9)."""
    world.map()
    world.mm.mprotect(BASE + 100 * PAGE_SIZE, 100 * PAGE_SIZE, 1)
    for page in (0, 150, 300):
        world.touch(BASE + page * PAGE_SIZE, write=page != 150)
    assert world.mm.c.vmas.nr >= 3
    world.dontneed(BASE, 100)
    assert world.table() is not None
    world.mm.munmap(BASE + 200 * PAGE_SIZE, 312 * PAGE_SIZE)
    assert world.table() is not None
    world.mm.mmap(BASE + 100 * PAGE_SIZE, 100 * PAGE_SIZE, 0, 0x32)
    world.quiesce()
    assert world.table() is None


@pytest.mark.parametrize("engine", ["c", "python"])
@given(touched=st.sets(st.integers(0, 511), min_size=1, max_size=40), data=st.data())
def test_any_order_frees_once(engine: str, touched: set[int], data: st.DataObject) -> None:
    """F8"""
    world = World(engine)
    world.map()
    for page in touched:
        world.touch(BASE + page * PAGE_SIZE)
    for left, page in enumerate(reversed(data.draw(st.permutations(sorted(touched))))):
        assert world.counter("pte_tables_freed") == 0, left
        world.mm.madvise(BASE + page * PAGE_SIZE, PAGE_SIZE, 4)
    assert world.counter("pte_tables_freed") == 1
    world.exit()


@pytest.mark.parametrize("starve", [False, True])
def test_gathered_and_direct_forms_agree(world: World, starve: bool) -> None:
    """F15: also with no memory for a batch, when the gather is flushed every 8 frames."""
    world.map(BASE, 1024)
    for page in range(100):
        world.touch(BASE + page * PAGE_SIZE)
    world.events()
    if starve:
        world.memory.c.fail_after = 0
    world.mm.madvise(BASE, PMD_SIZE, 4)
    world.memory.c.fail_after = (1 << 64) - 1
    flushes = world.events("flush_tlb_mm_range")
    assert len(flushes) == (13 if starve else 1)
    assert world.table() is None
    world.exit()


def test_a_new_table_waits_for_the_gathered_flush(world: World) -> None:
    """D4: pmd_install into a slot whose flush is pending completes that flush first."""
    mm, pmd = world.mm, world.pmd()
    engine.pte_alloc_get(mm, pmd, BASE)
    tlb = engine.tlb_gather_mmu(mm)
    engine.pte_put_tlb(tlb, world.frame(), BASE)
    world.events()
    engine.pte_alloc_get(mm, pmd, BASE)
    assert [event.name for event in world.events("flush_tlb_mm_range", "pte_alloc")] == [
        "flush_tlb_mm_range",
        "pte_alloc",
    ]
    assert not world.mmu.paging_structure_caches()
    engine.tlb_finish_mmu(tlb)
    engine.pte_put(mm, world.frame(), BASE)


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_the_freed_frame_is_zero(world: World, policy: FreeTables) -> None:
    """A freed table is known to be zero, so handing it out again need not clear it; and it is."""
    world = World(world.engine, policy)
    world.map()
    world.touch(BASE)
    world.exit()
    for pfn in range(1, int(world.memory.c.frontier)):
        page = world.memory.page(pfn)
        if page._refcount == 0 and page.flags & lib.PG_zero:
            assert not any(world.memory.read(pfn << 12, PAGE_SIZE))
