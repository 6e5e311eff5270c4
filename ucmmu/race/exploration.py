# SPDX-License-Identifier: GPL-2.0-or-later
"""What every way to explore has in common: runs that start anew, follow the last one, and note the
order of their steps as they go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from ucmmu.race.happens import Event, Happens, Masks, Objects
from ucmmu.race.program import EVERYTHING, Actor, MakeProgram, Step, TakesAgain
from ucmmu.race.run import End, Run


class NotDeterministic(RuntimeError):
    """The same steps of a program did something else the second time: it cannot be explored."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one run of an exploration came to; the run is closed."""

    run: Run
    trace: int | None
    """The Mazurkiewicz trace; None of a run that came to no end."""
    blocked: bool = False
    """Cut short: all that could go on had been explored from an earlier state."""


class Exploration(ABC):
    """The exploration of one program: next_run() until that returns None.

    It is pickled without ``make``, which is set again before it goes on.
    """

    def __init__(self, make: MakeProgram, *, max_steps: int = 10_000) -> None:
        self.make = make
        self._max_steps = max_steps
        self._objects = Objects()
        self._happens = Happens(())
        self._races: list[tuple[Event, list[int]]] = []
        self._disabled: list[tuple[int, Event]] = []
        self._steps: list[Step] = []  # of the last run, as far as the next one follows it
        self._begun = False

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "make"}

    def next_run(self) -> Told | None:
        """Explore one more; None if there is nothing left. Raises NotDeterministic."""
        if self._begun and not self._backtrack():
            return None
        self._races.clear()
        self._disabled.clear()
        del self._steps[len(self._happens.events) :]
        run = Run(self.make, self._max_steps)
        if not self._begun:
            self._begun = True
            self._happens = Happens(run.actors)
        try:
            blocked = self._explore(run)
            if run.failure is not None:
                self._look_ahead(run)
            trace = self._happens.trace() if run.end is End.FINISHED else None
        finally:
            run.close()
        self._learn()
        return Told(run, trace, blocked)

    @abstractmethod
    def _backtrack(self) -> bool:
        """Go back to the last state from which something is to be explored; whether there is any.
        What was noted of later steps is cut off.
        """

    @abstractmethod
    def _explore(self, run: Run) -> bool:
        """Take the run to its end; whether a sleep set ended it."""

    @abstractmethod
    def _learn(self) -> None:
        """Have explored what the races of this run call for."""

    def _step(self, run: Run, actor: int, enabled: int) -> Masks:
        """Take a step, or take it again, and note what it races with."""
        place, happens = len(run.steps), self._happens
        if place < len(self._steps) and run.takes_again is not None:
            return self._step_again(run, run.takes_again)
        step = run.step(run.actors[actor])
        masks = self._objects.masks(EVERYTHING if step is None else step.access)
        if place < len(happens.events):
            if happens.events[place].masks != masks:
                raise NotDeterministic(_difference(run))
        elif step is not None:
            races = self._note(actor, masks, enabled)
            self._races.append((happens.events[place], races))
            self._steps.append(step)
        return masks

    def _step_again(self, run: Run, program: TakesAgain) -> Masks:
        place = len(run.steps)
        step = self._steps[place]
        same = run.again(step)
        if not same or (place == len(self._steps) - 1 and not program.came_to(step)):
            raise NotDeterministic(_difference(run))
        return self._happens.events[place].masks

    def _note(self, actor: int, masks: Masks, enabled: int) -> list[int]:
        return self._happens.add(actor, masks, enabled)

    def _note_disabled(self, run: Run, before: int, after: int) -> None:
        """The last step did what others were to do, who have nothing to do now: their steps are
        looked at as if they came next. Who is only kept from its step takes it later, and races
        then; but who ends a grace period may have looked at other things by then.
        """
        place = len(self._happens.events) - 1
        gone = before & ~after & ~(1 << self._happens.events[place].actor)
        for number, actor in enumerate(run.actors):
            if not gone >> number & 1:
                continue
            if run.program.pending(actor) is None:
                masks = self._objects.masks(EVERYTHING)
                self._disabled.append((place, Event(number, masks, before)))

    def _look_ahead(self, run: Run) -> None:
        """The run failed: who had not ended races with the next step that it did not take."""
        able: Collection[Actor] = run.actors
        with suppress(Exception):
            able = set(run.program.enabled())
        enabled = _mask(run, able)
        for number, actor in enumerate(run.actors):
            access = EVERYTHING if actor in able else run.program.pending(actor)
            if access is not None:
                masks = self._objects.masks(access)
                races = self._happens.races_of(number, masks, enabled)
                self._races.append((Event(number, masks, enabled), races))


def _mask(run: Run, actors: Collection[Actor]) -> int:
    return sum(1 << run.index[actor] for actor in actors)


def _difference(run: Run) -> str:
    """What a program did otherwise than before, in a line."""
    step = run.steps[-1] if run.steps else None
    what = "failed" if run.failure is not None else f"ended at {step.label if step else 'nothing'}"
    return (
        f"the program is not deterministic: step {len(run.schedule)}, of {run.schedule[-1]}, {what}"
        " and touched other things than when the same steps were taken before"
    )
