# SPDX-License-Identifier: GPL-2.0-or-later
"""Store buffers: what x86 allows between a store and its being seen, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

import pytest

from mmu.linux.locks import pte_lock, pte_unlock
from mmu.linux.policy import FreeTables
from mmu.linux.smp import smp_call_function
from mmu.x86 import Access, Outcome
from ucmmu.race.bounded import Bounded
from ucmmu.race.dpor import Dpor
from ucmmu.race.exploration import Exploration
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Kind, MakeProgram
from ucmmu.race.tso import StoreBuffer
from ucmmu.race.world import BASE, RaceWorld

Acts = Mapping[int, Callable[[], object]]
MakeActs = Callable[[RaceWorld, int, int], Acts]


def test_stores_leave_the_buffer_in_order() -> None:
    """First in, first out, also to one address."""
    buffer = StoreBuffer[str]()
    for address, value in (("x", 1), ("y", 2), ("x", 3)):
        buffer.store(address, value)
    assert (len(buffer), list(buffer)) == (3, [("x", 1), ("y", 2), ("x", 3)])
    assert [buffer.drain() for _ in range(2)] == [("x", 1), ("y", 2)]
    memory: dict[str, int] = {}
    assert buffer.drain_all(memory.__setitem__) == 1
    assert memory == {"x": 3}
    with pytest.raises(IndexError):
        buffer.drain()


def test_a_load_gets_its_own_cpus_newest_store() -> None:
    """Forwarding: the newest to that address, and only to that address."""
    buffer = StoreBuffer[int]()
    assert buffer.load(8) is None
    buffer.store(8, 1)
    buffer.store(8, 2)
    buffer.store(16, 3)
    assert (buffer.load(8), buffer.load(16), buffer.load(24)) == (2, 3, None)


def _world(policy: FreeTables = FreeTables.REFCOUNT) -> tuple[RaceWorld, int, int]:
    """Two words of a page that two CPUs use."""
    world = RaceWorld(policy, watched=True)
    world.run_on(0)
    world.write(BASE)()
    page = (world.pte(BASE) & 0x000F_FFFF_FFFF_F000) + 2048
    return world, page, page + 8


def _outcomes(make: MakeActs, *, tso: bool) -> set[Hashable]:
    """The results of both CPUs in every order of steps."""
    outcomes: set[Hashable] = set()
    schedules: list[list[Actor]] = [[]]
    world, x, y = _world()
    while schedules:
        given = schedules.pop()
        world.memory.write_u64(x, 0)
        world.memory.write_u64(y, 0)
        program = KernelProgram(world, make(world, x, y), tso=tso)
        try:
            done: list[Actor] = []
            while not program.finished():
                able = list(program.enabled())
                assert able, program.waiting()
                actor = given[len(done)] if len(done) < len(given) else able[0]
                if len(done) >= len(given):
                    schedules += [[*done, other] for other in able[1:]]
                program.step(actor)
                done.append(actor)
            outcomes.add(tuple(program.results[n] for n in (0, 1)))
        finally:
            program.close()
    return outcomes


def _store_load(world: RaceWorld, mine: int, other: int, *, locked: bool) -> Callable[[], int]:
    def act() -> int:
        if locked:
            world.memory.xchg_u64(mine, 1)
        else:
            world.memory.write_u64(mine, 1)
        world.kernel.point("load")
        return world.memory.read_u64(other)

    return act


def _sb(world: RaceWorld, x: int, y: int, *, locked: bool = False) -> Acts:
    return {
        0: _store_load(world, x, y, locked=locked),
        1: _store_load(world, y, x, locked=locked),
    }


def test_store_buffering_is_seen_in_tso_alone() -> None:
    """SB: both loads may be 0, but only where stores wait; not after locked instructions."""
    sc = {(0, 1), (1, 0), (1, 1)}
    assert _outcomes(_sb, tso=False) == sc
    assert _outcomes(_sb, tso=True) == sc | {(0, 0)}
    assert _outcomes(lambda w, x, y: _sb(w, x, y, locked=True), tso=True) == sc


def test_message_passing_keeps_its_order() -> None:
    """MP: who sees the second store sees the first."""

    def make(world: RaceWorld, x: int, y: int) -> Acts:
        memory = world.memory

        def send() -> None:
            memory.write_u64(x, 1)
            world.kernel.point("store")
            memory.write_u64(y, 1)

        def receive() -> tuple[int, int]:
            second = memory.read_u64(y)
            world.kernel.point("load")
            return second, memory.read_u64(x)

        return {0: send, 1: receive}

    assert _outcomes(make, tso=True) == {(None, (0, 0)), (None, (0, 1)), (None, (1, 1))}


def test_a_lock_is_given_back_by_a_plain_store() -> None:
    """spin_unlock() waits in the buffer behind what the lock guarded: who has the lock sees it."""

    def make(world: RaceWorld, x: int, _y: int) -> Acts:
        table = world.frame()

        def add() -> int:
            pte_lock(world.mm, table)
            value = world.memory.read_u64(x) + 1
            world.memory.write_u64(x, value)
            pte_unlock(world.mm, table)
            return value

        return {0: add, 1: add}

    assert _outcomes(make, tso=True) == {(1, 2), (2, 1)}


def test_a_walk_passes_the_store_buffer_by() -> None:
    """The page walker of the CPU that stored a PTE reads memory; after the drain it sees it."""
    world, _, _ = _world(FreeTables.NEVER)  # which counts no entries
    pte = (world.frame() << 12) + 8
    value = world.pte(BASE)

    def act() -> list[Outcome]:
        mmu, kernel = world.kernel.cpus[0].mmu, world.kernel
        world.memory.write_u64(pte, value)
        seen = [mmu.translate(BASE + 4096, Access.READ).result]
        kernel.point("drain")
        return [*seen, mmu.translate(BASE + 4096, Access.READ).result]

    program = KernelProgram(world, {0: act}, tso=True)
    try:
        cpu, drain = Actor(0), Actor(0, Kind.DRAIN)
        while drain not in program.enabled() or program._actors[0].at != "drain":
            program.step(cpu)
        program.step(drain)
        while cpu in program.enabled():
            program.step(cpu)
    finally:
        program.close()
    assert program.results[0] == [Outcome.PAGE_FAULT, Outcome.OK]


def test_an_interrupt_finds_the_buffer_empty() -> None:
    """What a CPU stored before it took an interrupt is seen by who sent it."""
    world, x, _ = _world()

    def ask() -> int:
        smp_call_function(world.kernel, lambda _: None)
        return world.memory.read_u64(x)

    def store() -> None:
        world.memory.write_u64(x, 1)
        world.kernel.point("stored")

    program = KernelProgram(world, {0: ask, 1: store}, tso=True)
    try:
        program.step(Actor(1))
        assert program.watch is not None and program.watch.drainable() == [1]
        while program.enabled() and not program._actors[0].ended:
            program.step(next(a for a in program.enabled() if a != Actor(1)))
    finally:
        program.close()
    assert program.results[0] == 1


def _stores_and_is_asked(world: RaceWorld, x: int, y: int) -> Acts:
    """Whether CPU 1 had begun when CPU 0 asked it, and what CPU 0 sees of its store after that."""

    def ask() -> tuple[int, int]:
        begun = world.memory.read_u64(y)
        world.kernel.point("looked")
        smp_call_function(world.kernel, lambda _: None)
        world.kernel.point("asked")
        return begun, world.memory.read_u64(x)

    def store() -> None:
        world.memory.xchg_u64(y, 1)
        world.kernel.point("begun")
        world.memory.write_u64(x, 1)
        world.kernel.point("stored")

    return {0: ask, 1: store}


@pytest.mark.parametrize("explore", [Dpor, lambda make: Bounded(make, 4)], ids=["dpor", "bounded"])
def test_an_interrupt_is_taken_before_a_store_and_after_it(
    explore: Callable[[MakeProgram], Exploration],
) -> None:
    """A store keeps interrupts off until it has drained: to take one first is another order, though
    the handler touches nothing that is stored.
    """

    def make() -> KernelProgram:
        world, x, y = _world()
        return KernelProgram(world, _stores_and_is_asked(world, x, y), tso=True)

    found, every = set[Hashable](), explore(make)
    while (told := every.next_run()) is not None:
        assert isinstance(told.run.program, KernelProgram) and told.run.failure is None
        if told.trace is not None:
            found.add(told.run.program.results[0])
    assert found == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_handler_of_an_interrupt_is_left_midway() -> None:
    """With ``fine`` other CPUs go on between two accesses of the handler, as in any code; the CPU
    goes on with it, and then where it was interrupted.
    """
    world, x, y = _world()
    told: list[str] = []

    def handler(_: object) -> None:
        world.memory.write_u64(x, 1)
        told.append("first")
        world.memory.write_u64(y, 1)
        told.append("second")

    def interrupted() -> str:
        world.kernel.point("here")
        return ", ".join(told)

    acts = {0: lambda: smp_call_function(world.kernel, handler), 1: interrupted}
    program = KernelProgram(world, acts, fine=True)
    cpu, interrupt = Actor(1), Actor(1, Kind.INTERRUPT)
    try:
        while program._actors[1].at != "here":
            program.step(cpu)
        while interrupt not in program.enabled():
            program.step(Actor(0))
        assert program.step(interrupt).label == "interrupt_handler"
        assert interrupt not in program.enabled()
        while "first" not in told:
            program.step(cpu)
        assert told == ["first"] and program._actors[1].handling
        while not program.finished():
            program.step(next(iter(program.enabled())))
    finally:
        program.close()
    assert program.results[1] == "first, second"
