# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a huge PMD maps what 512 PTEs would; its PTE table is deposited, empty and without
references, until a split withdraws it with a count of 512, or a zap of all 2 MiB frees it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu._native import lib
from mmu.linux import mman
from mmu.linux.access_process_vm import access_remote_vm, write_remote_vm
from mmu.linux.gup_fast import get_user_pages_fast, gup_fast_pte
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.huge_memory import HPAGE_PMD_NR, split_huge_pmd
from mmu.linux.khugepaged import ScanResult
from mmu.linux.pagemap import clear_refs, pagemap_read
from mmu.linux.pgtable import PMD_SIZE, PS, A, D, P, entry_pfn, table_is_empty
from mmu.linux.policy import FreeTables
from mmu.linux.pt_reclaim import pte_ref_is_enabled
from mmu.linux.smaps import smaps_rollup
from mmu.linux.smp import local_irqs_off
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86 import Access
from tests.linux.world import BASE, MAP_ANON, MAP_FIXED, World
from ucmmu.testing.mm import access_once

LAST = BASE + PMD_SIZE - PAGE_SIZE
NEXT = BASE + PMD_SIZE


@pytest.fixture(
    params=[(engine, policy) for engine in ("c", "python") for policy in FreeTables],
    ids=lambda param: f"{param[0]}-{param[1].label}",
)
def world(request: pytest.FixtureRequest) -> World:
    """Two slots of 2 MiB are mapped; the first is one huge page, with a letter in three places."""
    engine, policy = request.param
    world = World(engine, policy)
    world.map(BASE, 2 * HPAGE_PMD_NR)
    for addr, letter in LETTERS.items():
        world.mm.copy_to_user(addr, letter)
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    world.events()
    return world


LETTERS = {BASE: b"a", BASE + 7 * PAGE_SIZE + 9: b"b", LAST: b"c"}


def is_huge(world: World, addr: int = BASE) -> bool:
    return bool(world.mm.pmd(addr) & PS)


def is_counted(world: World) -> bool:
    return pte_ref_is_enabled(world.mm)


def check(world: World, but: int | None = None) -> None:
    """Everything agrees, and the letters are still there, but for one."""
    assert world.mm.check_tables().ok, str(world.mm.check_tables())
    for addr, letter in LETTERS.items():
        expected = b"\0" if addr == but else letter
        assert world.mm.copy_from_user(addr, 1) == expected


def test_one_entry_maps_what_was_there(world: World) -> None:
    check(world)
    report = world.mm.check_tables()
    assert (report.huge_pmds, report.pte_tables, report.entries) == (1, 1, 0)
    assert report.anon_pages == HPAGE_PMD_NR
    (walk,) = [world.mmu.walk(LAST, Access.READ)]
    assert walk.result == lib.XLATE_OK
    assert walk.pa == (entry_pfn(world.mm.pmd(BASE)) << PAGE_SHIFT) + PMD_SIZE - PAGE_SIZE
    assert world.mmu.translate(LAST, Access.WRITE).result == lib.XLATE_OK, "as every PTE would"


def test_the_deposited_table_is_empty_and_has_no_references(world: World) -> None:
    (table,) = world.mm.pmd_huge_pte.values()
    page = world.memory.page(table)
    assert table_is_empty(world.memory, table << PAGE_SHIFT)
    assert (page.pte_refcount, page._refcount) == (0, 1)
    assert world.tables() == 3, "VmPTE has it: PTE, PMD, PUD table"


def test_a_split_maps_the_same_page_by_page(world: World) -> None:
    pfn, (table,) = entry_pfn(world.mm.pmd(BASE)), world.mm.pmd_huge_pte.values()
    before = [world.memory.page(pfn + n)._refcount for n in range(HPAGE_PMD_NR)]
    split_huge_pmd(world.mm, BASE)
    assert world.frame() == table
    assert world.entries() == HPAGE_PMD_NR
    assert world.count() == (HPAGE_PMD_NR if is_counted(world) else 0)
    ptes = [world.mm.pte(BASE + n * PAGE_SIZE) for n in range(HPAGE_PMD_NR)]
    assert [entry_pfn(pte) for pte in ptes] == list(range(pfn, pfn + HPAGE_PMD_NR))
    assert all(pte & (P | A | D | PS) == P | A | D for pte in ptes)
    assert [world.memory.page(pfn + n)._refcount for n in range(HPAGE_PMD_NR)] == before
    assert not world.mm.pmd_huge_pte
    check(world)
    split_huge_pmd(world.mm, BASE)
    assert world.frame() == table, "twice is once"


