# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario's run, as a program that the explorer takes step by step."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO

from ucmmu.race.interleaving import Interleaving
from ucmmu.race.program import EVERYTHING, Actor, Kind, Step, StepAccess
from ucmmu.race.world import Actor as Act
from ucmmu.race.world import RaceWorld


class KernelProgram(Interleaving):
    """The actors of a world (ucmmu.race.program.Program): its CPUs, and their interrupts.

    A CPU goes on until it comes to a point, waits, or ends. An interprocessor interrupt is a step
    of its own, unless the CPU waits, is idle or has ended: then it is part of the sender's step.
    While the program is open it is the scheduler of the world's kernel.
    """

    def __init__(self, world: RaceWorld, acts: Mapping[int, Act]) -> None:
        super().__init__(world.kernel, acts)
        self.world = world
        self.cpus = [Actor(number) for number in sorted(acts)]
        self.actors: Sequence[Actor] = (
            *self.cpus,
            *(Actor(cpu.id, Kind.INTERRUPT) for cpu in world.kernel.cpus),
        )
        kernel = world.kernel
        self._before = kernel.scheduler, kernel.on_point, kernel.this_cpu
        kernel.scheduler, kernel.on_point = self, self._point

    def enabled(self) -> Collection[Actor]:
        """See Program."""
        able = [actor for actor in self.cpus if self._actors[actor.cpu].can_run()]
        pending = [n for n in sorted(self._kicked) if self._can_interrupt(n)]
        return [*able, *(Actor(number, Kind.INTERRUPT) for number in pending)]

    def step(self, actor: Actor) -> Step:
        """See Program."""
        number = actor.cpu
        if actor.kind is Kind.INTERRUPT:
            self._interrupt(self.kernel.cpus[number])
            label = "interrupt"
        else:
            acting = self._actors[number]
            acting.ready = None
            self._current = acting
            self.kernel.this_cpu = acting.cpu
            self.world.resumed(number)
            acting.greenlet.switch()
            self._current = None
            label = acting.at
        self.kernel.check()
        return Step(actor, label, EVERYTHING)

    def pending(self, actor: Actor) -> StepAccess | None:
        """See Program."""
        if actor.kind is Kind.CPU and self._actors[actor.cpu].ended:
            return None
        return EVERYTHING

    def finished(self) -> bool:
        """See Program."""
        return all(acting.ended for acting in self._actors.values())

    def waits(self) -> str:
        """Who waits for what, in words."""
        return "; ".join(str(acting) for acting in self._actors.values() if not acting.ended)

    def finish(self) -> None:
        """See Program: the world is settled."""
        self._leave()
        self.world.settle()

    def state(self) -> Hashable:
        """See Program."""
        return None

    def close(self) -> None:
        """See Program."""
        self._over = True
        with redirect_stderr(StringIO()):
            self._end_all()
        self._leave()

    def _leave(self) -> None:
        kernel = self.kernel
        kernel.scheduler, kernel.on_point, kernel.this_cpu = self._before
