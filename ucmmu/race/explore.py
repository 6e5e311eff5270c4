# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring a program: under every order, under those with few preemptions, or at random.

explore() tries bounds of 0, 1, 2, … preemptions one after the other (ucmmu.race.bounded), so the
first failure is one of the fewest. Without a bound, or where they are few, every order that
matters is run, each once (ucmmu.race.dpor). What does not come to its end within the limits is
*unfinished*, whatever was found not to fail until then. explore_at_random() is for programs too
large for that; it proves nothing, and finds much.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

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


@dataclass
class _Clock:
    """Counts runs, and says when to stop."""

    limits: Limits
    on_run: OnRun | None
    found: Found
    started: float = field(default_factory=time.monotonic)
    seen: set[int] = field(default_factory=set)

    def over(self) -> bool:
        """Whether a limit is reached; then the exploration is stopped."""
        limits, found = self.limits, self.found
        found.seconds = time.monotonic() - self.started
        if limits.schedules is not None and found.schedules >= limits.schedules:
            found.stopped = True
        if limits.seconds is not None and found.seconds >= limits.seconds:
            found.stopped = True
        return found.stopped

    def mostly_over(self) -> bool:
        """Whether three quarters of the time are."""
        seconds = self.limits.seconds
        return seconds is not None and self.found.seconds >= seconds * 3 / 4

    def count(self, told: Told) -> bool:
        """Note a run; whether to go on."""
        found = self.found
        found.schedules += 1
        found.blocked += told.blocked
        if told.trace is not None:
            self.seen.add(told.trace)
            found.traces = len(self.seen)
        found.seconds = time.monotonic() - self.started
        if told.run.failure is not None:
            found.failure = told.run.failure
            return False
        if self.on_run is not None and not self.on_run():
            found.stopped = True
        return not found.stopped


def explore(
    make: MakeProgram,
    *,
    bound: int | None = None,
    limits: Limits | None = None,
    on_run: OnRun | None = None,
    bounds_first: int = 2,
    few: int = 0,
) -> Found:
    """Explore up to ``bound`` preemptions, or, if None, every order; to the first failure.

    The first ``bounds_first`` bounds, from 0 on, are tried in any case. Then, without a bound, all
    orders. With one, and ``few``, all orders too: if they are no more than ``few``, and take no
    more than three quarters of the time, it is complete; else the other bounds follow. Raises
    NotDeterministic.
    """
    limits = limits or Limits()
    clock = _Clock(limits, on_run, Found())
    found = clock.found
    for preemptions in range(bounds_first if bound is None else bound + 1):
        if preemptions == bounds_first and few:
            every = Dpor(make, max_steps=limits.max_steps)
            if _run_all(every, clock, few):
                found.bound, found.complete = None, True
            if found.complete or found.failure is not None or found.stopped:
                return found
        bounded = Bounded(make, preemptions, max_steps=limits.max_steps)
        if not _run_all(bounded, clock):
            return found
        found.bound = preemptions
        if not bounded.beyond:
            found.complete = True
            return found
    if bound is None and _run_all(Dpor(make, max_steps=limits.max_steps), clock):
        found.bound, found.complete = None, True
    return found


def _run_all(exploration: Exploration, clock: _Clock, most: int | None = None) -> bool:
    """Whether the exploration came to its end, and nothing failed; with ``most`` only if it takes
    no more orders, and no more than three quarters of the time that there is.
    """
    begun = clock.found.schedules
    while not clock.over():
        if most is not None and (clock.found.schedules - begun >= most or clock.mostly_over()):
            return False
        told = exploration.next_run()
        if told is None:
            return True
        if not clock.count(told):
            return False
    return False


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
    clock = _Clock(limits, on_run, Found())
    chance = random.Random(seed)
    length = 20
    while not clock.over():
        chooser = _uniform if clock.found.schedules % 2 else _by_priority
        told = chooser(make, limits.max_steps, chance, length, preemptions)
        length = max(length, len(told.run.steps))
        if not clock.count(told):
            break
    return clock.found


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