def test_it_is_not_present_while_the_large_translation_is_flushed(world: World) -> None:
    """pmdp_invalidate(): no CPU may have both sizes of one address."""
    world.touch(BASE)
    world.events()
    split_huge_pmd(world.mm, BASE)
    events = world.events("set_pmd", "flush_tlb_mm_range", "set_pte", "pte_get")
    names = [event.name for event in events]
    expected = ["set_pmd", "flush_tlb_mm_range", *["set_pte"] * HPAGE_PMD_NR]
    expected += ["pte_get"] if is_counted(world) else []
    assert names == [*expected, "set_pmd"]
    assert (events[0]["new"] & (P | PS), events[-1]["new"] & (P | PS)) == (PS, P)
    assert (events[1]["start"], events[1]["end"], events[1]["freed_tables"]) == (BASE, NEXT, 1)
    assert world.mmu.resident(BASE) is None


def test_a_zap_of_all_takes_the_entry_and_frees_the_table(world: World) -> None:
    free = world.memory.free_frames
    world.dontneed(BASE, HPAGE_PMD_NR)
    assert world.memory.free_frames >= free + HPAGE_PMD_NR + 1
    assert (world.mm.pmd(BASE), world.mm.pmd_huge_pte) == (0, {})
    assert world.tables() == 2
    assert world.mm.check_tables().ok
    assert world.mm.copy_from_user(BASE, 1) == b"\0"


def test_a_zap_of_a_part_splits(world: World) -> None:
    tables = world.tables()
    world.dontneed(BASE, 1)
    assert not is_huge(world)
    assert world.count() == (HPAGE_PMD_NR - 1 if is_counted(world) else 0)
    assert world.tables() == tables
    check(world, but=BASE)


def test_what_is_left_goes_page_by_page(world: World) -> None:
    for page in range(HPAGE_PMD_NR):
        world.dontneed(BASE + page * PAGE_SIZE, 1)
    assert world.tables() == (2 if is_counted(world) else 3), "freed with the last, if counted"
    assert world.mm.check_tables().anon_pages == 0


def test_a_zap_of_more_takes_whole_ones_and_splits_others(world: World) -> None:
    world.touch(NEXT)
    assert world.mm.collapse_huge_page(NEXT) is ScanResult.SUCCEED
    world.dontneed(BASE, HPAGE_PMD_NR + 1)
    assert (world.mm.pmd(BASE), is_huge(world, NEXT)) == (0, False)
    assert world.entries(NEXT) == HPAGE_PMD_NR - 1


SPLITTERS: dict[str, Callable[[World], object]] = {
    "mprotect": lambda w: w.mm.mprotect(BASE, PAGE_SIZE, 1),
    "mprotect of all": lambda w: w.mm.mprotect(BASE, PMD_SIZE, 1),
    "munmap": lambda w: w.mm.munmap(BASE + PAGE_SIZE, PAGE_SIZE),
    "MADV_FREE": lambda w: w.mm.madvise(BASE + PAGE_SIZE, PAGE_SIZE, mman.MADV_FREE),
    "MADV_COLD": lambda w: w.mm.madvise(BASE, PMD_SIZE, mman.MADV_COLD),
    "MADV_PAGEOUT": lambda w: w.mm.madvise(BASE, PMD_SIZE, mman.MADV_PAGEOUT),
    "MADV_GUARD_INSTALL": lambda w: w.mm.madvise(
        BASE + PAGE_SIZE, PAGE_SIZE, mman.MADV_GUARD_INSTALL
    ),
    "fork": lambda w: w.mm.dup_mm().exit_mmap(),
    "clear_refs": lambda w: clear_refs(w.mm, 1),
}


@pytest.mark.parametrize("what", SPLITTERS)
def test_what_changes_a_part_splits(world: World, what: str) -> None:
    SPLITTERS[what](world)
    assert not is_huge(world)
    check(world)


