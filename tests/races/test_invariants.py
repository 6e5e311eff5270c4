# SPDX-License-Identifier: GPL-2.0-or-later
"""Each invariant of a race is broken once, and told in the step that breaks it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mmu.events import EVENT_ID
from mmu.linux import pte_ref, rcu
from mmu.linux.bug import Bug, MmBug
from mmu.linux.locks import pmd_lock, pte_lock, pte_unlock
from mmu.linux.pgtable import PMD_MASK, entry_pfn, ptep_get_and_clear, set_pte_at, table_entry
from mmu.linux.policy import FreeTables
from mmu.linux.tracepoint import emit
from mmu.x86 import Access
from ucmmu.race.invariants import RaceViolation, Reason
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.world import BASE, PAGE_SIZE, Actor, RaceWorld

OTHER = BASE + PAGE_SIZE


def _world() -> RaceWorld:
    """CPU 0 has written to one page: a table with one entry."""
    world = RaceWorld(FreeTables.REFCOUNT, watched=True)
    world.run_on(0)
    world.write(BASE)()
    return world


def _run(world: RaceWorld, acts: Mapping[int, Actor], *, tso: bool = False) -> KernelProgram:
    """Each goes on as long as it can, CPU 0 first."""
    program = KernelProgram(world, acts, fine=True, tso=tso)
    try:
        while not program.finished():
            program.step(next(iter(program.enabled())))
    finally:
        program.close()
    return program


def _breaks(world: RaceWorld, acts: Mapping[int, Actor], reason: Reason) -> str:
    with pytest.raises(RaceViolation) as raised:
        _run(world, acts)
    assert raised.value.reason is reason, str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("tso", [False, True])
def test_nothing_is_wrong_where_nothing_is(tso: bool) -> None:
    """A fault and a zap of the last entry, in both memory models."""
    world = _world()
    program = _run(world, {0: world.dontneed(), 1: world.write(OTHER)}, tso=tso)
    program.finish()


def test_a_count_that_is_changed_behind_the_events() -> None:
    """COUNT: an increment that nobody accounts for."""
    world = _world()

    def act() -> None:
        world.memory.page(world.frame()).pte_refcount += 1

    assert "counts 2; it has 1 entries" in _breaks(world, {0: act}, Reason.COUNT)


def test_an_increment_that_is_lost() -> None:
    """COUNT: between the load and the store of an increment another CPU takes a reference."""
    world = _world()
    table = world.frame()

    def lost() -> None:
        page = world.memory.page(table)
        old = page.pte_refcount
        world.kernel.point("between")
        page.pte_refcount = old + 1
        emit(world.kernel, EVENT_ID["pte_get"], table, old, old + 1, 0)

    program = KernelProgram(world, {0: lost, 1: lambda: pte_ref.pte_get(world.mm, table)})
    try:
        cpu0, cpu1 = program.cpus
        program.step(cpu0)
        program.step(cpu1)
        with pytest.raises(RaceViolation) as raised:
            program.step(cpu0)
    finally:
        program.close()
    assert raised.value.reason is Reason.COUNT


def test_an_entry_that_no_reference_keeps_until_it_is_counted() -> None:
    """UNCOUNTED, D12: it is set, and counted later, by who holds no visitor's reference."""
    world = _world()
    pte = table_entry(world.frame(), OTHER)

    def act() -> None:
        pte_lock(world.mm, world.frame())
        set_pte_at(world.mm, OTHER, pte, 1 << 9)
        pte_ref.pte_entries_set(world.mm, world.frame(), 1)
        pte_unlock(world.mm, world.frame())

    _breaks(world, {0: act}, Reason.UNCOUNTED)


@pytest.mark.parametrize("nr", [1, -1])
def test_a_reference_that_is_left_or_put_twice(nr: int) -> None:
    """LEFT, D10 and D7: an operation ends with a reference more, or less, than it began with."""
    world = _world()
    world.write(OTHER)()

    def act() -> None:
        with world.operation("madvise"):
            _, table = pte_ref.pte_try_get(world.mm, world.pmd())
            for _ in range(1 - nr):
                pte_ref.pte_put(world.mm, table, BASE)

    _breaks(world, {0: act}, Reason.LEFT)


