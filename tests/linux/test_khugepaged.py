# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: collapse_huge_page() maps by one huge PMD what one PTE table maps, or says why not and
changes nothing; the table loses its entries' references and the collapse's own, and is deposited
(docs/pte_ref.md, "Huge pages").
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.linux import engine, mman
from mmu.linux.bug import MmBug
from mmu.linux.gup_fast import get_user_pages_fast
from mmu.linux.huge_memory import HPAGE_PMD_NR
from mmu.linux.khugepaged import ScanResult
from mmu.linux.mman import MAP_ANONYMOUS, MAP_SHARED
from mmu.linux.pgtable import PMD_SIZE, PS
from mmu.linux.policy import FreeTables
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, MAP_FIXED, World
from ucmmu.policy_file import load_policy


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def written(world: World, *, pages: int = HPAGE_PMD_NR) -> None:
    world.map(BASE, pages)
    world.touch(BASE)


def huge_already(world: World) -> None:
    written(world)
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED


def only_read(world: World) -> None:
    world.map(BASE)
    world.touch(BASE, write=False)


def shared(world: World) -> None:
    world.mm.mmap(BASE, PMD_SIZE, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
    world.touch(BASE)


def forbidden(world: World) -> None:
    written(world)
    world.mm.madvise(BASE, PMD_SIZE, mman.MADV_NOHUGEPAGE)


def inaccessible(world: World) -> None:
    written(world)
    world.mm.mprotect(BASE, PMD_SIZE, 0)


def guarded(world: World) -> None:
    written(world)
    world.mm.madvise(BASE + 5 * PAGE_SIZE, PAGE_SIZE, mman.MADV_GUARD_INSTALL)


def pinned(world: World) -> None:
    written(world)
    get_user_pages_fast(world.mm, BASE, 1, write=True)


def without_a_block(world: World) -> None:
    written(world)
    world.memory.c.fail_after = 0


def emptied(world: World) -> None:
    written(world)
    world.dontneed(BASE, HPAGE_PMD_NR)


def in_no_pud(world: World) -> None:
    """Its VMA has an anon_vma, and no table is there."""
    world.map(BASE, 1 << 19)
    world.touch(BASE + (1 << 30))


REFUSED: dict[ScanResult, list[Callable[[World], object]]] = {
    ScanResult.PMD_NULL: [emptied, in_no_pud],
    ScanResult.PMD_MAPPED: [huge_already],
    ScanResult.VMA_NULL: [lambda _: None],
    ScanResult.VMA_CHECK: [shared, forbidden, inaccessible],
    ScanResult.ADDRESS_RANGE: [lambda w: written(w, pages=HPAGE_PMD_NR - 1)],
    ScanResult.PAGE_ANON: [only_read],
    ScanResult.PTE_NON_PRESENT: [guarded],
    ScanResult.PAGE_COUNT: [pinned],
    ScanResult.ALLOC_HUGE_PAGE_FAIL: [without_a_block],
}


@pytest.mark.parametrize(
    ("reason", "prepare"),
    [(reason, prepare) for reason, prepares in REFUSED.items() for prepare in prepares],
)
def test_refused_and_nothing_changes(
    world: World, reason: ScanResult, prepare: Callable[[World], object]
) -> None:
    in_use = world.memory.frames_in_use
    prepare(world)
    in_use, pmd, pte = world.memory.frames_in_use, world.mm.pmd(BASE), world.mm.pte(BASE)
    assert world.mm.collapse_huge_page(BASE) is reason
    assert world.memory.frames_in_use == in_use
    assert (world.mm.pmd(BASE), world.mm.pte(BASE)) == (pmd, pte)
    world.memory.c.fail_after = (1 << 64) - 1
    assert world.mm.check_tables().ok


def test_every_reason_is_tested() -> None:
    assert {*REFUSED, ScanResult.SUCCEED} == set(ScanResult)


def test_what_was_none_is_zeros(world: World) -> None:
    world.map(BASE)
    world.touch(BASE + PAGE_SIZE, write=False)
    world.mm.copy_to_user(BASE + 9 * PAGE_SIZE, b"letters")
    rss = world.mm.rss()
    assert world.mm.collapse_huge_page(BASE + 12345) is ScanResult.SUCCEED
    assert world.mm.rss() == rss + HPAGE_PMD_NR - 1
    data = world.mm.copy_from_user(BASE, PMD_SIZE)
    start = 9 * PAGE_SIZE
    assert data == bytes(start) + b"letters" + bytes(PMD_SIZE - start - 7)


@pytest.mark.parametrize("policy", [FreeTables.NEVER, FreeTables.SCAN])
def test_a_table_that_is_left_may_be_empty(policy: FreeTables) -> None:
    world = World("c", policy)
    written(world)
    world.dontneed(BASE, 1)
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    assert world.mm.check_tables().anon_pages == HPAGE_PMD_NR


def test_the_rights_are_those_of_the_vma(world: World) -> None:
    written(world)
    world.mm.mprotect(BASE, PMD_SIZE, 1)
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    assert not world.mm.pmd(BASE) & 2
    world.mm.mprotect(BASE, PMD_SIZE, 3)
    world.touch(BASE)
    assert world.mm.check_tables().ok


def test_pages_that_others_share_are_copied(world: World) -> None:
    written(world)
    world.mm.copy_to_user(BASE, b"p")
    child = world.mm.dup_mm()
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    world.mm.copy_to_user(BASE, b"q")
    assert world.mm.check_tables().ok and child.check_tables().ok
    assert child.check_tables().anon_pages == 1
    child.exit_mmap()
    assert world.mm.copy_from_user(BASE, 1) == b"q"


def test_the_flush_comes_before_the_copy_and_reaches_lazy_cpus(world: World) -> None:
    written(world)
    world.events()
    world.mm.collapse_huge_page(BASE)
    events = [e for e in world.events() if e.name in ("set_pmd", "flush_tlb_mm_range", "set_pte")]
    assert [e.name for e in events] == ["set_pmd", "flush_tlb_mm_range", "set_pte", "set_pmd"]
    assert events[1]["freed_tables"] == 1, "a table stops being one"
    assert (events[0]["new"], events[3]["old"], events[3]["new"] & PS) == (0, 0, PS)


def test_the_last_put_frees_nothing(world: World) -> None:
    written(world)
    table = world.frame()
    world.events()
    world.mm.collapse_huge_page(BASE)
    told = [(e["old"], e["count"]) for e in world.events("pte_get", "pte_put", "pte_free")]
    assert told == [(1, 2), (2, 1), (1, 0)]
    assert world.mm.pmd_huge_pte == {BASE: table}


def test_a_reference_that_leaked_is_told(world: World) -> None:
    written(world)
    engine.pte_get(world.mm, world.frame())
    with pytest.raises(MmBug, match="is deposited for a huge page while somebody has a reference"):
        world.mm.collapse_huge_page(BASE)


@pytest.mark.parametrize("policy", ["deferring.py:Deferring", "percpu_ref.py:PerCpuRef"])
def test_a_policy_of_ones_own_keeps_no_reference(policy: str) -> None:
    world = World("python", load_policy(f"docs/policies/{policy}"))
    written(world)
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    world.dontneed(BASE, 1)
    assert world.count() == HPAGE_PMD_NR - 1
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    assert world.mm.check_tables().ok
    world.exit()


def test_up_to_the_second_table(world: World) -> None:
    """The neighbours of the 2 MiB are left alone."""
    world.map(BASE - PMD_SIZE, 3 * HPAGE_PMD_NR)
    for addr in (BASE - PAGE_SIZE, BASE, BASE + PMD_SIZE):
        world.touch(addr)
    world.mm.collapse_huge_page(BASE)
    assert [bool(world.mm.pmd(BASE + n * PMD_SIZE) & PS) for n in (-1, 0, 1)] == [
        False,
        True,
        False,
    ]
    assert world.mm.check_tables().ok


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_again_and_again(policy: FreeTables) -> None:
    world = World("c", policy)
    written(world)
    free = world.memory.free_frames
    for round_ in range(20):
        world.mm.copy_to_user(BASE + round_ * PAGE_SIZE, b"x")
        assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
        world.dontneed(BASE + 400 * PAGE_SIZE, 1)
    assert world.mm.copy_from_user(BASE + 3 * PAGE_SIZE, 1) == b"x"
    assert world.memory.free_frames == free - HPAGE_PMD_NR + 2
    assert world.mm.check_tables().ok