def test_mremap_moves_its_pages(world: World) -> None:
    to = BASE + 8 * PMD_SIZE
    flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    world.mm.mremap(BASE, PMD_SIZE, PMD_SIZE, flags, to)
    assert world.mm.check_tables().ok
    assert world.mm.copy_from_user(to + 7 * PAGE_SIZE + 9, 1) == b"b"
    assert world.mm.collapse_huge_page(to) is ScanResult.SUCCEED


def test_guard_remove_leaves_it(world: World) -> None:
    world.mm.madvise(BASE, PMD_SIZE, mman.MADV_GUARD_REMOVE)
    assert is_huge(world)
    check(world)


def test_those_who_look_see_its_pages_and_leave_it(world: World) -> None:
    pfn = entry_pfn(world.mm.pmd(BASE))
    entries = memoryview(pagemap_read(world.mm, 8 * 512, BASE >> 9, show_pfn=True)).cast("Q")
    assert [entry & (1 << 55) - 1 for entry in entries] == list(range(pfn, pfn + 512))
    assert entry_pfn(peek_pte(world.mm, LAST)) == pfn + 511
    rollup = dict(line.split()[:2] for line in smaps_rollup(world.mm).splitlines()[1:])
    assert (rollup["Rss:"], rollup["AnonHugePages:"]) == ("2048", "2048")
    vec = world.mm.mmap(0, PAGE_SIZE, 3, MAP_ANON)
    world.mm.mincore(BASE, PMD_SIZE, vec)
    assert world.mm.copy_from_user(vec, 512) == b"\1" * 512
    assert access_remote_vm(world.mm, LAST - 1, 2) == b"\0c"
    assert write_remote_vm(world.mm, LAST, b"c") == 1
    assert is_huge(world)
    check(world)


def test_gup_takes_single_pages_of_it(world: World) -> None:
    mm, pfn = world.mm, entry_pfn(world.mm.pmd(BASE))
    with local_irqs_off(mm.kernel):
        assert gup_fast_pte(mm, BASE + 3 * PAGE_SIZE, True) == pfn + 3
    (other,) = get_user_pages_fast(mm, LAST, 1, write=True)
    assert other == pfn + 511
    assert [world.memory.page(frame)._refcount for frame in (pfn + 3, other)] == [2, 2]
    assert is_huge(world)
    world.dontneed(BASE, HPAGE_PMD_NR)
    for frame in (pfn + 3, other):
        assert world.memory.page(frame)._refcount == 1, "it outlives its mapping"
        world.memory.put_page(frame)


def test_a_fault_of_it_only_waits(world: World) -> None:
    for code in (4, 6, 7):
        assert world.mm.handle_user_fault(BASE + 5, code) is None
    assert is_huge(world)
    assert world.mm.check_tables().anon_pages == HPAGE_PMD_NR


def test_a_write_that_the_entry_forbids_splits(world: World) -> None:
    """No way leads there: rights change page by page. It must not loop for ever."""
    pmd = world.pmd()
    world.memory.write_u64(pmd, world.memory.read_u64(pmd) & ~2)
    world.mmu.flush_all()
    assert access_once(world.mm, BASE, Access.WRITE) is None
    assert not is_huge(world)
    check(world)


def test_exit_leaves_nothing(world: World) -> None:
    world.exit()
    assert world.memory.frames_in_use == 0


def test_a_part_of_its_mapping_goes(world: World) -> None:
    """VMAs may end inside it."""
    world.mm.madvise(BASE + PAGE_SIZE, PAGE_SIZE, mman.MADV_DONTFORK)
    assert is_huge(world)
    child = world.mm.dup_mm()
    assert child.check_tables().anon_pages == HPAGE_PMD_NR - 1
    child.exit_mmap()
    world.mm.munmap(BASE, PMD_SIZE)
    assert (world.mm.check_tables().anon_pages, world.mm.check_tables().ok) == (0, True)


@pytest.mark.parametrize("scan_or_count", [FreeTables.SCAN, FreeTables.REFCOUNT])
def test_linux_fact_of_four_huge_pages(scan_or_count: FreeTables) -> None:
    """Six tables, the deposited ones among them; MADV_DONTNEED of 4 KiB splits and changes no
    number; of a whole 2 MiB it frees one.
    """
    world = World("c", scan_or_count)
    world.map(BASE, 4 * HPAGE_PMD_NR)
    for slot in range(4):
        world.touch(BASE + slot * PMD_SIZE)
        assert world.mm.collapse_huge_page(BASE + slot * PMD_SIZE) is ScanResult.SUCCEED
    assert world.tables() == 6
    world.dontneed(BASE, 1)
    assert world.tables() == 6
    world.dontneed(NEXT, HPAGE_PMD_NR)
    assert world.tables() == 5


