# SPDX-License-Identifier: GPL-2.0-or-later
"""Who touches what CPUs share without a lock says so: the explorer would else not try both orders.

Writes are found by comparing bytes; reads are not.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mmu.linux
from mmu.linux.smp import smp_call_function_single
from mmu.memory import Memory
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from ucmmu.race.dpor import Dpor
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Kind, Step
from ucmmu.race.run import Run
from ucmmu.race.setting import Setting
from ucmmu.race.watched import WatchedMemory
from ucmmu.race.world import RaceWorld

FIELDS = {"tlb_gen", "cpu_bitmap", "tlb_flush_pending", "page_table_lock", "is_lazy", "gather"}
"""Fields of an mm or a CPU that other CPUs look at with no lock held."""

EXEMPT = {
    "page_table_lock": "the property that read_once() and write_once() use",
    "flush_tlb_is_local": "only for mm_fast_fault(), which runs where nobody else does",
    "_is_common": "as well",
    "pmd_alloc_waits": "as well",
    "_choose_new_asid": "what its own CPU knows of each ASID",
    "_catch_up": "as well; the mm's it has from _mm_tlb_gen()",
    "try_to_free_pages": "its own CPU's gather",
    "is_lazy": "what write_once() and read_once() use",
}


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(Path(mmu.linux.__path__[0]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.name}: {node.name}", node


def test_fields_that_are_shared_without_a_lock_are_told() -> None:
    """Each function that names such a field of a C struct calls instrument_read() or _write()."""
    silent = []
    for place, function in _functions():
        inside = list(ast.walk(function))
        touched = {
            node.attr
            for node in inside
            if isinstance(node, ast.Attribute)
            and node.attr in FIELDS
            and (ast.unparse(node.value).endswith((".c", "c", "context", "cpu")))
        }
        told = any(
            isinstance(node, ast.Attribute) and node.attr.startswith("instrument_")
            for node in inside
        )
        if touched and not told and function.name not in EXEMPT:
            silent.append(f"{place} touches {', '.join(sorted(touched))}")
    assert silent == []


UNWATCHED = {
    **dict.fromkeys(("close", "holds", "trim", "record", "connect"), "no access of a CPU's"),
    **dict.fromkeys(("zero_pfn", "frames_in_use"), "says what does not change, or is for reports"),
    **dict.fromkeys(("mark_table", "take_code", "free_code"), "where guest code runs"),
    "release_if_zero": "gives the host back what is zero",
}


def test_no_access_passes_the_watch_by() -> None:
    """Whatever reads or writes RAM or frames is one of the watched memory's own."""
    public = {name for name in vars(Memory) if not name.startswith("_")}
    assert public - set(vars(WatchedMemory)) == set(UNWATCHED)


def test_a_compare_and_exchange_is_told() -> None:
    """The PTE that mprotect() changes by LOCK CMPXCHG: a load comes before it, or after."""
    setting = Setting("mprotect-load", "refcount", "sc")
    every = Dpor(setting.program)
    told = every.next_run()
    assert told is not None
    written = [step.access.writes for step in told.run.steps if step.label == "spin_unlock"]
    assert any(isinstance(what, int) for writes in written for what in writes)
    assert 1 + sum(1 for _ in iter(every.next_run, None)) == 6


def _runs(setting: Setting) -> Iterator[list[Step]]:
    every = Dpor(setting.program)
    while (told := every.next_run()) is not None:
        assert told.run.failure is None
        yield told.run.steps


def test_who_takes_a_sleeping_lock_waits_for_it_and_holds_it() -> None:
    """fork() has mmap_lock for writing, a zap wants it for reading, and waits before it queues."""
    taken: Counter[str] = Counter()
    for steps in _runs(Setting("fork-zap", "refcount")):
        at: dict[Actor, str] = {}
        for step in steps:
            if at.get(step.actor, "").startswith("down_"):
                lock = {what for what in step.access.takes if what[0] == "lock"}
                assert lock and lock <= step.access.waits
                assert not lock & (step.access.reads | step.access.writes)
                assert step.label != "wait_event"
                taken[at[step.actor]] += 1
            at[step.actor] = step.label
    assert taken["down_read"] and taken["down_write"]