def _tell_free(world: RaceWorld, table: int) -> None:
    pmd, pgd = world.pmd(), world.mm.c.pgd
    emit(world.kernel, EVENT_ID["pte_free"], BASE & PMD_MASK, table, pgd, pmd)


def test_a_table_that_is_freed_with_an_entry() -> None:
    """FREED_IN_USE: it leaves its PMD while its count is 1."""
    world = _world()
    text = _breaks(world, {0: lambda: _tell_free(world, world.frame())}, Reason.FREED_IN_USE)
    assert "1 entries, a count of 1" in text


def test_a_table_that_is_freed_twice() -> None:
    """FREED_TWICE: it is in no PMD any more."""
    world = _world()

    def act() -> None:
        table = world.frame()
        world.dontneed()()
        _tell_free(world, table)

    _breaks(world, {0: act}, Reason.FREED_TWICE)


@pytest.mark.parametrize("what", ["word", "lock", "count"])
def test_a_frame_that_is_used_after_it_was_freed(what: str) -> None:
    """FREED_FRAME: an entry, the lock and the count of a table after its grace period (D5)."""
    world = _world()

    def act() -> object:
        table = world.frame()
        world.dontneed()()
        world.quiesce()
        page = world.memory.page(table)
        if what == "word":
            return world.memory.read_u64(table_entry(table, BASE))
        return page.ptl if what == "lock" else page.pte_refcount

    _breaks(world, {0: act}, Reason.FREED_FRAME)


def test_a_translation_that_is_used_after_the_operation_that_should_have_flushed_it() -> None:
    """STALE: a PTE is cleared without a flush, and CPU 1 still has it in its TLB."""
    world = _world()
    world.run_on(1)
    world.write(BASE)()
    world.run_on(0)
    pte = table_entry(world.frame(), BASE)

    def clear() -> None:
        with world.operation("madvise"):
            _, table = pte_ref.pte_try_get(world.mm, world.pmd())
            page = entry_pfn(ptep_get_and_clear(world.mm, BASE, pte))
            world.memory.page(page)._mapcount -= 1
            pte_ref.pte_put_many(world.mm, table, BASE, 1)
            world.kernel.point("cleared")
            pte_ref.pte_get_many(world.mm, table, 1)
            set_pte_at(world.mm, BASE, pte, 1 << 9)
            pte_ref.pte_put(world.mm, table, BASE)

    def use() -> None:
        world.kernel.cpus[1].mmu.translate(BASE, Access.WRITE)

    _breaks(world, {0: clear, 1: use}, Reason.STALE)


def test_a_wait_for_a_cpu_that_does_not_run() -> None:
    """UNBOUNDED, D2: a loop that reads one word until another CPU changes it."""
    world = _world()

    def act() -> None:
        while world.pte(OTHER) == 0:
            world.kernel.point("cpu_relax")

    assert "CPU 0" in _breaks(world, {0: act, 1: world.write(OTHER)}, Reason.UNBOUNDED)


def test_a_loop_that_gets_on_is_no_wait() -> None:
    """A loop over addresses reads the same words again, but its own number moves on."""
    world = _world()

    def act() -> None:
        for _number in range(20):
            world.pte(OTHER)
            world.kernel.point("looks")

    _run(world, {0: act}).finish()


@pytest.mark.parametrize("what", ["lock", "section", "interrupts"])
def test_what_is_kept_on_the_way_out(what: str) -> None:
    """Locks, RCU read sections and interrupts are balanced when an operation ends."""
    world = _world()

    def act() -> None:
        with world.operation("madvise"):
            if what == "lock":
                pmd_lock(world.mm, world.pmd())
            elif what == "section":
                rcu.rcu_read_lock(world.kernel)
            else:
                world.kernel.this_cpu.c.irqs_disabled += 1

    with pytest.raises(MmBug) as raised:
        _run(world, {0: act})
    assert raised.value.bug == Bug.LOCK_KEPT
