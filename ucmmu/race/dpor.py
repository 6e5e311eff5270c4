# SPDX-License-Identifier: GPL-2.0-or-later
"""Optimal dynamic partial-order reduction: one run of each Mazurkiewicz trace.

Stateless: each run starts anew, follows the last one up to the place where it is to differ, and
goes on freely from there. When it has ended, each pair of its steps that race says what else is to
be explored from before the first of them: the steps that the first does not happen before, then
the second. A sleep set has the actors whose next step was explored from there already. With
wakeup trees: "Optimal Dynamic Partial Order Reduction" (Abdulla, Aronis, Jonsson, Sagonas, POPL
2014), after "Dynamic Partial-Order Reduction for Model Checking Software" (Flanagan, Godefroid,
POPL 2005).

Beyond those papers, a step may keep another actor from going on. A step that waits for what the
other one frees is never put before it (StepAccess.waits); where this is not known the order is
tried, as far as it can be. Of a run in which somebody waits for ever, the step that it waits for is
looked at as if it had come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ucmmu.race.happens import Event, Happens, Masks, Objects
from ucmmu.race.program import EVERYTHING, Actor, MakeProgram, StepAccess
from ucmmu.race.run import End, Run
from ucmmu.race.wakeup import Branch, insert, take_weak_initial


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


@dataclass(frozen=True)
class Part:
    """A part of the orders of a program: those that begin with ``prefix`` and do not go on from
    there with one of those ``asleep``, but for steps dependent on it.
    """

    prefix: tuple[Actor, ...] = ()
    asleep: tuple[tuple[Actor, StepAccess], ...] = ()


@dataclass(slots=True)
class _Node:
    """A state of the current run: what was explored from it, and what is to be."""

    enabled: int
    sleep: dict[int, Masks]
    branches: list[Branch]
    """The first is being explored."""
    taken: Masks | None = None


class Dpor:
    """The exploration of one program, or of a part of it: next_run() until that returns None."""

    def __init__(
        self, make: MakeProgram, *, max_steps: int = 10_000, part: Part | None = None
    ) -> None:
        self._make = make
        self._max_steps = max_steps
        self._part = part or Part()
        self._stack: list[_Node] = []
        self._objects = Objects()
        self._happens: Happens | None = None
        self._races: list[tuple[Event, list[int]]] = []
        self._begun = False

    def next_run(self) -> Told | None:
        """Explore one more; None if there is nothing left. Raises NotDeterministic."""
        if self._begun and not self._backtrack():
            return None
        self._begun = True
        self._races.clear()
        run = Run(self._make, self._max_steps)
        happens = self._happens = self._happens or Happens(len(run.actors))
        try:
            blocked = self._explore(run, happens)
            if run.failure is not None:
                self._look_ahead(run, happens)
            trace = happens.trace() if run.end is End.FINISHED else None
        finally:
            run.close()
        self._add_reversals(happens)
        return Told(run, trace, blocked)

    def _explore(self, run: Run, happens: Happens) -> bool:
        """Follow the stack, then go on freely; whether the sleep set ended it."""
        for actor in self._part.prefix:
            self._step(run, happens, run.index[actor], 0)
        for node in self._stack:
            self._take(run, happens, node)
        while able := run.enabled():
            node = self._enter(run, able)
            if not self._next_branch(node, run):
                return True
            self._stack.append(node)
            self._take(run, happens, node)
        return False

    def _take(self, run: Run, happens: Happens, node: _Node) -> None:
        """Explore the first branch of the last node."""
        branch = node.branches[0]
        branch.masks = node.taken = self._step(run, happens, branch.actor, node.enabled)

    def _step(self, run: Run, happens: Happens, actor: int, enabled: int) -> Masks:
        """Take a step, or take it again, and note what it races with."""
        place = len(run.steps)
        step = run.step(run.actors[actor])
        masks = self._objects.masks(EVERYTHING if step is None else step.access)
        if place < len(happens.events):
            if happens.events[place].masks is not masks:
                raise NotDeterministic(_difference(run))
        elif step is not None:
            races = happens.add(actor, masks, enabled)
            self._races.append((happens.events[place], races))
        return masks

    def _enter(self, run: Run, able: Sequence[Actor]) -> _Node:
        """The state that was come to."""
        enabled = sum(1 << run.index[actor] for actor in able)
        if not self._stack:
            asleep = {run.index[a]: self._objects.masks(access) for a, access in self._part.asleep}
            return _Node(enabled, asleep, [])
        parent = self._stack[-1]
        branch, taken = parent.branches[0], parent.taken
        assert taken is not None
        asleep = {q: m for q, m in parent.sleep.items() if not m.conflict(taken)}
        return _Node(enabled, asleep, branch.branches)

    def _next_branch(self, node: _Node, run: Run) -> bool:
        """Have something to explore as the node's first branch; False if there is nothing."""
        branches = node.branches
        while branches and not self._may_take(node, branches[0].actor):
            branches.pop(0)
        if branches:
            return True
        last = run.index[run.schedule[-1]] if run.schedule else -1
        for actor in (last, *range(len(run.actors))):
            if actor >= 0 and self._may_take(node, actor):
                branches.append(Branch(actor, self._objects.masks(EVERYTHING)))
                return True
        return False

    @staticmethod
    def _may_take(node: _Node, actor: int) -> bool:
        return bool(node.enabled >> actor & 1) and actor not in node.sleep

    def _backtrack(self) -> bool:
        """Go back to the last node from which something is to be explored; whether there is any."""
        assert self._happens is not None
        stack, prefix = self._stack, len(self._part.prefix)
        while stack:
            node = stack[-1]
            self._happens.cut(prefix + len(stack) - 1)
            branch = node.branches.pop(0)
            assert node.taken is not None
            node.sleep[branch.actor] = node.taken
            while node.branches and not self._may_take(node, node.branches[0].actor):
                node.branches.pop(0)
            if node.branches:
                return True
            stack.pop()
        return False

    # What else is to be explored.

    def _look_ahead(self, run: Run, happens: Happens) -> None:
        """The run failed: who had not ended races with the next step that it did not take."""
        able = set(run.program.enabled())
        enabled = sum(1 << run.index[actor] for actor in able)
        for number, actor in enumerate(run.actors):
            access = EVERYTHING if actor in able else run.program.pending(actor)
            if access is not None:
                masks = self._objects.masks(access)
                event = Event(number, masks, enabled)
                self._races.append((event, happens.races_of(number, masks, enabled)))

    def _add_reversals(self, happens: Happens) -> None:
        """For each race of this run, have its other order explored, if it is not to be anyway."""
        for node, sequence in self._reversals(happens):
            if not any(
                take_weak_initial(sequence, actor, masks) is not None
                for actor, masks in node.sleep.items()
            ):
                insert(node.branches, sequence)

    def _reversals(self, happens: Happens) -> Iterator[tuple[_Node, list[Event]]]:
        """The states before the first step of each race, and what is to be done from there."""
        prefix = len(self._part.prefix)
        for event, races in self._races:
            for place in races:
                if prefix <= place < prefix + len(self._stack):
                    yield self._stack[place - prefix], [*happens.not_after(place), event]


def _difference(run: Run) -> str:
    """What a program did otherwise than before, in a line."""
    step = run.steps[-1] if run.steps else None
    what = "failed" if run.failure is not None else f"ended at {step.label if step else 'nothing'}"
    return (
        f"the program is not deterministic: step {len(run.schedule)}, of {run.schedule[-1]}, {what}"
        " and touched other things than when the same steps were taken before"
    )