def test_check_tables_looks_at_what_is_deposited(world: World) -> None:
    (table,) = world.mm.pmd_huge_pte.values()
    page = world.memory.page(table)
    for field, wrong in (("ptl", 1), ("flags", 0), ("_refcount", 2), ("pte_refcount", 1)):
        if field == "pte_refcount" and not is_counted(world):
            continue
        right = getattr(page, field)
        setattr(page, field, wrong)
        assert not world.mm.check_tables().ok, field
        setattr(page, field, right)
    world.memory.write_u64(table << PAGE_SHIFT, 1)
    assert "is in use" in str(world.mm.check_tables())
    world.memory.write_u64(table << PAGE_SHIFT, 0)
    world.mm.pmd_huge_pte[NEXT] = table
    assert "for more than one huge PMD" in str(world.mm.check_tables())
    del world.mm.pmd_huge_pte[NEXT]
    assert world.mm.check_tables().ok


PAGES = st.sampled_from([0, 1, 2, 255, 510, 511, 512, 600, 1023])
OPERATIONS = st.one_of(
    st.tuples(st.just("write"), PAGES, st.integers(1, 255)),
    st.tuples(st.just("dontneed"), PAGES, st.sampled_from([1, 2, 511, 512, 1024])),
    st.tuples(st.just("collapse"), PAGES, st.just(0)),
    st.tuples(st.just("collapse in child"), PAGES, st.integers(1, 255)),
    st.tuples(st.just("protect"), PAGES, st.sampled_from([1, 2, 512])),
    st.tuples(st.just("move"), PAGES, st.sampled_from([1, 512])),
)


def perform(world: World, model: dict[int, int], what: str, page: int, argument: int) -> None:
    mm, addr = world.mm, BASE + page * PAGE_SIZE
    length = argument * PAGE_SIZE
    if what == "write":
        mm.copy_to_user(addr, bytes([argument]))
        model[page] = argument
    elif what == "dontneed":
        mm.madvise(addr, min(length, BASE + 2 * PMD_SIZE - addr), mman.MADV_DONTNEED)
        for gone in range(page, page + argument):
            model.pop(gone, None)
    elif what == "collapse":
        mm.collapse_huge_page(addr)
    elif what == "collapse in child":
        child = mm.dup_mm()
        child.collapse_huge_page(addr)
        assert write_remote_vm(child, addr, bytes([argument])) == 1
        assert child.check_tables().ok
        child.exit_mmap()
    elif what == "protect":
        length = min(length, BASE + 2 * PMD_SIZE - addr)
        mm.mprotect(addr, length, 1)
        mm.mprotect(addr, length, 3)
    else:
        length = min(length, BASE + 2 * PMD_SIZE - addr)
        flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
        there = BASE + 8 * PMD_SIZE + page % 512 * PAGE_SIZE
        mm.mremap(addr, length, length, flags, there)
        mm.mremap(there, length, length, flags, addr)


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@settings(max_examples=20 if settings().max_examples < 1000 else settings().max_examples)
@given(engine=st.sampled_from(["c", "python"]), operations=st.lists(OPERATIONS, max_size=12))
def test_contents_are_those_of_single_pages(
    policy: FreeTables, engine: str, operations: list[tuple[str, int, Any]]
) -> None:
    world, model = World(engine, policy), dict[int, int]()
    world.mm.mmap(BASE, 2 * PMD_SIZE, 3, MAP_ANON | MAP_FIXED)
    for what, page, argument in operations:
        perform(world, model, what, page, argument)
        assert world.mm.check_tables().ok, what
    for page in (0, 1, 2, 255, 256, 510, 511, 512, 513, 600, 1023):
        wanted = bytes([model.get(page, 0)])
        assert access_remote_vm(world.mm, BASE + page * PAGE_SIZE, 1) == wanted, page
    world.exit()
    assert world.memory.frames_in_use == 0
