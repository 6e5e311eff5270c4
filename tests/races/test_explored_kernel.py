# SPDX-License-Identifier: GPL-2.0-or-later
"""What the explorer leaves out makes no difference: on the kernel itself, every order of steps with
few preemptions comes to the same final states as those that it tries, any order is one of them but
for steps that are independent, and steps that an order takes again are as they were.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any

import pytest

from tests.races.equivalent import Order
from ucmmu.race.bounded import Bounded
from ucmmu.race.dpor import Dpor
from ucmmu.race.exploration import Exploration, NotDeterministic
from ucmmu.race.explore import explore
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.program import Actor, Kind, MakeProgram, Step, TakesAgain
from ucmmu.race.run import Run
from ucmmu.race.setting import Setting


def _final_states(setting: Setting, bound: int) -> set[Hashable]:
    """Those that the explorer comes to."""
    found: set[Hashable] = set()

    def make() -> KernelProgram:
        program = setting.program()
        finish = program.finish

        def noting() -> None:
            found.add(program.state())
            finish()

        program.finish = noting  # type: ignore[method-assign]
        return program

    result = explore(make, bound=bound)
    assert result.failure is None and not result.stopped
    return found


def _every_final_state(setting: Setting, bound: int) -> set[Hashable]:
    """Those of every order with no more than ``bound`` preemptions, none left out."""
    found: set[Hashable] = set()
    schedules: list[list[Actor]] = [[]]
    while schedules:
        given = schedules.pop()
        program, done, left = setting.program(), list[Actor](), 0
        try:
            last: Actor | None = None
            while able := list(program.enabled()):
                on = [last] if last in able else able
                actor = given[len(done)] if len(done) < len(given) else on[0]
                if len(done) >= len(given):
                    for other in able:
                        costs = last in able and other != last and other.kind is Kind.CPU
                        if other != actor and left + costs <= bound:
                            schedules.append([*done, other])
                if last in able and actor != last and actor.kind is Kind.CPU:
                    left += 1
                program.step(actor)
                done.append(actor)
                last = actor if actor.kind is Kind.CPU else last
            found.add(program.state())
        finally:
            program.close()
    return found


@pytest.mark.fuzz
@pytest.mark.parametrize("bound", [0, 1])
@pytest.mark.parametrize("name", ["fault-fault", "fault-zap", "zap-zap", "lazy-zap"])
def test_what_is_left_out_makes_no_difference(name: str, bound: int) -> None:
    """The same final states, of all that CPUs share."""
    setting = Setting(name, "refcount")
    tried, every = _final_states(setting, bound), _every_final_state(setting, bound)
    assert every <= tried


def _explored(
    setting: Setting, exploration: Exploration | None = None
) -> dict[Hashable, list[Order]]:
    every = Dpor(setting.program) if exploration is None else exploration
    found = defaultdict[Hashable, list[Order]](list)
    while (told := every.next_run()) is not None:
        assert told.run.failure is None
        if told.trace is not None:
            order = Order.of(told.run, [event.enabled for event in every._happens.events])
            found[order.did].append(order)
    return found


def _at_random(setting: Setting, seed: int) -> Order:
    chance = random.Random(seed)
    goes_on = chance.choice((0.0, 0.5, 0.85, 0.95))
    run, enabled = Run(setting.program, 10_000), []
    while able := run.enabled():
        enabled.append(sum(1 << run.index[actor] for actor in able))
        last = run.schedule[-1] if run.schedule else able[0]
        run.step(last if last in able and chance.random() < goes_on else chance.choice(able))
    run.close()
    assert run.failure is None
    return Order.of(run, enabled)


def check_random_orders(setting: Setting, seeds: Iterable[int]) -> None:
    """Each order at random is one of those that the explorer ran."""
    found = _explored(setting)
    for seed in seeds:
        order = _at_random(setting, seed)
        if not any(map(order.is_equivalent, found.get(order.did, []))):
            pytest.fail(f"{setting}, seed {seed}: of the orders explored it is none")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *(("zap-guard", "tso"), ("lazy-zap", "tso"), ("lazy-zap-page", "tso"), ("cow-exit", "tso")),
        *(("gup-zap", "sc"), ("munmap-fault", "sc"), ("mremap-fault", "sc")),
    ],
)
def test_any_order_is_one_of_those_explored(name: str, model: str) -> None:
    """Of the first three some were not, with store buffers."""
    check_random_orders(Setting(name, "refcount", model), range(40))


@pytest.mark.fuzz
@pytest.mark.parametrize("model", ["sc", "tso"])
@pytest.mark.parametrize(
    "name",
    [
        *("zap-guard", "lazy-zap", "lazy-zap-page", "cow-exit", "gup-zap", "munmap-fault"),
        *("fault-zap", "zap-walk", "oom-reap-fault", "mremap-fault", "exit-lazy"),
        *("fault-guard", "load-zap", "flush-zap", "switch-zap", "flush-switch", "lazy-guard"),
        *("move-visit", "move-lookup", "mprotect-load", "fork-fault", "rmap-fault", "rmap-zap"),
        *("zap-rcu-reader", "mremap-visit", "mremap-rmap", "zap-visit", "oom-reap-exit"),
        *("gup-munmap", "mremap-pages-gup", "cow-writes", "munmap-zap", "mprotect-zap"),
        *("fork-zap", "gup-slow-zap", "zap-midway-fault"),
        *("split-fault", "split-load", "split-gup", "split-walk", "huge-zap-gup"),
        *("collapse-store", "collapse-gup", "collapse-pin", "collapse-visit"),
    ],
)
def test_many_orders_are_of_those_explored(name: str, model: str) -> None:
    check_random_orders(Setting(name, "refcount", model), range(200))


def test_few_orders_are_cut_short() -> None:
    """Of fork-zap a third were: a grace period that is not over was said to come after anything,
    and each such order was tried.
    """
    every = Dpor(Setting("fork-zap", "refcount").program)
    cut = [told.blocked for told in iter(every.next_run, None)]
    assert sum(cut) < len(cut) / 5


@pytest.mark.parametrize(
    ("name", "most"), [("fork-zap", 30), ("munmap-fault", 32), ("punch-fault-around", 50)]
)
def test_what_nobody_looks_at_makes_no_orders(name: str, most: int) -> None:
    """They were 38, 39 and 306: frames whose grace period was over were taken again; each part of a
    gather was looked at for any; a grace period's end raced with reports that it did not wait for.
    """
    every = Dpor(Setting(name, "refcount").program)
    assert sum(1 for _ in iter(every.next_run, None)) <= most


def test_what_a_cpu_allocates_hangs_on_no_grace_period() -> None:
    """But where a scenario is about frames that are used again."""
    for name, again in (("fork-zap", False), ("zap-reuse-fault", True)):
        every, lists = Dpor(Setting(name, "refcount").program), set[Hashable]()
        for told in iter(every.next_run, None):
            ends = [s for s in told.run.steps if s.actor.kind is Kind.GRACE_PERIOD]
            lists |= {what for step in ends for what in step.access.writes if "pcp" in str(what)}
            if lists:
                break
        assert (("pcp", 0) in lists) == again, name
        assert lists


def _with_one_preemption(setting: Setting, seed: int) -> Order:
    chance = random.Random(seed)
    run, enabled, running = Run(setting.program, 10_000), list[int](), None
    may = True
    while able := run.enabled():
        enabled.append(sum(1 << run.index[actor] for actor in able))
        free = [a for a in able if a.kind is not Kind.CPU or a == running or running not in able]
        actor = chance.choice(able if may and chance.random() < 0.1 else free)
        if actor.kind is Kind.CPU:
            may = may and (actor == running or running not in able)
            running = actor
        run.step(actor)
    run.close()
    return Order.of(run, enabled)


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("name", "model", "missed"),
    [
        *(("fault-zap", "sc", 3), ("zap-visit", "sc", 3), ("lazy-zap", "sc", 0)),
        *(("zap-guard", "tso", 5), ("munmap-fault", "tso", 0), ("lazy-zap-page", "tso", 0)),
    ],
)
def test_a_bound_misses_few_orders(name: str, model: str, missed: int) -> None:
    """Of 100 at random with one preemption so many, at most, are none of those explored
    (ucmmu.race.bounded says which).
    """
    setting = Setting(name, "refcount", model)
    found = _explored(setting, Bounded(setting.program, 1))
    orders = [_with_one_preemption(setting, seed) for seed in range(100)]
    none = [o for o in orders if not any(map(o.is_equivalent, found.get(o.did, [])))]
    assert len(none) <= missed


def test_orders_that_differ_are_not_taken_for_one() -> None:
    """Of those explored, which come to the same points, each is another one than most."""
    orders = max(_explored(Setting("fault-zap", "refcount")).values(), key=len)
    same = [(one, two) for one, two in combinations(orders, 2) if one.is_equivalent(two)]
    assert len(orders) > 5 and len(same) < len(orders) / 2
    assert all(order.is_equivalent(order) for order in orders)


class _LooksAgain:
    """A program that takes no step again: it looks at each as if it were new."""

    def __init__(self, program: KernelProgram) -> None:
        self._program = program

    def __getattr__(self, name: str) -> Any:
        if name in ("again", "came_to"):
            raise AttributeError(name)
        return getattr(self._program, name)


def _runs(make: MakeProgram, nr: int) -> list[list[Step]]:
    exploration = Bounded(make, 1)
    runs = [exploration.next_run() for _ in range(nr)]
    return [told.run.steps for told in runs if told is not None]


@pytest.mark.parametrize(
    "setting",
    [
        Setting("gup-munmap", "refcount", "tso"),
        Setting("cow-exit", "refcount"),
        Setting("zap-walk", "refcount", "tso", fine=True),
        Setting("zap-visit-fault", "refcount-pmdlock", "tso"),
    ],
    ids=lambda setting: setting.scenario,
)
def test_steps_taken_again_lead_to_the_same(setting: Setting) -> None:
    """What comes after them touches the same, at the same points, as after steps looked at."""

    def looking_again() -> KernelProgram:
        program: Any = _LooksAgain(setting.program())
        assert not isinstance(program, TakesAgain)
        return program  # type: ignore[no-any-return]

    assert isinstance(setting.program(), TakesAgain)
    runs = _runs(setting.program, 6)
    assert len(runs) == 6
    assert runs == _runs(looking_again, 6)


def test_a_step_that_is_another_one_when_taken_again_is_told() -> None:
    """Not only where it ends, also what it leaves is compared."""

    def make() -> KernelProgram:
        program = Setting("fault-zap", "refcount").program()
        again, memory = program.again, program.world.memory

        def otherwise(step: Step) -> str:
            label = again(step)
            memory.write_u64(memory.size - 8, 1)
            return label

        program.again = otherwise  # type: ignore[method-assign]
        return program

    with pytest.raises(NotDeterministic, match="not deterministic"):
        explore(make, bound=1)


class _Sleepless(Bounded):
    """Nothing sleeps: traces are run again and again, and none is left out."""

    def _enter(self, run: Run, able: Sequence[Actor]) -> Any:
        node = super()._enter(run, able)
        node.sleep.clear()
        return node

    def _backtrack(self) -> bool:
        if not self._stack:
            return False
        again = super()._backtrack()
        for node in self._stack:
            node.sleep.clear()
        return again


def _traces(exploration: Bounded) -> set[int]:
    runs = iter(exploration.next_run, None)
    return {told.trace for told in runs if told.trace is not None}


@pytest.mark.parametrize(
    "setting",
    [Setting("fault-zap", "refcount", "sc"), Setting("flush-switch-page", "refcount", "tso")],
    ids=lambda setting: setting.model,
)
def test_sleep_sets_lose_no_trace(setting: Setting) -> None:
    """1*8,0*11,1,1i,1 of fault-zap: CPU 0 waits for the interrupt, which comes between two steps of
    CPU 1. With the first of these two before CPU 0's, which it is independent of, the second is a
    preemption. With store buffers no CPU may sleep at all.
    """
    assert _traces(Bounded(setting.program, 1)) == _traces(_Sleepless(setting.program, 1))
