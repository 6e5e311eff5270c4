# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the explorer leaves no order out that matters, runs none twice, and says what it did not
come to; with a bound of preemptions it comes to all that so few of them lead to.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from dataclasses import replace
from math import factorial, prod

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.races.brute import Every, TooMany, every_schedule, preemptions
from tests.races.classics import dekker, lastzero, readers, straight
from tests.races.random_texts import interrupted_texts, texts
from ucmmu.race.bounded import Bounded
from ucmmu.race.dpor import Dpor
from ucmmu.race.exploration import Exploration, NotDeterministic
from ucmmu.race.explore import Explorer, Limits, explore, explore_at_random
from ucmmu.race.happens import Event, Objects
from ucmmu.race.program import Actor, Kind, StepAccess, format_schedule, parse_schedule
from ucmmu.race.run import Impossible, replay
from ucmmu.race.textbook import (
    Await,
    Cas,
    Kick,
    Load,
    Lock,
    Op,
    Rmw,
    Store,
    Text,
    TextProgram,
    Thread,
    Unlock,
    _Cpu,
)
from ucmmu.race.wakeup import Branch, drop_first, insert, leads_to

_SAME = Cas("x", 1, 1)
QUICK = settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
LONG = settings(deadline=None, max_examples=1500, suppress_health_check=list(HealthCheck))


class Came:
    """What an exploration came to, run to its end."""

    def __init__(self, exploration: Exploration) -> None:
        self.runs = self.blocked = self.finished = 0
        self.traces: set[int] = set()
        self.states: set[Hashable] = set()
        self.failures: set[tuple[str, str]] = set()
        while (told := exploration.next_run()) is not None:
            self.runs += 1
            self.blocked += told.blocked
            if told.trace is not None:
                self.finished += 1
                self.traces.add(told.trace)
                self.states.add(told.run.program.state())
            elif told.run.failure is not None:
                self.failures.add(told.run.failure.reason)

    def same_as(self, every: Every) -> None:
        assert self.states == every.states
        assert self.traces == every.traces
        assert self.failures == every.failures


def every_of(text: Text, *, tso: bool, bound: int | None, limit: int) -> Every | None:
    """What brute force comes to; None if that takes too many schedules."""
    try:
        return every_schedule(lambda: TextProgram(text, tso=tso), bound, limit=limit)
    except TooMany:
        return None


def compare(text: Text, *, tso: bool, bound: int | None, limit: int) -> None:
    every = every_of(text, tso=tso, bound=bound, limit=limit)
    if every is None:
        return

    def make() -> TextProgram:
        return TextProgram(text, tso=tso)

    came = Came(Dpor(make) if bound is None else Bounded(make, bound))
    came.same_as(every)
    if bound is None:
        assert came.finished == len(came.traces), "a trace was run twice"


TWO, THREE = texts(2, 3), texts(3, 2)


@QUICK
@given(TWO, st.booleans())
def test_every_order_of_two_threads_as_by_brute_force(text: Text, tso: bool) -> None:
    compare(text, tso=tso, bound=None, limit=150)


@QUICK
@given(THREE, st.booleans())
def test_every_order_of_three_threads_as_by_brute_force(text: Text, tso: bool) -> None:
    compare(text, tso=tso, bound=None, limit=150)


@QUICK
@given(TWO, st.booleans(), st.integers(0, 3))
def test_every_order_within_a_bound_as_by_brute_force(text: Text, tso: bool, bound: int) -> None:
    compare(text, tso=tso, bound=bound, limit=150)


@QUICK
@given(THREE, st.booleans(), st.integers(0, 2))
def test_three_threads_within_a_bound(text: Text, tso: bool, bound: int) -> None:
    compare(text, tso=tso, bound=bound, limit=150)


def compare_interrupted(text: Text, *, tso: bool, limit: int) -> None:
    """An interrupt is not tried behind a store that it can come before: traces are fewer."""
    try:
        every = every_schedule(lambda: TextProgram(text, tso=tso), limit=limit)
    except TooMany:
        return
    came = Came(Dpor(lambda: TextProgram(text, tso=tso)))
    assert (came.states, came.failures) == (every.states, every.failures)
    assert came.runs <= every.schedules


