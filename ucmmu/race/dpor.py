# SPDX-License-Identifier: GPL-2.0-or-later
"""Optimal dynamic partial-order reduction: one run of each Mazurkiewicz trace, or seldom two; none
of those that another one stands for.

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

The papers' steps are of one access each, which no other actor's step can change. A step of kernel
code is of many: which, may hang on what others did. Then two steps that are independent where a
third one came first may be dependent where it did not, and what was explored behind that third one
leads nowhere else (Program.fixed): some traces are run again.

An interrupt that can come before a store need not be tried after it (StepAccess.early): the one
order is taken for the other, not the other for the one. So interrupts, and ends of grace periods,
are taken as soon as can be, where nothing else is called for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ucmmu.race.exploration import Exploration
from ucmmu.race.happens import Event, Masks
from ucmmu.race.program import EVERYTHING, Actor, Kind, MakeProgram
from ucmmu.race.run import Run
from ucmmu.race.wakeup import Branch, drop_first, flattened, grown, insert, leads_to


@dataclass(slots=True)
class _Node:
    """A state of the current run: what was explored from it, and what is to be."""

    enabled: int
    sleep: dict[int, Masks]
    branches: list[Branch]
    """The first is being explored."""
    taken: Masks | None = None


class Dpor(Exploration):
    """Every order of a program that matters, each once if its steps are of one access."""

    def __init__(self, make: MakeProgram, *, max_steps: int = 10_000) -> None:
        super().__init__(make, max_steps=max_steps)
        self._stack: list[_Node] = []
        self._fixed = False

    def __getstate__(self) -> dict[str, object]:
        """Each node's tree is what grows from the first branch of the node before it."""
        last = len(self._stack) - 1
        nodes = [
            (node.enabled, node.sleep, flattened(node.branches, first=place == last), node.taken)
            for place, node in enumerate(self._stack)
        ]
        return super().__getstate__() | {"_stack": nodes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See __getstate__()."""
        nodes = state.pop("_stack")
        self.__dict__.update(state)
        self._stack = []
        for enabled, sleep, flat, taken in nodes:
            branches = grown(flat)
            if self._stack:
                self._stack[-1].branches[0].branches = branches
            self._stack.append(_Node(enabled, sleep, branches, taken))

    def _explore(self, run: Run) -> bool:
        self._fixed = run.program.fixed
        for node in self._stack:
            self._take(run, node)
        replayed = len(self._stack) - 1
        while able := run.enabled():
            node = self._enter(run, able)
            if len(self._stack) > max(replayed, 0):
                self._note_disabled(run, self._stack[-1].enabled, node.enabled)
            if not self._next_branch(node, run):
                self._look_at_waiting(run, node)
                return True
            self._stack.append(node)
            self._take(run, node)
        return False

    def _look_at_waiting(self, run: Run, node: _Node) -> None:
        """Where only sleepers could go on, who waits races with who keeps it waiting."""
        for number, actor in enumerate(run.actors):
            access = None if node.enabled >> number & 1 else run.program.pending(actor)
            if access is not None:
                masks = self._objects.masks(access)
                races = self._happens.races_of(number, masks, node.enabled)
                self._races.append((Event(number, masks, node.enabled), races))

    def _take(self, run: Run, node: _Node) -> None:
        """Explore the first branch of the last node."""
        branch = node.branches[0]
        branch.covers.clear()
        branch.masks = node.taken = self._step(run, branch.actor, node.enabled)

    def _enter(self, run: Run, able: Sequence[Actor]) -> _Node:
        """The state that was come to."""
        enabled = sum(1 << run.index[actor] for actor in able)
        if not self._stack:
            return _Node(enabled, {}, [])
        parent = self._stack[-1]
        branch, taken = parent.branches[0], parent.taken
        assert taken is not None
        asleep = {q: m for q, m in parent.sleep.items() if not taken.bars(m)}
        return _Node(enabled, asleep, branch.branches)

    def _next_branch(self, node: _Node, run: Run) -> bool:
        """Have something to explore as the node's first branch; False if there is nothing."""
        branches = node.branches
        self._drop_what_cannot_be_taken(node)
        if branches:
            return True
        for actor in _who_is_first(run):
            if self._may_take(node, actor):
                branches.append(Branch(actor, self._objects.masks(EVERYTHING)))
                return True
        return False

    def _drop_what_cannot_be_taken(self, node: _Node) -> None:
        """Have a step first that can be taken, or nothing. What a sleeper leads to was explored."""
        branches = node.branches
        while branches and not self._may_take(node, branches[0].actor):
            if branches[0].actor in node.sleep:
                branches.pop(0)
            else:
                drop_first(branches, fixed=self._fixed)

    @staticmethod
    def _may_take(node: _Node, actor: int) -> bool:
        return bool(node.enabled >> actor & 1) and actor not in node.sleep

    def _backtrack(self) -> bool:
        """Go back to the last node from which something is to be explored; whether there is any."""
        stack = self._stack
        while stack:
            node = stack[-1]
            self._happens.cut(len(stack) - 1)
            branch = node.branches.pop(0)
            assert node.taken is not None
            node.sleep[branch.actor] = node.taken
            self._drop_what_cannot_be_taken(node)
            if node.branches:
                return True
            stack.pop()
        return False

    def _learn(self) -> None:
        """For each race, have its other order explored, unless it is to be anyway."""
        for node, sequence in self._reversals():
            if not any(
                leads_to(sequence, actor, masks, fixed=self._fixed) is not None
                for actor, masks in node.sleep.items()
            ):
                insert(node.branches, sequence, fixed=self._fixed)

    def _reversals(self) -> Iterator[tuple[_Node, list[Event]]]:
        """The states before the first step of each race, and what is to be done from there."""
        for event, races in self._races:
            for place in races:
                yield self._stack[place], [*self._happens.not_after(place), event]
        for place, event in self._disabled:
            yield self._stack[place], [event]


_EARLY = (Kind.INTERRUPT, Kind.GRACE_PERIOD)


def _who_is_first(run: Run) -> Iterator[int]:
    """In which order actors are tried where none is called for: what stands for its coming later,
    who goes on, and store buffers, which let interrupts come.
    """
    actors = run.actors
    yield from (n for n, actor in enumerate(actors) if actor.kind in _EARLY)
    if run.schedule:
        yield run.index[run.schedule[-1]]
    yield from (n for n, actor in enumerate(actors) if actor.kind is Kind.DRAIN)
    yield from range(len(actors))
