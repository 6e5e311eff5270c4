# SPDX-License-Identifier: GPL-2.0-or-later
"""Which orders of a program are run: all up to a bound of preemptions, all there are, some at
random, or one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from ucmmu.race.bounded import Bounded
from ucmmu.race.dpor import Dpor
from ucmmu.race.exploration import Exploration
from ucmmu.race.program import MakeProgram
from ucmmu.race.run import Failure, Run

MAX_STEPS = 10_000
"""Steps of one order; more are a wait without bound."""

OnProgress = Callable[[int], object]
"""Told how many orders were run since."""


@dataclass(frozen=True)
class Search:
    """What to run: orders with up to ``bound`` preemptions, None: all; no more than ``schedules``,
    no longer than ``seconds``; with ``seed`` at random instead, until one of these ends it.
    """

    bound: int | None = 3
    schedules: int | None = None
    seconds: float | None = None
    seed: int | None = None


@dataclass
class Found:
    """What came of it: how many orders were run; ``bound``, the preemptions up to which all were,
    None: not even 0; ``complete``: all there are; ``stopped`` by a limit; the first failure.
    """

    schedules: int = 0
    bound: int | None = None
    complete: bool = False
    stopped: bool = False
    failure: Failure | None = None


class _Limits:
    def __init__(self, search: Search, found: Found) -> None:
        self._search = search
        self._found = found
        self._end = None if search.seconds is None else time.monotonic() + search.seconds

    def reached(self) -> bool:
        """Whether no more may be run."""
        most = self._search.schedules
        if most is not None and self._found.schedules >= most:
            return True
        return self._end is not None and time.monotonic() >= self._end


def explore(make: MakeProgram, search: Search, on_progress: OnProgress | None = None) -> Found:
    """Run orders until one fails, all wanted are run, or a limit is reached."""
    found = Found()
    limits = _Limits(search, found)
    if search.seed is not None:
        _at_random(make, search.seed, found, limits, on_progress)
    elif search.bound is None:
        found.complete = _all(Dpor(make, max_steps=MAX_STEPS), found, limits, on_progress)
    else:
        for bound in range(search.bound + 1):
            bounded = Bounded(make, bound, max_steps=MAX_STEPS)
            if not _all(bounded, found, limits, on_progress):
                break
            found.bound = bound
            if not bounded.beyond:
                found.complete = True
                break
    return found


def _all(
    exploration: Exploration, found: Found, limits: _Limits, on_progress: OnProgress | None
) -> bool:
    """Whether it came to its end, and nothing failed."""
    while not limits.reached():
        told = exploration.next_run()
        if told is None:
            return True
        found.schedules += not told.blocked
        if on_progress is not None:
            on_progress(1)
        if told.run.failure is not None:
            found.failure = told.run.failure
            return False
    found.stopped = True
    return False


def _at_random(
    make: MakeProgram, seed: int, found: Found, limits: _Limits, on_progress: OnProgress | None
) -> None:
    chance = random.Random(seed)
    while not limits.reached():
        run = Run(make, MAX_STEPS)
        try:
            while able := run.enabled():
                run.step(chance.choice(able))
        finally:
            run.close()
        found.schedules += 1
        if on_progress is not None:
            on_progress(1)
        if run.failure is not None:
            found.failure = run.failure
            return
    found.stopped = True
