# SPDX-License-Identifier: GPL-2.0-or-later
"""TEMPORARY: bounded search until ucmmu.race.explore is there."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ucmmu.race.interleaving import Deadlock
from ucmmu.race.program import Actor, Program, Step


@dataclass(frozen=True)
class Search:
    bound: int | None = 3
    schedules: int | None = None
    seconds: float | None = None
    seed: int | None = None
    schedule: tuple[Actor, ...] | None = None


@dataclass
class Found:
    schedules: int = 0
    bound: int | None = None
    stopped: bool = False
    error: BaseException | None = None
    steps: list[Step] = field(default_factory=list)


def _run(
    make: Callable[[], Program],
    given: Sequence[Actor],
    rng: random.Random | None,
    told: Callable[[Step | None], None] | None = None,
) -> tuple[list[Step], list[list[Actor]], BaseException | None]:
    steps: list[Step] = []
    options: list[list[Actor]] = []
    program = make()
    try:
        while not program.finished():
            able = list(program.enabled())
            if not able:
                raise Deadlock(f"no CPU can go on: {program.waiting()}")  # type: ignore[attr-defined]
            depth = len(steps)
            if depth < len(given) and given[depth] in able:
                chosen = given[depth]
            elif rng is not None:
                chosen = rng.choice(able)
            else:
                chosen = _order(steps, able)[0]
            options.append(able)
            try:
                steps.append(program.step(chosen))
            except BaseException:
                steps.append(Step(chosen, "fails"))
                if told is not None:
                    told(None)
                raise
            if told is not None:
                told(steps[-1])
            if len(steps) > 2000:
                raise AssertionError("more than 2000 steps")
        program.finish()
    except Exception as error:
        return steps, options, error
    finally:
        program.close()
    return steps, options, None


def _order(steps: Sequence[Step], able: list[Actor]) -> list[Actor]:
    last = next((s.actor for s in reversed(steps) if s.actor.kind.value == ""), able[0])
    first = last if last in able else able[0]
    return [first, *(a for a in able if a != first)]


def run_once(
    program: Program, given: Sequence[Actor], told: Callable[[Step | None], None] | None = None
) -> tuple[list[Step], list[list[Actor]], BaseException | None]:
    return _run(lambda: program, given, None, told)


def explore(
    make: Callable[[], Program],
    search: Search,
    on_progress: Callable[[int], bool] | None = None,
) -> Found:
    found = Found()
    started = time.monotonic()

    def over() -> bool:
        return (search.schedules is not None and found.schedules >= search.schedules) or (
            search.seconds is not None and time.monotonic() - started > search.seconds
        )

    def once(given: Sequence[Actor], rng: random.Random | None = None) -> list[list[Actor]]:
        steps, options, error = _run(make, given, rng)
        found.schedules += 1
        if on_progress is not None:
            on_progress(1)
        found.steps, found.error = steps, error
        return options

    if search.schedule is not None:
        once(search.schedule)
        return found
    if search.seed is not None:
        rng = random.Random(search.seed)
        while not over() and found.error is None:
            once((), rng)
        found.stopped = True
        return found
    bounds = range(search.bound + 1) if search.bound is not None else range(1000)
    for bound in bounds:
        given: list[Actor] | None = []
        more = False
        while given is not None:
            if over():
                found.stopped = True
                return found
            options = once(given)
            if found.error is not None:
                return found
            given, beyond = _following(found.steps, options, bound)
            more = more or beyond
        found.bound = bound
        if not more:
            found.bound = None
            return found
    return found


def _preempted(path: Sequence[Actor], options: Sequence[list[Actor]]) -> int:
    count, last = 0, None
    for depth, actor in enumerate(path):
        if actor.kind.value:
            continue
        if last is not None and actor != last and last in options[depth]:
            count += 1
        last = actor
    return count


def _following(
    steps: list[Step], options: list[list[Actor]], bound: int
) -> tuple[list[Actor] | None, bool]:
    path = [s.actor for s in steps]
    beyond = False
    for depth in range(len(path) - 1, -1, -1):
        order = _order(steps[:depth], options[depth])
        for actor in order[order.index(path[depth]) + 1 :]:
            candidate = [*path[:depth], actor]
            if _preempted(candidate, options) <= bound:
                return candidate, beyond
            beyond = True
    return None, beyond