def test_an_interrupt_is_not_tried_behind_a_store_that_it_can_come_before() -> None:
    """Of two stores and an interrupt, which has to wait for them, there is one order that matters:
    the interrupt first.
    """

    def kicks() -> Thread:
        yield Kick(1)

    def stores() -> Thread:
        yield Store("x", 1)
        yield Store("y", 1)

    text = Text([kicks, stores], handlers=[[], [Rmw("z", lambda value: value + 1)]])
    every = every_schedule(lambda: TextProgram(text, tso=True))
    assert (every.schedules, len(every.states)) == (15, 1)
    assert Came(Dpor(lambda: TextProgram(text, tso=True))).runs == 1


def test_a_store_is_tried_behind_an_interrupt() -> None:
    """It may drain later then: CPU 0, which saw the interrupt come, may not see the store."""

    def kicks() -> Thread:
        yield Kick(1)
        yield Await("z", lambda value: value > 0)
        return (yield Load("x"))

    def stores() -> Thread:
        yield Store("x", 1)

    text = Text([kicks, stores], handlers=[[], [Rmw("z", lambda value: value + 1)]])
    came = Came(Dpor(lambda: TextProgram(text, tso=True)))
    assert {results[0] for _, results in came.states} == {0, 1}


@QUICK
@given(interrupted_texts(3), st.booleans())
def test_interrupts_as_by_brute_force(text: Text, tso: bool) -> None:
    compare_interrupted(text, tso=tso, limit=300)


@pytest.mark.fuzz
@LONG
@given(interrupted_texts(5), st.booleans())
def test_larger_programs_with_interrupts(text: Text, tso: bool) -> None:
    compare_interrupted(text, tso=tso, limit=5000)


class Untold(TextProgram):
    """One whose locks are told as variables that are read and written, no more."""

    def _access(self, number: int, cpu: _Cpu, op: Op) -> StepAccess:
        access = super()._access(number, cpu, op)
        written = access.writes | access.takes | access.frees
        return StepAccess(reads=access.reads | access.waits, writes=written)


def compare_untold(text: Text, limit: int) -> None:
    try:
        every = every_schedule(lambda: Untold(text, tso=False), limit=limit)
    except TooMany:
        return
    Came(Dpor(lambda: Untold(text, tso=False))).same_as(every)


def test_who_waits_where_only_sleepers_could_go_on_races() -> None:
    """CPU 1 comes to the lock when CPU 0 has dropped it, and would wait before that: that it could
    have been first is found nevertheless.
    """

    def holder() -> Thread:
        yield Lock("a")
        yield Store("x", 1)
        yield Unlock("a")

    def late() -> Thread:
        yield Store("y", 1)
        yield from holder()

    compare_untold(Text([holder, late]), limit=1000)


class Tried(TextProgram):
    """One in which CPU 1 tries its locks: what it takes is read and written."""

    def _access(self, number: int, cpu: _Cpu, op: Op) -> StepAccess:
        access = super()._access(number, cpu, op)
        if number != 1 or not isinstance(op, Lock):
            return access
        lock = access.takes
        return StepAccess(reads=lock, writes=lock, waits=access.waits - lock)


@pytest.mark.parametrize("program", [TextProgram, Tried])
def test_who_waits_for_a_lock_and_for_its_own_stores_may_be_first(
    program: type[TextProgram],
) -> None:
    """CPU 0 has to drain a store before it takes the lock, which CPU 1 gets meanwhile: what lets
    it go on comes after that, and yet it could have been first.
    """

    def stores() -> Thread:
        yield Store("x", 1)
        yield Lock("y")
        yield Unlock("y")

    def tries() -> Thread:
        yield Load("x")
        yield Lock("y")
        yield Unlock("y")

    text = Text([stores, tries])
    every = every_schedule(lambda: program(text, tso=True))
    Came(Dpor(lambda: program(text, tso=True))).same_as(every)


