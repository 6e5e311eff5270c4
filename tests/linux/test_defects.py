# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each defect of the published reference-counting series shows in its historical variant, and
not in ours.

A variant is the defective code, written here and put in the Python engine's place; where a defect
needs another CPU between two steps, the test does what that CPU would, between them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu._native import lib
from mmu.linux import anon, engine, pgalloc, pte_ref, rcu
from mmu.linux.bug import Bug, MmBug
from mmu.linux.locks import pmd_lock, pmd_unlock
from mmu.linux.mmu_gather import mm_dec_nr_ptes
from mmu.linux.pgtable import TABLE, set_pte_at, xchg
from mmu.linux.pte_ref import PteAlloc, TryGet, VmFault
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from tests.linux.world import BASE, World


@pytest.fixture
def world() -> World:
    return World("python")


def held(world: World) -> int:
    """A table of BASE with the caller's reference; returns its PMD."""
    assert engine.pte_alloc_get(world.mm, world.pmd(), BASE)[0] == PteAlloc.OK
    return world.pmd()


def balanced(world: World) -> bool:
    """Whether every table's count is its entries, as it must be at rest."""
    return world.count() == world.entries()


@pytest.mark.parametrize("historical", [True, False])
def test_d1_a_table_published_before_its_count_is_set(world: World, historical: bool) -> None:
    """A visitor's increment between publication and initialisation is lost."""
    pmd, table = world.pmd(), pgalloc.table_alloc(world.mm)
    assert table is not None

    def publish() -> None:
        world.memory.write_u64(pmd, table << PAGE_SHIFT | TABLE)

    def initialise() -> None:
        pte_ref.pte_ref_init(world.mm, table, pmd, 1)

    def visitor() -> None:
        if pte_ref.pte_try_get(world.mm, pmd)[0] == TryGet.SUCCEEDED:
            visitors.append(1)

    visitors: list[int] = []
    world.memory.page(table).pte_refcount = 7  # what the frame's last life left
    for step in (publish, visitor, initialise) if historical else (initialise, publish, visitor):
        step()
    assert (world.count() == 1 + len(visitors)) is not historical


def test_d2_the_wait_on_a_dying_table_is_bounded(world: World) -> None:
    """The freer is preempted after the count reached 0: the historical loop spins, ours completes
    the free.
    """
    pmd = held(world)
    world.table().pte_refcount = 0
    spins = 0
    while pte_ref.pte_try_get(world.mm, pmd)[0] == TryGet.FAILED_ZERO and spins < 1000:
        spins += 1
    assert spins == 1000, "a loop that only tries again never ends"
    assert pte_ref.pte_alloc_get(world.mm, pmd, BASE)[0] == PteAlloc.OK


def free_pte_table_historical(
    world: World, pmd: int, *, flush_locked: bool, between: Callable[[], None]
) -> None:
    """free_pte_table() with its steps apart: ``between`` runs once the PMD lock is dropped."""
    mm = world.mm
    pmd_lock(mm, pmd)
    table = (xchg(mm, pmd, 0) & lib.X86_ADDR_MASK) >> PAGE_SHIFT
    if flush_locked:
        world.mmu.invlpg(BASE)
    pmd_unlock(mm, pmd)
    between()
    if not flush_locked:
        world.mmu.invlpg(BASE)
    mm_dec_nr_ptes(mm)
    rcu.call_rcu(mm.kernel, table)


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


@pytest.mark.parametrize("historical", [True, False])
def test_d4_a_new_table_beside_old_translations(world: World, historical: bool) -> None:
    """Flushed after the PMD lock is dropped, the old translation lives beside the table installed
    meanwhile.
    """
    world.map()
    world.touch(BASE)
    pmd = world.pmd()
    seen: list[bool] = []

    def another_cpu_faults() -> None:
        pte_ref.pte_alloc_get(world.mm, pmd, BASE)
        seen.append(world.mmu.resident(BASE) is not None)

    world.memory.write_u64(
        (world.memory.read_u64(pmd) & lib.X86_ADDR_MASK), 0
    )  # the last entry, cleared
    free_pte_table_historical(world, pmd, flush_locked=not historical, between=another_cpu_faults)
    assert seen == [historical]


def test_d5_the_lock_lives_as_long_as_the_frame(world: World) -> None:
    """A reader with an old PMD value may still take the lock: it is in struct page, freed by RCU
    with the frame.
    """
    held(world)
    page = world.table()
    rcu.rcu_read_lock(world.mm.kernel)
    pte_ref.pte_put(world.mm, world.frame(), BASE)
    page.ptl = 1  # the reader takes it
    world.quiesce()
    assert (page.ptl, page._refcount) == (1, 1)
    page.ptl = 0
    rcu.rcu_read_unlock(world.mm.kernel)
    world.quiesce()
    assert page._refcount == 0


