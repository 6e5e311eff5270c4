# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what the kernel works on is told as spans that nest, and that end however the work ends;
sizes are told at each change.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu.errors import LinuxError
from mmu.events import Event
from mmu.linux.mm import Mm
from mmu.linux.policy import FreeTables
from mmu.linux.tlbflush import switch_mm
from mmu.linux.tracepoint import Span
from mmu.units import PAGE_SIZE, U64
from tests.linux.cpus import Cpus
from tests.linux.test_engines_agree import operation, perform
from tests.linux.world import BASE, MAP_ANON, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def spans(events: list[Event]) -> list[tuple[int, str]]:
    """Depth and name of each span, by its begin; that they nest is checked."""
    stack: list[tuple[str, int]] = []
    found = []
    for event in events:
        if event.name == "funcgraph_entry":
            found.append((len(stack), event.site))
            stack.append((event.site, event["mm"]))
        elif event.name == "funcgraph_exit":
            assert stack.pop() == (event.site, event["mm"]), str(event)
    assert stack == []
    return found


def test_a_fault_and_a_free(world: World) -> None:
    world.map()
    world.events()
    world.touch(BASE)
    assert spans(world.events()) == [(0, "do_user_addr_fault"), (1, "handle_mm_fault")]
    world.mm.madvise(BASE, PAGE_SIZE, 4)
    assert spans(world.events()) == [
        (0, "do_madvise"),
        (1, "unmap_page_range"),
        (2, "free_pte_table"),
        (1, "tlb_finish_mmu"),
        (2, "flush_tlb_mm_range"),
    ]


def test_system_calls(world: World) -> None:
    mm = world.mm
    world.events()
    start = mm.mmap(0, 4 * PAGE_SIZE, 3, MAP_ANON)
    mm.mprotect(start, PAGE_SIZE, 1)
    mm.mremap(start + PAGE_SIZE, PAGE_SIZE, PAGE_SIZE, 3, start + 0x10000)
    mm.munmap(start, 4 * PAGE_SIZE)
    mm.brk(0)
    child = mm.dup_mm()
    child.exit_mmap()
    assert [name for depth, name in spans(world.events()) if not depth] == [
        *("do_mmap", "do_mprotect", "do_mremap", "do_munmap", "do_brk", "dup_mmap", "exit_mmap")
    ]


def test_what_it_works_on_and_returns(world: World) -> None:
    world.events()
    start = world.mm.mmap(BASE, 4 * PAGE_SIZE, 3, MAP_ANON)
    entry, leave = world.events("funcgraph_entry", "funcgraph_exit")
    assert entry.values == (BASE, BASE + 4 * PAGE_SIZE, world.mm.c.pgd)
    assert (leave["ret"], leave["mm"]) == (start, world.mm.c.pgd)


def test_an_error_ends_it_with_its_number(world: World) -> None:
    world.events()
    with pytest.raises(LinuxError):
        world.mm.munmap(BASE + 1, PAGE_SIZE)
    (leave,) = world.events("funcgraph_exit")
    assert leave["ret"] == -errno.EINVAL & U64
    with pytest.raises(ZeroDivisionError), Span(world.mm.kernel, "any"):
        _ = 1 // 0
    assert world.events("funcgraph_exit")[0]["ret"] == 0


@settings(max_examples=5)
@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize("policy", [FreeTables.SCAN, FreeTables.REFCOUNT], ids=lambda p: p.label)
@given(operations=st.lists(operation, max_size=15))
def test_they_nest(policy: FreeTables, engine: str, operations: list[tuple[str, int, Any]]) -> None:
    world = World(engine, policy)
    world.map(BASE, 3 * 512)
    for what, page, argument in operations:
        perform(world, what, page, argument)
    spans(world.ring.read())


def test_sizes_are_told_at_each_change(world: World) -> None:
    """The last total_vm and rss_stat of an mm are its figures; of one that has gone they are 0."""
    world.map(pages=10)
    for page in range(3):
        world.touch(BASE + page * PAGE_SIZE)
    child = world.mm.dup_mm()
    world.mm.munmap(BASE + PAGE_SIZE, 2 * PAGE_SIZE)
    figures = {mm.c.pgd: (mm.c.total_vm, mm.c.rss_stat[1]) for mm in (world.mm, child)}
    told = {(e.name, e["mm"]): e["pages"] for e in world.events("total_vm", "rss_stat")}
    for pgd, (total_vm, rss) in figures.items():
        assert (told["total_vm", pgd], told["rss_stat", pgd]) == (total_vm, rss)
    pgd = child.c.pgd
    child.exit_mmap()
    told = {(e.name, e["mm"]): e["pages"] for e in world.events("total_vm", "rss_stat")}
    assert (told["total_vm", pgd], told["rss_stat", pgd]) == (0, 0)


def test_a_call_on_another_cpu_is_told_from_queue_to_end() -> None:
    """csd_queue_cpu, the interrupt, csd_function_entry and _exit, by the number of the call."""
    m = Cpus("c", nr=3)
    m.events()
    m.flush()
    events = m.events()
    queued = {e["csd"]: e["cpu"] for e in events if e.name == "csd_queue_cpu"}
    ran = {e["csd"]: e.cpu for e in events if e.name == "csd_function_entry"}
    assert sorted(queued.values()) == [1, 2] and ran == queued
    assert [e["csd"] for e in events if e.name == "csd_function_exit"] == list(ran)
    asked = [(e.cpu, e["initiating_cpu"]) for e in events if e.name == "flush_tlb_func"]
    assert asked == [(1, 0), (2, 0)]
    m.close()


def test_loading_an_mm_is_told(world: World) -> None:
    kernel, mm = world.mm.kernel, world.mm
    other = Mm(kernel)
    world.events()
    switch_mm(kernel, other)
    switch_mm(kernel, None)
    first, second = world.events("switch_mm")
    assert (first["prev"], first["next"]) == (mm.c.pgd, other.c.pgd)
    assert first["cr3"] & ~0xFFF == other.c.pgd
    assert (second["prev"], second["next"]) == (other.c.pgd, kernel.swapper_pg_dir)
    switch_mm(kernel, mm)
    other.exit_mmap()