class _LocksAndStores(TextProgram):
    """One in which CPU 1 stores x in the step that takes a lock."""

    def _access(self, number: int, cpu: _Cpu, op: Op) -> StepAccess:
        access = super()._access(number, cpu, op)
        if number == 1 and isinstance(op, Lock):
            return replace(access, writes=access.writes | {"x"})
        return access

    def _do(self, number: int, cpu: _Cpu, op: Op) -> object:
        if number == 1 and isinstance(op, Lock):
            self.memory["x"] = 1
        return super()._do(number, cpu, op)


def test_a_lock_may_be_had_before_what_comes_behind_its_drop() -> None:
    """CPU 0 drops the lock into its store buffer and loads x; the lock may be free before that."""

    def drops() -> Thread:
        yield Lock("a")
        yield Unlock("a")
        return (yield Load("x"))

    def takes() -> Thread:
        yield Lock("a")

    text = Text([drops, takes])
    every = every_schedule(lambda: _LocksAndStores(text, tso=True))
    Came(Dpor(lambda: _LocksAndStores(text, tso=True))).same_as(every)


class _Freed(TextProgram):
    """One in which CPU 1 frees what CPU 0 takes, whether it has or not."""

    def _access(self, number: int, cpu: _Cpu, op: Op) -> StepAccess:
        thing = frozenset({"thing"})
        return StepAccess(takes=thing) if number == 0 else StepAccess(frees=thing)


def test_what_another_cpu_frees_may_have_been_free() -> None:
    def store() -> Thread:
        yield Store("x", 1)

    came = Came(Dpor(lambda: _Freed(Text([store, store]), tso=False)))
    assert (came.runs, len(came.traces)) == (2, 2)


@QUICK
@given(st.one_of(TWO, THREE))
def test_locks_that_are_not_told_as_locks(text: Text) -> None:
    compare_untold(text, limit=300)


@pytest.mark.fuzz
@LONG
@given(st.one_of(texts(2, 4), texts(3, 3)))
def test_larger_programs_with_such_locks(text: Text) -> None:
    compare_untold(text, limit=3000)


@pytest.mark.fuzz
@LONG
@given(st.one_of(texts(2, 4), texts(3, 3)), st.booleans(), st.sampled_from([None, 0, 1, 2, 3]))
def test_larger_programs_as_by_brute_force(text: Text, tso: bool, bound: int | None) -> None:
    compare(text, tso=tso, bound=bound, limit=5000)


@pytest.mark.parametrize("lengths", [(1, 1), (3, 3), (2, 2, 2), (4, 3)])
def test_brute_force_runs_the_multinomial_number(lengths: tuple[int, ...]) -> None:
    """Of threads with n1, n2, … steps there are (n1 + n2 + …)! / (n1! n2! …) schedules; one trace
    if nothing is shared.
    """
    threads = [straight(*[Store(number, 1)] * steps) for number, steps in enumerate(lengths)]
    every = every_schedule(lambda: TextProgram(Text(threads)))
    assert every.schedules == factorial(sum(lengths)) // prod(map(factorial, lengths))
    assert len(every.traces) == 1
    assert Came(Dpor(lambda: TextProgram(Text(threads)))).runs == 1


def test_no_run_has_more_preemptions_than_the_bound() -> None:
    def make() -> TextProgram:
        return TextProgram(dekker(fence=True))

    for bound in (0, 1, 2):
        exploration = Bounded(make, bound)
        while (told := exploration.next_run()) is not None:
            program, options = make(), []
            for actor in told.run.schedule:
                options.append(list(program.enabled()))
                program.step(actor)
            assert preemptions(told.run.schedule, options) <= bound


def cross() -> Text:
    """Two threads that take two locks, each in its own order."""

    def thread(first: str, second: str) -> Thread:
        yield Lock(first)
        yield Lock(second)
        yield Unlock(second)
        yield Unlock(first)

    return Text([lambda: thread("a", "b"), lambda: thread("b", "a")])