def test_who_sleeps_for_a_lock_is_quiet() -> None:
    """A grace period may end while mremap() waits for i_mmap_rwsem, which reclaim has."""
    setting, gp = Setting("mremap-rmap", "refcount"), Actor(0, Kind.GRACE_PERIOD)
    for told in iter(Dpor(setting.program).next_run, None):
        others = [actor for actor in told.run.schedule if actor != gp]
        run, at = Run(setting.program, 10_000), dict[Actor, str]()
        while able := run.enabled():
            where = at.get(Actor(0)), at.get(Actor(1))
            if gp in able and where == ("down_write", "pte_try_get"):
                return
            step = run.step(others.pop(0) if others else able[0])
            assert step is not None
            at[step.actor] = step.label
        run.close()
    pytest.fail("none may end there")


Act = Callable[[RaceWorld, int], Callable[[], object]]


def _downgrades(world: RaceWorld, page: int) -> Callable[[], object]:
    def act() -> None:
        lock, memory = world.mm.mmap_lock, world.memory
        with world.operation("munmap"):
            lock.down_write()
            memory.write_u64(page + 8, 1)
            lock.downgrade_write()
            memory.write_u64(page, 1)
            world.kernel.point("downgraded")
            lock.up_read()

    return act


def _reads(world: RaceWorld, page: int) -> Callable[[], tuple[int, int]]:
    def act() -> tuple[int, int]:
        lock, memory = world.mm.mmap_lock, world.memory
        with world.operation("madvise"):
            lock.down_read()
            seen = memory.read_u64(page + 8), memory.read_u64(page)
            world.kernel.point("read")
            lock.up_read()
        return seen

    return act


def _sends(world: RaceWorld, page: int) -> Callable[[], object]:
    def act() -> None:
        world.memory.write_u64(page + 8, 1)
        smp_call_function_single(
            world.kernel, world.kernel.cpus[1], lambda _: world.memory.write_u64(page, 1)
        )

    return act


def _looks_first(world: RaceWorld, page: int) -> Callable[[], object]:
    def act() -> tuple[object, ...]:
        world.kernel.point("begun")
        before = world.memory.read_u64(page + 8)
        return before, *_reads(world, page)()

    return act


def _idles(world: RaceWorld, _page: int) -> Callable[[], object]:
    return lambda: world.kernel.point("user")


@pytest.mark.parametrize(
    ("acts", "seen"),
    [
        ((_downgrades, _reads), {(0, 0), (1, 0), (1, 1)}),
        ((_sends, _looks_first, _idles), {(0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1)}),
    ],
    ids=["a reader comes in after a downgrade", "an interrupt comes after the lock is taken"],
)
def test_what_a_reader_of_mmap_lock_may_see(
    acts: tuple[Act, ...], seen: set[tuple[int, ...]]
) -> None:
    """As in every schedule (tests/races/brute.py), with two CPUs or three."""
    results = set()

    def make() -> KernelProgram:
        world = RaceWorld(cpus=len(acts), watched=True)
        page = world.memory.alloc_pages()
        world.memory.private.discard(page)
        world.at_end.append(lambda: (world.memory.put_page(page), None)[1])
        return KernelProgram(
            world, {number: act(world, page << PAGE_SHIFT) for number, act in enumerate(acts)}
        )

    every = Dpor(make)
    while (told := every.next_run()) is not None:
        assert told.run.failure is None and isinstance(told.run.program, KernelProgram)
        results.add(told.run.program.results.get(1))
    assert results - {None} == seen


def test_bytes_of_a_new_frame_are_nobody_elses() -> None:
    """Of another frame nobody can tell what is done with them."""
    world = RaceWorld(watched=True)
    old = world.memory.alloc_pages()

    def act() -> None:
        new = world.memory.alloc_pages()
        world.memory.view(new << PAGE_SHIFT, PAGE_SIZE)
        world.kernel.point("new")
        world.memory.view(new << PAGE_SHIFT, PAGE_SIZE)
        world.kernel.point("later")
        world.memory.view(old << PAGE_SHIFT, PAGE_SIZE)
        world.kernel.point("old")

    program = KernelProgram(world, {0: act})
    try:
        found = [program.step(Actor(0)).access.everything for _ in range(3)]
    finally:
        program.close()
    assert found == [False, True, True]
