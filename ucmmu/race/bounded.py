# SPDX-License-Identifier: GPL-2.0-or-later
"""Partial-order reduction under a bound of preemptions: every trace that so few of them lead to.

From "Bounded Partial-Order Reduction" (Coons, Musuvathi, McKinley, OOPSLA 2013). To reverse a race
may take a preemption too many where the race is, and none if the actor that is to be first goes on
at the last change of actors before: so each reversal is tried there too.

A sleep set may leave a trace to an order of it that takes more preemptions, and is cut off. So only
those sleep for whom that cannot be: whose step, put first, makes no order cost more.

- The CPU that was going on: to come back to it costs as much as to leave it later. Not where there
  are store buffers: of fault-zap with one preemption only 79 of 113 traces would be run.
- Store buffers, interrupts and ends of grace periods, which cost nothing anywhere.

A sleeper wakes if its step may be what lets a CPU go on that is left because it waits: with that
step first, to leave it is a preemption. So does a CPU that sleeps: whoever lets the waiting one go
on later, as an interrupt may, makes it a preemption to come back to the CPU only then. Some traces
are still run more than once.

A CPU that is let go on where another one holds a lock comes to wait for it, and to leave it then
costs nothing: so each reversal is tried in such sections as well. What is still missed are traces
that few preemptions lead to only if a step that nothing depends on is taken just before an
interrupt or a drain that lets another CPU go on, so that this one is left for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ucmmu.race.exploration import Exploration
from ucmmu.race.happens import Event, Masks
from ucmmu.race.program import Actor, Kind, MakeProgram
from ucmmu.race.run import Run


@dataclass(slots=True)
class _Node:
    """A state of the current run."""

    enabled: int
    running: int
    """The CPU that took the last step of one; -1 at the start."""
    preemptions: int
    """So many before it."""
    sleep: dict[int, Masks]
    waits: Masks | None
    """For what the running CPU waits, if it does."""
    todo: int = 0
    done: int = 0
    chosen: int = -1
    taken: Masks | None = None


class Bounded(Exploration):
    """Every order of a program that matters and has at most ``bound`` preemptions.

    ``beyond`` is set as soon as one was left out for the bound: without it the exploration, ended,
    was of all orders.
    """

    def __init__(self, make: MakeProgram, bound: int, *, max_steps: int = 10_000) -> None:
        super().__init__(make, max_steps=max_steps)
        self.bound = bound
        self.beyond = False
        self._stack: list[_Node] = []
        self._cpus = 0
        self._buffered = False

    def _explore(self, run: Run) -> bool:
        self._cpus = sum(1 << n for n, actor in enumerate(run.actors) if actor.kind is Kind.CPU)
        self._buffered = any(actor.kind is Kind.DRAIN for actor in run.actors)
        for node in self._stack:
            node.taken = self._step(run, node.chosen, node.enabled)
        replayed = len(self._stack) - 1
        while able := run.enabled():
            node = self._enter(run, able)
            if len(self._stack) > max(replayed, 0):
                self._note_disabled(run, self._stack[-1].enabled, node.enabled)
            if not self._choose(node, node.enabled, first=True):
                self._look_at_sleepers(node)
                return True
            self._stack.append(node)
            node.taken = self._step(run, node.chosen, node.enabled)
        return False

    def _look_at_sleepers(self, node: _Node) -> None:
        """Where only sleepers could go on, their next steps race as if they were taken."""
        for actor, masks in node.sleep.items():
            if node.enabled >> actor & 1:
                races = self._happens.races_of(actor, masks, node.enabled, of_each=True)
                self._races.append((Event(actor, masks, node.enabled), races))

    def _note(self, actor: int, masks: Masks, enabled: int) -> list[int]:
        """The last step of each other actor that races with this one."""
        return self._happens.add(actor, masks, enabled, of_each=True)

    def _enter(self, run: Run, able: Sequence[Actor]) -> _Node:
        enabled = sum(1 << run.index[actor] for actor in able)
        if not self._stack:
            return _Node(enabled, -1, 0, {}, None)
        parent = self._stack[-1]
        chosen, taken = parent.chosen, parent.taken
        assert taken is not None
        running = chosen if self._cpus >> chosen & 1 else parent.running
        sleep = {q: m for q, m in parent.sleep.items() if not m.conflict(taken) and q != chosen}
        waits = None
        if running >= 0 and not enabled >> running & 1:
            pending = run.program.pending(run.actors[running])
            waits = None if pending is None else self._objects.masks(pending)
        if waits is not None:
            cpus = self._cpus
            sleep = {q: m for q, m in sleep.items() if not cpus >> q & 1 and not m.conflict(waits)}
        preemptions = parent.preemptions + self._cost(parent, chosen)
        return _Node(enabled, running, preemptions, sleep, waits)

    def _cost(self, node: _Node, actor: int) -> int:
        """1 if it is a preemption that this actor goes on."""
        running = node.running
        if running < 0 or actor == running or not self._cpus >> actor & 1:
            return 0
        return node.enabled >> running & 1

    def _choose(self, node: _Node, among: int, *, first: bool = False) -> bool:
        """Have the node's next step chosen, ``first`` who goes on; False if there is none."""
        order = range(among.bit_length())
        for actor in (node.running, *order) if first else order:
            if actor < 0 or not (among & ~node.done) >> actor & 1 or actor in node.sleep:
                continue
            if node.preemptions + self._cost(node, actor) > self.bound:
                self.beyond = True
                continue
            node.chosen = actor
            return True
        return False

    def _backtrack(self) -> bool:
        stack = self._stack
        while stack:
            node = stack[-1]
            self._happens.cut(len(stack) - 1)
            node.done |= 1 << node.chosen
            taken = node.taken
            assert taken is not None
            free = self._may_sleep(node, node.chosen)
            if free and not (node.waits is not None and taken.conflict(node.waits)):
                node.sleep[node.chosen] = taken
            if self._choose(node, node.todo & node.enabled & ~node.done):
                return True
            stack.pop()
        return False

    def _may_sleep(self, node: _Node, actor: int) -> bool:
        """Whether no order costs more if the actor's step comes first."""
        if self._cpus >> actor & 1:
            return actor == node.running and not self._buffered
        return True

    def _learn(self) -> None:
        for event, races in self._races:
            for place in races:
                self._try(place, event)
                for earlier in self._changes_before(place):
                    self._try(earlier, event)
                for earlier in self._sections_before(place, event.actor):
                    self._try(earlier, event)
        for place, event in self._disabled:
            self._try(place, event)

    def _try(self, place: int, event: Event) -> None:
        """Have the event's actor, or if it cannot everybody, go on from before that step."""
        if place < len(self._stack):
            node = self._stack[place]
            bit = 1 << event.actor
            asleep = event.actor in node.sleep and not node.done & bit
            node.todo |= bit if node.enabled & bit and not asleep else node.enabled

    def _sections_before(self, place: int, actor: int) -> list[int]:
        """Steps before ``place`` since the last change of CPUs, at which somebody holds what the
        actor waits for later: if it is let go on there it comes to wait, and to leave it costs
        nothing.
        """
        events, cpus = self._happens.events, self._cpus
        if not cpus >> actor & 1:
            return []
        waits = 0
        for event in events[place + 1 :]:
            if event.actor == actor:
                waits |= event.masks.waits
        found = []
        running = events[place].actor
        for number in range(place - 1, -1, -1):
            event = events[number]
            if cpus >> event.actor & 1:
                if cpus >> running & 1 and event.actor != running:
                    break
                running = event.actor
            if event.actor != actor and event.held & waits:
                found.append(number)
        return found

    def _changes_before(self, place: int) -> list[int]:
        """The last change of CPUs at or before ``place``, and the steps just before it that are no
        CPU's: there it costs nothing, or no more than it did.
        """
        events, cpus = self._happens.events, self._cpus
        running = -1
        change = 0
        for number in range(min(place + 1, len(events))):
            actor = events[number].actor
            if cpus >> actor & 1:
                if actor != running:
                    change = number
                running = actor
        changes = [change]
        while change and not cpus >> events[change - 1].actor & 1:
            change -= 1
            changes.append(change)
        return changes
