# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring a program: under every order, under those with few preemptions, or at random.

explore() tries bounds of 0, 1, 2, … preemptions one after the other (ucmmu.race.bounded), so the
first failure is one of the fewest. Without a bound, or where they are few, every order that matters
is run, seldom one twice (ucmmu.race.dpor). What does not come to its end within the limits is
*unfinished*, whatever was found not to fail until then. explore_at_random() is for programs too
large for that; it proves nothing, and finds much.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ucmmu.race.bounded import Bounded
from ucmmu.race.dpor import Dpor
from ucmmu.race.exploration import Exploration, Told
from ucmmu.race.program import Actor, Kind, MakeProgram
from ucmmu.race.run import Failure, Run

OnRun = Callable[[], bool]
"""Called after each run; False: stop."""


@dataclass(frozen=True)
class Limits:
    """When to stop: None is without limit. A run of more than ``max_steps`` steps fails."""

    schedules: int | None = None
    seconds: float | None = None
    max_steps: int = 10_000


@dataclass
class Found:
    """What came of an exploration.

    ``schedules`` were run, of which ``blocked`` were cut short, since what was left had been
    explored. The others came to ``traces`` different Mazurkiewicz traces. ``bound``: all orders
    with so many preemptions were run; None: not even those without. ``complete``: all there are
    were; ``bound`` is None then if it took no bound. ``stopped``: a limit, or who was told, ended
    it.
    """

    schedules: int = 0
    blocked: int = 0
    traces: int = 0
    bound: int | None = None
    complete: bool = False
    stopped: bool = False
    failure: Failure | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """``failed``, ``passed`` if all that was asked for was run, or ``UNFINISHED``."""
        if self.failure is not None:
            return "failed"
        return "UNFINISHED" if self.stopped else "passed"


class _Clock:
    """Counts runs, and says when to stop."""

    def __init__(
        self, limits: Limits, on_run: OnRun | None, found: Found, seen: set[int] | None = None
    ) -> None:
        self._limits = limits
        self._on_run = on_run
        self._found = found
        self._seen = set[int]() if seen is None else seen
        self._before = found.seconds
        self._started = time.monotonic()

    def over(self) -> bool:
        """Whether a limit is reached; then the exploration is stopped."""
        limits, found = self._limits, self._found
        if limits.schedules is not None and found.schedules >= limits.schedules:
            found.stopped = True
        if limits.seconds is not None and self._took() >= limits.seconds:
            found.stopped = True
        return found.stopped

    def mostly_over(self) -> bool:
        """Whether three quarters of the time are, that before this call too."""
        seconds = self._limits.seconds
        if seconds is None:
            return False
        return self._before + self._took() >= (self._before + seconds) * 3 / 4

    def _took(self) -> float:
        took = time.monotonic() - self._started
        self._found.seconds = self._before + took
        return took

    def count(self, told: Told) -> bool:
        """Note a run; whether to go on."""
        found = self._found
        found.schedules += 1
        found.blocked += told.blocked
        if told.trace is not None:
            self._seen.add(told.trace)
            found.traces = len(self._seen)
        self._took()
        if told.run.failure is not None:
            found.failure = told.run.failure
            return False
        if self._on_run is not None and not self._on_run():
            found.stopped = True
        return not found.stopped