def test_what_costs_no_preemption_is_not_tried_everywhere() -> None:
    """Under a bound too, and with three CPUs, sleep sets keep most traces from being run again:
    without those of store buffers it was 1782 runs, and 1199 as long as a store could be put
    behind its own drain.
    """

    def thread(own: str, other: str) -> Callable[[], Thread]:
        def steps() -> Thread:
            yield Store(own, 1)
            yield Load(other)
            yield Store(own * 2, 1)

        return steps

    text = Text([thread("x", "y"), thread("y", "z"), thread("z", "x")])
    came = Came(Bounded(lambda: TextProgram(text, tso=True), 0))
    assert (came.runs, len(came.traces), came.failures) == (126, 7, set())


def test_a_deadlock_is_found_with_the_fewest_preemptions() -> None:
    found = explore(lambda: TextProgram(cross()))
    assert found.failure is not None
    assert (found.failure.kind, found.bound) == ("Deadlock", 0)
    assert found.failure.text == "nobody can go on: CPU 0 waits: b; CPU 1 waits: a"
    assert format_schedule(found.failure.schedule) == "0,1"
    assert found.verdict == "failed"


def test_who_never_ends_is_found() -> None:
    def spins() -> Thread:
        while (yield Load("x")) == 0:
            pass

    found = explore(lambda: TextProgram(Text([spins])), limits=Limits(max_steps=50))
    assert found.failure is not None
    assert (found.failure.kind, len(found.failure.steps)) == ("Endless", 50)


def test_what_does_not_end_is_unfinished() -> None:
    def make() -> TextProgram:
        return TextProgram(readers(3))

    few = explore(make, limits=Limits(schedules=5))
    assert (few.verdict, few.complete, few.schedules) == ("UNFINISHED", False, 5)
    none = explore(make, limits=Limits(seconds=0))
    assert (none.verdict, none.schedules, none.bound) == ("UNFINISHED", 0, None)
    told = explore(make, on_run=lambda: False)
    assert (told.verdict, told.schedules) == ("UNFINISHED", 1)
    bounded = explore(lambda: TextProgram(lastzero(2)), bound=0)
    assert (bounded.verdict, bounded.bound, bounded.complete) == ("passed", 0, False)


def test_without_anything_left_out_a_bound_is_complete() -> None:
    found = explore(lambda: TextProgram(dekker(fence=True)), bound=9)
    assert found.complete and found.bound is not None and found.bound < 9


def test_all_orders_are_run_before_a_bound_where_they_are_few() -> None:
    def make() -> TextProgram:
        return TextProgram(lastzero(3))

    found = explore(make, bound=3, few=1000)
    assert found.complete and found.bound is None
    cut = explore(make, bound=3, few=2)
    assert (cut.complete, cut.bound, cut.verdict) == (False, 3, "passed")
    assert cut.schedules == explore(make, bound=3).schedules + 2


def test_what_is_left_and_gone_on_with_is_what_it_would_have_been() -> None:
    """After every second order, through a pickle, over the end of all orders to the bounds."""

    def make() -> TextProgram:
        return TextProgram(lastzero(3))

    def two() -> Callable[[], bool]:
        asked = iter([True])
        return lambda: next(asked, False)

    whole = explore(make, bound=3, few=5)
    explorer, parts = Explorer(bound=3, few=5), 0
    while not parts or explorer.found.stopped:
        explorer = pickle.loads(pickle.dumps(explorer))
        explorer.go_on(make, Limits(), two(), last=False)
        parts += 1
    assert parts > 5 and replace(explorer.found, seconds=whole.seconds) == whole


