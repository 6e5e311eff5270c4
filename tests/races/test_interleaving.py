# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an Interleaving runs its actors in exactly the order asked for, the same one each time, and
explore() leaves none out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

import pytest

from mmu.linux.sched import WaitQueue
from mmu.linux.state import Kernel
from mmu.memory import Memory
from mmu.x86 import Mmu
from ucmmu.race.interleaving import Deadlock, Interleaving, Step, explore


@pytest.fixture
def kernel() -> Kernel:
    memory = Memory(1 << 20)
    kernel = Kernel(memory, engine="python")
    for _ in range(3):
        kernel.add_cpu(Mmu(memory, geometry="tiny", engine="python"))
    return kernel


def counter(kernel: Kernel) -> tuple[list[int], Callable[[], int]]:
    """A number, and an actor that adds 1 to it as `mov; add; mov` does."""
    number = [0]

    def add() -> int:
        value = number[0]
        kernel.point("loaded")
        number[0] = value + 1
        return kernel.this_cpu.id

    return number, add


def test_a_forced_order(kernel: Kernel) -> None:
    """One after the other: 2. Both load first: an update is lost."""
    for schedule, result in (([0, 0, 1, 1], 2), ([0, 1, 0, 1], 1), ([1, 0, 0, 1], 1)):
        number, add = counter(kernel)
        race = Interleaving(kernel, {0: add, 1: add}, schedule=schedule).run()
        assert number == [result]
        assert race.schedule == schedule
        assert race.results == {0: 0, 1: 1}, "each ran on its own CPU"


def test_a_step_to_a_named_point(kernel: Kernel) -> None:
    seen = []

    def walk() -> None:
        for name in ("a", "b", "a", "c"):
            kernel.point(name)
            seen.append((kernel.this_cpu.id, name))

    Interleaving(
        kernel, {0: walk, 1: walk}, schedule=[(0, "c"), (1, "b"), (0, "c"), (1, "a")]
    ).run()
    assert seen[:3] == [(0, "a"), (0, "b"), (0, "a")]
    assert seen[3:6] == [(1, "a"), (0, "c"), (1, "b")]


def test_only_the_points_asked_for(kernel: Kernel) -> None:
    number, add = counter(kernel)
    race = Interleaving(kernel, {0: add, 1: add}, schedule=[0, 1], points={"other"}).run()
    assert (number, race.schedule) == ([2], [0, 1])


def test_one_seed_one_order(kernel: Kernel) -> None:
    schedules = set()
    for seed in range(20):
        number, add = counter(kernel)
        race = Interleaving(kernel, {0: add, 1: add, 2: add}, seed=seed).run()
        again_number, add = counter(kernel)
        again = Interleaving(kernel, {0: add, 1: add, 2: add}, seed=seed).run()
        assert (again.schedule, again_number) == (race.schedule, number)
        replayed, add = counter(kernel)
        Interleaving(kernel, {0: add, 1: add, 2: add}, schedule=race.schedule).run()
        assert replayed == number
        schedules.add(tuple(race.schedule))
    assert len(schedules) > 10


def test_explore_leaves_no_order_out(kernel: Kernel) -> None:
    """Of two actors with n steps each there are (2n over n)."""

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        def walk() -> None:
            for _ in range(3):
                kernel.point("x")

        race = Interleaving(kernel, {0: walk, 1: walk}, schedule=schedule).run()
        seen.add(tuple(race.schedule))
        return race

    for preemptions, count in ((None, comb(8, 4)), (0, 2), (1, 8)):
        seen: set[tuple[int, ...]] = set()
        assert explore(scenario, preemptions=preemptions) == count == len(seen)


def test_a_wait_lets_the_others_go_on(kernel: Kernel) -> None:
    done: list[str] = []

    def waits() -> int:
        error = kernel.scheduler.wait_event(WaitQueue("q"), lambda: bool(done), "the other")
        assert kernel.this_cpu.id == 0
        return error

    race = Interleaving(kernel, {0: waits, 1: lambda: done.append("x")}).run()
    assert race.results[0] == 0


def test_a_deadlock_is_told_with_what_each_waits_for(
    kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(what: str) -> Callable[[], bool]:
        return lambda: kernel.scheduler.spin_until(lambda: False, what)

    with pytest.raises(Deadlock, match=r"CPU 0 waits for the sun; CPU 1 waits for rain"):
        Interleaving(kernel, {0: wait("the sun"), 1: wait("rain")}).run()
    assert "schedule=[0, 1]" in capsys.readouterr().err


def test_an_error_of_an_actor_is_raised_and_the_kernel_left_as_it_was(
    kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kernel.scheduler, kernel.on_point, kernel.this_cpu
    ended = []

    def fails() -> None:
        kernel.point("x")
        raise ZeroDivisionError

    def goes_on() -> None:
        try:
            kernel.point("y")
        finally:
            ended.append(True)

    with pytest.raises(ZeroDivisionError):
        Interleaving(kernel, {0: fails, 1: goes_on}, schedule=[1, 0, 0]).run()
    assert (kernel.scheduler, kernel.on_point, kernel.this_cpu) == before
    assert ended == [True]
    assert "schedule=[1, 0, 0]" in capsys.readouterr().err


@pytest.mark.parametrize("waiting", [True, False])
def test_an_interrupt_is_taken_at_once_by_who_waits_else_as_a_step(
    kernel: Kernel, waiting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(
        type(kernel.cpus[1]), "interrupt", lambda cpu: told.append(kernel.this_cpu.id)
    )
    counts = []

    def sends() -> None:
        kernel.scheduler.kick(kernel.cpus[1])
        counts.append(len(told))
        kernel.scheduler.spin_until(lambda: bool(told), "an acknowledgement")

    def target() -> None:
        if waiting:
            kernel.scheduler.spin_until(lambda: bool(counts), "the other")
        else:
            kernel.point("busy")

    race = Interleaving(kernel, {0: sends, 1: target}, schedule=[1, 0]).run()
    assert (told, counts) == ([1], [1 if waiting else 0])
    assert ((1, "interrupt") in race.trail) is not waiting