class Explorer:
    """An exploration that can be left when its time is over, and gone on with, in another process
    too that was forked from the same one (hashes are kept): it is pickled with what it has come to.

    It is to come to ``bound`` preemptions, or, if None, to every order. The first ``bounds_first``
    bounds, from 0 on, are tried in any case. Then, without a bound, all orders. With one, and
    ``few``, all orders too: if they are no more than ``few`` it is complete; else the other bounds
    follow. ``found`` is what came of it.
    """

    def __init__(
        self,
        *,
        bound: int | None = None,
        bounds_first: int = 2,
        few: int = 0,
        max_steps: int = 10_000,
    ) -> None:
        self.found = Found()
        self._max_steps = max_steps
        self._few = few
        bounds: list[int | None] = [*range(bounds_first if bound is None else bound + 1)]
        if bound is None:
            bounds.append(None)
        elif few and bounds_first <= bound:
            bounds.insert(bounds_first, None)
        self._left = bounds
        self._exploration: Exploration | None = None
        self._begun = 0  # runs before those of this exploration
        self._seen: set[int] = set()

    def go_on(
        self,
        make: MakeProgram,
        limits: Limits,
        on_run: OnRun | None = None,
        *,
        last: bool = True,
    ) -> Found:
        """Explore the programs of ``make``, always the same ones, to the end, the first failure, or
        until a limit: ``schedules`` are those of all calls, ``seconds`` those of this one. If it is
        the ``last`` call, all orders get three quarters of the time where bounds could follow.
        Raises NotDeterministic.
        """
        found = self.found
        found.stopped = False
        clock = _Clock(limits, on_run, found, self._seen)
        while self._left:
            most = self._few if len(self._left) > 1 and self._left[0] is None else None
            if self._exploration is None:
                self._exploration = self._next(make)
                self._begun = found.schedules
            self._exploration.make = make
            if self._to_the_end(clock, most, last=last):
                self._came_to(self._left[0])
            elif found.stopped or found.failure is not None:
                break
            self._exploration = None
            del self._left[: len(self._left) if found.complete else 1]
        return found

    def _next(self, make: MakeProgram) -> Exploration:
        bound = self._left[0]
        if bound is None:
            return Dpor(make, max_steps=self._max_steps)
        return Bounded(make, bound, max_steps=self._max_steps)

    def _to_the_end(self, clock: _Clock, most: int | None, *, last: bool) -> bool:
        """Whether the exploration came to its end, and nothing failed; with ``most`` only if it
        takes no more orders, and, at last, no more than three quarters of the time that there is.
        """
        exploration = self._exploration
        assert exploration is not None
        while not clock.over():
            if most is not None and (
                self.found.schedules - self._begun >= most or (last and clock.mostly_over())
            ):
                return False
            told = exploration.next_run()
            if told is None:
                return True
            if not clock.count(told):
                return False
        return False

    def _came_to(self, bound: int | None) -> None:
        self.found.bound = bound
        exploration = self._exploration
        self.found.complete = not (isinstance(exploration, Bounded) and exploration.beyond)


def explore(
    make: MakeProgram,
    *,
    bound: int | None = None,
    limits: Limits | None = None,
    on_run: OnRun | None = None,
    bounds_first: int = 2,
    few: int = 0,
) -> Found:
    """Explore up to ``bound`` preemptions, or, if None, every order; to the first failure. See
    Explorer, and its go_on().
    """
    limits = limits or Limits()
    explorer = Explorer(bound=bound, bounds_first=bounds_first, few=few, max_steps=limits.max_steps)
    return explorer.go_on(make, limits, on_run)


def explore_at_random(
    make: MakeProgram,
    *,
    seed: int,
    limits: Limits,
    on_run: OnRun | None = None,
    preemptions: int = 3,
) -> Found:
    """Run random orders until a limit, or a failure; the same seed gives the same ones.

    Half of them are chosen step by step, all alike. The others are of the probabilistic
    concurrency test (Burckhardt et al., ASPLOS 2010): the CPU of the highest priority goes on, and
    at ``preemptions`` random steps it gets the lowest.
    """
    found = Found()
    clock = _Clock(limits, on_run, found)
    chance = random.Random(seed)
    length = 20
    while not clock.over():
        chooser = _uniform if found.schedules % 2 else _by_priority
        told = chooser(make, limits.max_steps, chance, length, preemptions)
        length = max(length, len(told.run.steps))
        if not clock.count(told):
            break
    return found


def _uniform(
    make: MakeProgram, max_steps: int, chance: random.Random, length: int, preemptions: int
) -> Told:
    run = Run(make, max_steps)
    try:
        while able := run.enabled():
            run.step(chance.choice(able))
    finally:
        run.close()
    return Told(run, None)


def _by_priority(
    make: MakeProgram, max_steps: int, chance: random.Random, length: int, preemptions: int
) -> Told:
    run = Run(make, max_steps)
    priority: dict[Actor, float] = {actor: 1 + chance.random() for actor in run.actors}
    changes = {chance.randrange(length): number for number in range(preemptions)}
    try:
        while able := run.enabled():
            chosen = max(able, key=priority.__getitem__)
            if (number := changes.get(len(run.steps))) is not None:
                priority[chosen] = number / (preemptions + 1)
                chosen = max(able, key=priority.__getitem__)
            if chosen.kind is not Kind.CPU:
                priority[chosen] = 1 + chance.random()
            run.step(chosen)
    finally:
        run.close()
    return Told(run, None)
