# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each event of the kernel names the kernel function that did it, of a reference also whose
it is; both engines name the same.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmu.events import EVENTS, Event
from mmu.linux import engine, tracepoint
from mmu.linux.mman import MADV_COLD, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE, MREMAP_MAYMOVE
from mmu.linux.policy import FreeTables
from mmu.linux.tracepoint import HELPERS
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World

ROOT = Path(__file__).resolve().parents[2]
FIRST_OF_THE_KERNEL = "page_fault_user"
WITHOUT_SITE = {
    *("mm_page_alloc", "mm_page_free"),  # the allocator, whoever calls it
    *("mmap_lock_start_locking", "mmap_lock_acquire_returned", "mmap_lock_released"),
    *("contention_begin", "contention_end"),
}
KERNEL = {e.name for e in EVENTS[[e.name for e in EVENTS].index(FIRST_OF_THE_KERNEL) :]}

PYTHON = {
    name.lstrip("_")
    for path in (ROOT / "mmu/linux").glob("*.py")
    for name in re.findall(r"^ *def (\w+)\(", path.read_text(), re.MULTILINE)
}
C = {
    name
    for path in (ROOT / "native/mm").glob("*.[ch]")
    for name in re.findall(r"^\w[\w \t*]*?\**(\w+)\([^;]*?\)\n\{", path.read_text(), re.MULTILINE)
}


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def work(world: World) -> list[Event]:
    """What an mm can do, in short; its events."""
    world.map(pages=3 * 512)
    for page in (0, 1, 511, 512, 700):
        world.touch(BASE + page * PAGE_SIZE, write=page != 1)
    engine.mm_fast_fault(world.mm, BASE + 5 * PAGE_SIZE, 6)
    child = world.mm.dup_mm()
    world.touch(BASE)
    child.exit_mmap()
    world.mm.madvise(BASE, 10 * PAGE_SIZE, MADV_COLD)
    world.mm.madvise(BASE + 20 * PAGE_SIZE, PAGE_SIZE, MADV_GUARD_INSTALL)
    world.mm.madvise(BASE + 20 * PAGE_SIZE, PAGE_SIZE, MADV_GUARD_REMOVE)
    world.mm.mprotect(BASE, 600 * PAGE_SIZE, 1)
    shared = world.mm.mmap(0, 4 * PAGE_SIZE, 3, 1, world.file, 0)
    world.touch(shared, write=False)
    world.touch(shared + PAGE_SIZE)
    private = world.mm.mmap(0, 4 * PAGE_SIZE, 3, 2, world.file, 0)
    world.touch(private)
    moved = world.mm.mremap(private, 4 * PAGE_SIZE, 600 * PAGE_SIZE, MREMAP_MAYMOVE)
    world.mm.munmap(moved, 600 * PAGE_SIZE)
    world.dontneed(BASE, 512)
    world.exit()
    return world.ring.read()


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@pytest.mark.parametrize("engine", ["c", "python"])
def test_every_event_of_the_kernel_has_one(engine: str, policy: FreeTables) -> None:
    """It is a function of the kernel's, by its own name."""
    named = HELPERS - {"flush_tlb_mm_range", "pmd_install"}  # spans, and who sets a PMD entry
    known = (PYTHON | C) - {helper.lstrip("_") for helper in named}
    for event in work(World(engine, policy)):
        if event.name not in KERNEL - WITHOUT_SITE:
            assert event.site == "", str(event)
        else:
            assert event.site in known, (event.site, str(event))


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
def test_the_engines_name_the_same(policy: FreeTables) -> None:
    c, python = (work(World(name, policy)) for name in ("c", "python"))
    assert [(e.site, str(e)) for e in c] == [(e.site, str(e)) for e in python]


VISITOR, ENTRIES = 0, 1


def references(events: list[Event]) -> list[tuple[str, str, int, int, int]]:
    """The changes of counts: who, what, from what to what, and whose."""
    return [
        (e.site, e.name, e["old"], e["count"], e["holder"])
        for e in events
        if e.name in ("pte_get", "pte_put")
    ]


def test_a_first_touch(world: World) -> None:
    """The installer's reference is the count of 1; the entry's is added; the visitor leaves."""
    world.map()
    world.events()
    world.touch(BASE)
    events = world.events()
    assert references(events) == [
        ("do_anonymous_page", "pte_get", 1, 2, ENTRIES),
        ("handle_pte_fault", "pte_put", 2, 1, VISITOR),
    ]
    sites = {e.name: e.site for e in events}
    assert sites["set_p4d"] == "pud_alloc"
    assert (sites["set_pud"], sites["set_pmd"]) == ("pmd_alloc", "pmd_install")
    assert (sites["set_pte"], sites["rss_stat"]) == ("do_anonymous_page",) * 2
    assert (sites["pte_alloc_one"], sites["pte_alloc"]) == ("handle_pte_fault",) * 2


def test_a_zap_of_three(world: World) -> None:
    world.map()
    for page in range(3):
        world.touch(BASE + page * PAGE_SIZE)
    world.events()
    world.mm.madvise(BASE, 3 * PAGE_SIZE, 4)
    events = world.events()
    assert references(events) == [
        ("zap_pte_range", "pte_get", 3, 4, VISITOR),
        ("zap_pte_range", "pte_put", 4, 1, ENTRIES),
        ("zap_pte_range", "pte_put", 1, 0, VISITOR),
    ]
    sites = {e.name: e.site for e in events}
    assert (sites["set_pmd"], sites["pte_free"]) == ("free_pte_table",) * 2
    assert sites["flush_tlb_mm_range"] == "tlb_flush_mmu_tlbonly"
    assert (sites["tlb_flush"], sites["rcu_callback"]) == ("flush_tlb_func", "call_rcu")


def test_a_fork_and_a_copy_on_write(world: World) -> None:
    world.map()
    world.touch(BASE)
    world.events()
    child = world.mm.dup_mm()
    events = world.events()
    sites = [(e.site, e["mm"] if e.name == "pte_alloc" else e.name) for e in events]
    assert ("copy_pte_range", child.c.pgd) in sites, "the child's table"
    assert ("copy_present_pte", "set_pte") in sites, "the parent's entry loses W"
    assert ("copy_pte_range", "set_pte") in sites, "the child's is set"
    world.touch(BASE)
    sets = [(e.site, e["old"] != 0, e["new"] != 0) for e in world.events("set_pte")]
    assert sets == [("wp_page_copy", True, False), ("wp_page_copy", False, True)]
    child.exit_mmap()


def test_a_caller_in_python_is_named_by_c(world: World) -> None:
    """Also by the first call of a twin in a process, which compiles it."""
    world.map()
    pmd = world.pmd()
    world.events()
    _, table = engine.pte_alloc_get(world.mm, pmd, BASE)
    engine.pte_get(world.mm, table)
    engine.pte_put_many(world.mm, table, BASE, 2)
    assert {e.site for e in world.events("pte_get", "pte_put", "pte_alloc")} == {
        "test_a_caller_in_python_is_named_by_c"
    }


def test_helpers_are_functions_that_exist() -> None:
    """A renamed helper would be named as a site."""
    known = PYTHON | {"first_call"}
    own = vars(tracepoint)
    assert {name for name in HELPERS if name.lstrip("_") not in known and name not in own} == set()