def test_d6_an_early_way_out_leaves_a_read_section_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def historical(mm: object, pmd: int) -> TryGet:
        rcu.rcu_read_lock(world.mm.kernel)
        if world.memory.read_u64(pmd) == 0:
            return TryGet.FAILED_NONE
        rcu.rcu_read_unlock(world.mm.kernel)
        return TryGet.SUCCEEDED

    for tryget, nesting in ((pte_ref.pte_try_get, 0), (historical, 1)):
        tryget(world.mm, world.pmd())
        assert world.mm.kernel.c.this_cpu.rcu_nesting == nesting
    world.mm.kernel.c.this_cpu.rcu_nesting = 0


def test_d7_an_unpaired_put_after_a_failed_try_get_is_told(world: World) -> None:
    pmd = held(world)
    world.table().pte_refcount = 0
    assert pte_ref.pte_try_get(world.mm, pmd)[0] == TryGet.FAILED_ZERO
    with pytest.raises(MmBug) as caught:
        engine.pte_put(world.mm, world.frame(), BASE)
    assert caught.value.bug == Bug.PTE_REF_UNDERFLOW


@pytest.mark.parametrize("historical", [True, False])
def test_d8_an_entry_set_again_is_counted_once(
    world: World, historical: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write to the zero page sets an entry that was set already."""
    real = anon._write_protect_fault

    def counts_again(mm: object, pte: int, addr: int, vm_flags: int) -> int:
        result = real(world.mm, pte, addr, vm_flags)
        pte_ref.pte_entries_set(world.mm, world.frame(), 1)
        return result

    if historical:
        monkeypatch.setattr(anon, "_write_protect_fault", counts_again)
    world.map()
    world.touch(BASE, write=False)
    world.touch(BASE, write=True)
    assert balanced(world) is not historical


def test_d9_a_failed_try_get_in_a_fault_is_no_signal(world: World) -> None:
    """In each failing state but out of memory, the fault installs its own table and succeeds."""
    world.map()
    for count in (None, 0):
        if count is not None:
            held(world)
            world.table().pte_refcount = count
        world.touch(BASE)
        assert balanced(world)
        world.dontneed(BASE, 1)


@pytest.mark.parametrize("historical", [True, False])
def test_d10_an_error_path_that_loses_its_put_leaks(
    world: World, historical: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's allocation fails after the table was had."""
    if historical:
        monkeypatch.setattr(anon, "pte_put", lambda *_: None)
    world.map()
    world.pmd()
    world.memory.c.fail_after = 1
    assert engine.do_anonymous_fault(world.mm, BASE, True) == lib.VM_FAULT_OOM
    world.memory.c.fail_after = (1 << 64) - 1
    assert (world.table() is None) is not historical


@pytest.mark.parametrize("historical", [True, False])
def test_d11_a_put_that_reads_the_pmd_again_hits_another_table(
    world: World, historical: bool
) -> None:
    """mremap moved the table while its reference was held, and another stands in its old place."""
    pmd, other = held(world), world.pmd(BASE + (2 << 20))
    pte_ref.pte_alloc_get(world.mm, other, BASE + (2 << 20))
    mine, stranger = world.table(), world.table(BASE + (2 << 20))
    table = world.frame()
    pte_ref.pte_get(world.mm, table)
    a, b = world.memory.read_u64(pmd), world.memory.read_u64(other)
    world.memory.write_u64(pmd, b)
    world.memory.write_u64(other, a)
    mine.pmd, stranger.pmd = other, pmd
    pte_ref.pte_put(world.mm, world.frame() if historical else table, BASE)
    if historical:
        assert (mine.pte_refcount, world.table()) == (2, None), "the stranger was freed"
    else:
        assert (mine.pte_refcount, stranger.pte_refcount) == (1, 1)


@pytest.mark.parametrize("visiting", [True, False])
def test_d12_entries_counted_in_bulk_need_a_visitor(world: World, visiting: bool) -> None:
    """Set first and counted after, with a zap in between: safe only while the visitor's reference
    is held.
    """
    pmd = held(world)
    page = world.memory.alloc_pages()
    table = world.memory.read_u64(pmd) & lib.X86_ADDR_MASK
    set_pte_at(world.mm, BASE, table, page << PAGE_SHIFT | 7)
    if not visiting:
        world.table().pte_refcount -= 1
    set_pte_at(world.mm, BASE, table, 0)
    if visiting:
        pte_ref.pte_entries_set(world.mm, world.frame(), 1)
        pte_ref.pte_put_many(world.mm, world.frame(), BASE, 1)
        assert world.count() == 1
    else:
        with pytest.raises(MmBug) as caught:
            engine.pte_entries_set(world.mm, world.frame(), 1)
        assert caught.value.bug == Bug.PTE_REF_FROM_ZERO


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
