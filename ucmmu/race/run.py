# SPDX-License-Identifier: GPL-2.0-or-later
"""One run of a program under the explorer: its steps so far, and how it ended."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from traceback import extract_tb
from typing import Final

from mmu.errors import MmuError
from ucmmu.race.program import (
    Actor,
    MakeProgram,
    Program,
    Schedule,
    Step,
    TakesAgain,
)
from ucmmu.text import text_of

FAILURES: Final = (Exception, SystemExit)
"""What ends a run as failed: a policy of the user's own may call sys.exit()."""


class Deadlock(AssertionError):
    """Nobody can go on, and not all have ended."""


class Endless(AssertionError):
    """A run takes more steps than any should: somebody waits without bound."""


class Impossible(ValueError):
    """A schedule that this program cannot follow."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What was wrong, and the steps that lead to it; the last one may have ended in the middle."""

    kind: str
    """The name of the exception's class."""
    text: str
    schedule: Schedule
    steps: tuple[Step, ...]

    @property
    def reason(self) -> tuple[str, str]:
        """What two failures must have in common to be the same one: kind, and the first line but
        for its numbers, which differ from order to order.
        """
        first = self.text.strip().partition("\n")[0]
        return self.kind, re.sub(r"0x[0-9a-f]+|\d+", "N", first)


class End(Enum):
    """How a run ended."""

    GOES_ON = "goes on"
    FINISHED = "finished"
    FAILED = "failed"


class Run:
    """A program being run. ``steps`` have been taken; ``failure`` is set if something was wrong."""

    def __init__(self, make: MakeProgram, max_steps: int) -> None:
        self.program: Program = make()
        self.takes_again = self.program if isinstance(self.program, TakesAgain) else None
        self.actors = tuple(self.program.actors)
        self.index = {actor: number for number, actor in enumerate(self.actors)}
        self.steps: list[Step] = []
        self.schedule: list[Actor] = []
        self.failure: Failure | None = None
        self.end = End.GOES_ON
        self._max_steps = max_steps

    def enabled(self) -> list[Actor]:
        """Who can take a step; empty at the end of the run, which is checked then."""
        if self.end is not End.GOES_ON:
            return []
        try:
            able = set(self.program.enabled())
            if able:
                return [actor for actor in self.actors if actor in able]
            if not self.program.finished():
                raise Deadlock(_waiting(self.program))
            self.program.finish()
            self.end = End.FINISHED
        except FAILURES as error:
            self._fail(error)
        return []

    def step(self, actor: Actor) -> Step | None:
        """Let the actor take a step; None if that failed."""
        self.schedule.append(actor)
        try:
            if len(self.steps) >= self._max_steps:
                raise Endless(f"no end after {self._max_steps} steps: somebody waits without bound")
            step = self.program.step(actor)
        except FAILURES as error:
            self._fail(error)
            return None
        self.steps.append(step)
        return step

    def again(self, step: Step) -> bool:
        """Take a step that was taken in the same place of an earlier run; whether it ended at the
        same point. The program is one that TakesAgain.
        """
        program = self.takes_again
        assert program is not None
        self.schedule.append(step.actor)
        try:
            label = program.again(step)
        except FAILURES as error:
            self._fail(error)
            return False
        self.steps.append(step)
        return label == step.label

    def _fail(self, error: BaseException) -> None:
        self.end = End.FAILED
        self.failure = Failure(
            type(error).__name__, told(error), tuple(self.schedule), tuple(self.steps)
        )

    def close(self) -> None:
        """The run is over."""
        with suppress(*FAILURES):
            self.program.close()


def told(error: BaseException) -> str:
    """What an exception says, and where it was raised unless it is a check's: it is then a mistake
    in the code of a variant or a policy.
    """
    text = text_of(error)
    where = extract_tb(error.__traceback__)[-1:]
    if not where or (text and isinstance(error, (AssertionError, MmuError))):
        return text
    place = f"in {where[0].name}(), {os.path.basename(where[0].filename)}, line {where[0].lineno}"
    return f"{text} ({place})" if text else place


def _waiting(program: Program) -> str:
    """Who waits, in words, if the program can say it."""
    tell = getattr(program, "waiting", None)
    return "nobody can go on" + (f": {tell()}" if tell is not None else "")


def replay(
    make: MakeProgram,
    schedule: Sequence[Actor],
    *,
    strict: bool = True,
    to_end: bool = True,
    max_steps: int = 100_000,
) -> Run:
    """Run the program in that order. What the schedule leaves open is done actor after actor, if
    ``to_end``. A step that an actor cannot take raises Impossible, or is passed over if not
    ``strict``. The caller closes the run.
    """
    run = Run(make, max_steps)
    last: Actor | None = None
    for number, actor in enumerate(schedule):
        able = run.enabled()
        if actor not in able:
            if not strict:
                continue
            run.close()
            raise Impossible(_cannot(run, number, actor, able))
        run.step(last := actor)
    while to_end and (able := run.enabled()):
        run.step(last := last if last is not None and last in able else able[0])
    return run


def _cannot(run: Run, number: int, actor: Actor, able: Sequence[Actor]) -> str:
    """Why the step is impossible, in one line."""
    who = f"step {number + 1} of the schedule is {actor}'s"
    if actor not in run.actors:
        return f"{who}: there is no such actor, only {', '.join(map(str, run.actors))}"
    if run.failure is not None:
        return f"{who}: the run failed before it: {run.failure.kind}: {run.failure.text}"
    if not able:
        return f"{who}: the run had ended before it"
    return f"{who}, who cannot go on there: {', '.join(map(str, able))} can"
