# SPDX-License-Identifier: GPL-2.0-or-later
"""Every schedule of a program, one by one: what the explorer's reductions are held against."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from ucmmu.race.happens import Happens, Objects
from ucmmu.race.program import Actor, Kind, MakeProgram
from ucmmu.race.run import End, Run


class TooMany(AssertionError):
    """There are more schedules than were to be run."""


@dataclass
class Every:
    """What all schedules came to."""

    schedules: int = 0
    traces: set[int] = field(default_factory=set)
    states: set[Hashable] = field(default_factory=set)
    failures: set[tuple[str, str]] = field(default_factory=set)


def preemptions(schedule: Sequence[Actor], options: Sequence[Sequence[Actor]]) -> int:
    """How often a CPU was left that could have gone on."""
    count, running = 0, None
    for actor, able in zip(schedule, options, strict=True):
        if actor.kind is Kind.CPU:
            count += running is not None and actor != running and running in able
            running = actor
    return count


def every_schedule(
    make: MakeProgram, bound: int | None = None, limit: int = 100_000, max_steps: int = 10_000
) -> Every:
    """Run all of them, or those with at most ``bound`` preemptions; TooMany if there are more than
    ``limit``.
    """
    every, objects = Every(), Objects()
    given: list[Actor] | None = []
    while given is not None:
        run = Run(make, max_steps)
        happens = Happens(run.actors)
        options: list[Sequence[Actor]] = []
        while able := run.enabled():
            place = len(options)
            actor = given[place] if place < len(given) else _first(run, able)
            options.append(able)
            step = run.step(actor)
            if step is not None:
                enabled = sum(1 << run.index[other] for other in able)
                happens.add(run.index[actor], objects.masks(step.access), enabled)
        every.schedules += 1
        if every.schedules > limit:
            run.close()
            raise TooMany(f"more than {limit} schedules")
        if run.end is End.FINISHED:
            every.traces.add(happens.trace())
            every.states.add(run.program.state())
        else:
            assert run.failure is not None
            every.failures.add(run.failure.reason)
        run.close()
        given = _next(run, options, bound)
    return every


def _order(before: Sequence[Actor], able: Sequence[Actor]) -> list[Actor]:
    running = next((a for a in reversed(before) if a.kind is Kind.CPU), None)
    return sorted(able, key=lambda actor: actor != running)


def _first(run: Run, able: Sequence[Actor]) -> Actor:
    return _order(run.schedule, able)[0]


def _next(run: Run, options: Sequence[Sequence[Actor]], bound: int | None) -> list[Actor] | None:
    schedule = run.schedule
    for place in range(len(schedule) - 1, -1, -1):
        order = _order(schedule[:place], options[place])
        for actor in order[order.index(schedule[place]) + 1 :]:
            given = [*schedule[:place], actor]
            if bound is None or preemptions(given, options[: place + 1]) <= bound:
                return given
    return None