def test_all_orders_leave_time_to_the_bounds_only_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three quarters of all time, that of the calls before too."""
    now = iter(range(1_000_000))
    monkeypatch.setattr("ucmmu.race.explore.time.monotonic", lambda: float(next(now)))

    def make() -> TextProgram:
        return TextProgram(readers(7))

    exploring = []
    for last in (False, True):
        explorer = Explorer(bound=2, bounds_first=0, few=1000)
        explorer.go_on(make, Limits(seconds=30), last=False)
        explorer.go_on(make, Limits(seconds=60), last=last)
        assert explorer.found.stopped and not explorer.found.complete
        exploring.append(explorer._left[0])
    assert exploring == [None, 0], "all orders still; those without a preemption"


def test_a_step_that_cannot_be_taken_covers_nothing() -> None:
    """A sequence is left out of a wakeup tree where a branch leads to it: not if its step turns out
    to be one that its actor cannot take.
    """
    objects = Objects()
    x, y = (objects.masks(StepAccess(writes=frozenset({what}))) for what in "xy")
    interrupt, store = Event(0, x, enabled=3), Event(1, y, enabled=3)
    branches: list[Branch] = []
    assert insert(branches, [interrupt], fixed=True)
    assert not insert(branches, [store], fixed=True)
    drop_first(branches, fixed=True)
    assert [branch.actor for branch in branches] == [1]
    drop_first(branches, fixed=True)
    assert branches == []


def test_a_step_that_a_sequence_has_not_leads_to_it_only_if_steps_are_fixed() -> None:
    """It may change what they touch, else."""
    objects = Objects()
    x, y = (objects.masks(StepAccess(writes=frozenset({what}))) for what in "xy")
    sequence = [Event(0, x, enabled=3), Event(1, y, enabled=3)]
    assert leads_to(sequence, 2, objects.masks(StepAccess()), fixed=True) == sequence
    assert leads_to(sequence, 2, objects.masks(StepAccess()), fixed=False) is None
    assert leads_to(sequence, 1, y, fixed=False) == sequence[:1]
    assert leads_to(sequence, 2, x, fixed=True) is None


class _Unfixed(TextProgram):
    """Whose steps may touch other things, by what it says."""

    def __init__(self, text: Text, *, tso: bool = False) -> None:
        super().__init__(text, tso=tso)
        self.fixed = False


@pytest.mark.parametrize(
    "threads",
    [
        ([Load("x"), Cas("y", 0, 1)], [Cas("y", 1, 2)], [Load("y"), Cas("y", 0, 1)], [_SAME]),
        ([Load("y"), Load("x"), Cas("x", 1, 2), _SAME], [Load("x")], [Store("y", 1), _SAME]),
    ],
)
def test_a_compare_and_exchange_that_fails_may_succeed(threads: tuple[list[Op], ...]) -> None:
    """Whether it writes hangs on others: traces were lost where it was taken for a read."""
    text = Text([straight(*thread) for thread in threads])
    fixed, unfixed = (Came(Dpor(lambda kind=kind: kind(text))) for kind in (TextProgram, _Unfixed))
    assert fixed.traces == unfixed.traces and fixed.states == unfixed.states
    assert fixed.traces == every_schedule(lambda: TextProgram(text), limit=20_000).traces


def test_at_random_the_same_seed_runs_the_same() -> None:
    def make() -> TextProgram:
        return TextProgram(dekker(fence=False), tso=True)

    for seed in range(3):
        one, two = (explore_at_random(make, seed=seed, limits=Limits(200)) for _ in range(2))
        assert one.failure is not None and two.failure is not None
        assert one.failure.schedule == two.failure.schedule
        assert not one.complete
    right = explore_at_random(
        lambda: TextProgram(dekker(fence=True), tso=True), seed=1, limits=Limits(100)
    )
    assert (right.verdict, right.complete, right.schedules) == ("UNFINISHED", False, 100)


def test_a_failure_is_replayed() -> None:
    def make() -> TextProgram:
        return TextProgram(dekker(fence=False), tso=True)

    failure = explore(make).failure
    assert failure is not None
    run = replay(make, parse_schedule(format_schedule(failure.schedule)))
    assert run.failure is not None and run.failure.reason == failure.reason
    with pytest.raises(Impossible, match=r"step 1 of the schedule is 7's: there is no such actor"):
        replay(make, [Actor(7)])
    with pytest.raises(Impossible, match=r"step 1 .* 0d's, who cannot go on there: 0, 1 can"):
        replay(make, [Actor(0, Kind.DRAIN)])


def test_a_program_that_is_not_deterministic_is_told() -> None:
    runs = [0]

    def thread() -> Thread:
        runs[0] += 1
        yield Store("x", 1)
        yield Load(f"other {runs[0]}")
        yield Store("x", 1)

    with pytest.raises(NotDeterministic, match=r"not deterministic: step 2, of 0"):
        explore(lambda: TextProgram(Text([thread, straight(Load("x"))])))
