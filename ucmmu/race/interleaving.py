# SPDX-License-Identifier: GPL-2.0-or-later
"""Forced interleavings of kernel code on several CPUs: the scheduler of the tests of races.

An *actor* is what one CPU does, a Python function. It runs until it comes to a step that another
CPU could see (``kernel.point()``: the Python engine has them), or waits; then the next step is
chosen, of the same CPU or another::

    race = Interleaving(kernel, {0: fault, 1: zap}, schedule=[(0, "pmd_install"), 1])
    race.run()
    race.results[0]        # what fault() returned

``schedule`` is a list of steps: a CPU's number lets it go to its next point, ``(cpu, "name")`` on
to the next point of that name (or until it waits or ends). Steps of a CPU that cannot go on are
passed over. What the list leaves open is done one CPU after the other. ``seed`` chooses each step
at random instead. ``race.schedule`` is what was chosen, as a list that replays it; a failure
prints it.

explore() runs a scenario under every schedule, or every one with few preemptions.

An interprocessor interrupt is a step of its own CPU, unless that CPU is idle or waits: then it is
taken at once.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenlet import GreenletExit, getcurrent, greenlet

from mmu.linux.rcupdate import rcu_qs
from mmu.linux.sched import ERESTARTSYS, Interruptible, Sleep, WaitQueue

if TYPE_CHECKING:
    from mmu.linux.state import Cpu, Kernel

Step = int | tuple[int, str]

_ENDED, _INTERRUPT = "ended", "interrupt"


class Deadlock(AssertionError):
    """No CPU can go on."""


@dataclass(eq=False)
class Acting:
    """An actor of a run: where its code is, and what it waits for."""

    cpu: Cpu
    greenlet: greenlet
    at: str = "start"
    ready: Callable[[], bool] | None = None
    what: str = ""
    ended: bool = False
    waits: bool = False
    """It could not go on when it stopped."""
    handling: bool = False
    """It is in the handler of an interrupt, midway."""

    def can_run(self) -> bool:
        """Whether its CPU can go on."""
        on = self.handling or not self.ended
        return on and (self.ready is None or self.ready())

    def __str__(self) -> str:
        return f"CPU {self.cpu.id} waits for {self.what}"


class Interleaving:
    """One run of ``actors``, by CPU, on ``kernel``, which this becomes the scheduler of.

    ``points`` (None: all) are those at which may be switched; if only some are, ``met`` are the
    names of all that were come to. ``options`` has for each step what could have been chosen,
    ``results`` what the actors returned.
    """

    def __init__(
        self,
        kernel: Kernel,
        actors: Mapping[int, Callable[[], object]],
        *,
        seed: int | None = None,
        schedule: Sequence[Step] = (),
        points: Collection[str] | None = None,
        max_steps: int = 100_000,
    ) -> None:
        self.kernel = kernel
        self.seed = seed
        self.points = points
        self.met: set[str] = set()
        self.max_steps = max_steps
        self.schedule: list[int] = []
        self.trail: list[tuple[int, str]] = []
        self.options: list[list[int]] = []
        self.results: dict[int, object] = {}
        self._given = list(schedule)
        self._random = None if seed is None else random.Random(seed)
        self._hub = getcurrent()
        self._actors = {
            number: Acting(kernel.cpus[number], greenlet(self._body(number, act)))
            for number, act in sorted(actors.items())
        }
        self._current: Acting | None = None
        self._kicked: set[int] = set()
        self._over = False

    def _body(self, number: int, act: Callable[[], object]) -> Callable[[], object]:
        def body() -> object:
            rcu_qs(self.kernel, self.kernel.cpus[number], idle=self.kernel.gp_kthread)
            self.results[number] = act()
            rcu_qs(self.kernel, self.kernel.cpus[number], idle=True)  # may wait for its stores
            self._actors[number].ended = True
            self._actors[number].at = _ENDED
            return None

        return body

    # The run.

    def run(self) -> Interleaving:
        """Run every actor to its end. Raises what one of them raised, or Deadlock."""
        kernel = self.kernel
        before = kernel.scheduler, kernel.on_point, kernel.this_cpu
        kernel.scheduler, kernel.on_point = self, self._point
        try:
            while not all(actor.ended for actor in self._actors.values()):
                self._step()
        except BaseException:
            print(f"\nschedule={self.schedule}  # seed={self.seed}", file=sys.stderr)
            print("\n".join(f"    CPU {cpu}: {at}" for cpu, at in self.trail), file=sys.stderr)
            raise
        finally:
            self._over = True
            self._end_all()
            kernel.scheduler, kernel.on_point, kernel.this_cpu = before
        return self

    def _step(self) -> None:
        able = [n for n, a in self._actors.items() if a.can_run() or self._can_interrupt(n)]
        if not able:
            waits = "; ".join(str(a) for a in self._actors.values() if not a.ended)
            raise Deadlock(f"no CPU can go on: {waits}")
        if len(self.schedule) >= self.max_steps:
            raise AssertionError(f"more than {self.max_steps} steps")
        number = self._choose(able)
        self.options.append(able)
        self.schedule.append(number)
        actor = self._actors[number]
        if self._can_interrupt(number):
            self._interrupt(actor.cpu)
            self.trail.append((number, _INTERRUPT))
            return
        actor.ready = None
        self._current = actor
        self.kernel.this_cpu = actor.cpu
        actor.greenlet.switch()
        self._current = None
        self.trail.append((number, actor.at))

    def _choose(self, able: list[int]) -> int:
        while self._given:
            step = self._given[0]
            number, until = step if isinstance(step, tuple) else (step, None)
            reached = until is not None and self.trail and self.trail[-1] == (number, until)
            if reached and getattr(self, "_pursued", None) is step:
                self._pursued = None
                self._given.pop(0)
                continue
            if number not in able:
                self._given.pop(0)
                continue
            if until is None:
                self._given.pop(0)
            self._pursued = step
            return number
        if self._random is not None:
            return self._random.choice(able)
        last = self.schedule[-1] if self.schedule else able[0]
        return last if last in able else able[0]

    def _end_all(self) -> None:
        for actor in self._actors.values():
            if not actor.greenlet.dead and actor.greenlet:
                try:
                    actor.greenlet.throw(GreenletExit)
                except BaseException as error:
                    print(f"ending CPU {actor.cpu.id}: {error!r}", file=sys.stderr)

    def _yield(self, at: str) -> None:
        """Back to the hub; returns when this actor is chosen again."""
        actor = self._current
        assert actor is not None
        actor.at = at
        while self._hub.switch() == _INTERRUPT:
            self._interrupt_handler(actor)

    def _interrupt_handler(self, actor: Acting) -> None:
        """Take an interrupt where the CPU stands: its handler may be left midway, as any code."""
        before = actor.at, actor.ready, actor.what, actor.waits
        actor.ready, actor.waits, actor.handling = None, False, True
        try:
            actor.cpu.interrupt()
        finally:
            actor.handling = False
            actor.at, actor.ready, actor.what, actor.waits = before

    def _point(self, name: str) -> None:
        if self._over or self._current is None or getcurrent() is not self._current.greenlet:
            return
        if self.points is not None:
            self.met.add(name)
            if name not in self.points:
                return
        self._yield(name)

    # The scheduler's functions (mmu.linux.sched.Scheduler).

    def _wait(self, at: str, ready: Callable[[], bool], what: str) -> bool:
        actor = self._current
        if actor is None or getcurrent() is not actor.greenlet or self._over:
            return False
        actor.ready, actor.what, actor.waits = ready, what, True
        if self._can_interrupt(actor.cpu.id) and self._takes_at_once(actor.cpu.id):
            self._interrupt(actor.cpu)
        self._yield(at)
        actor.waits = False
        return not self._over

    def spin_until(self, ready: Callable[[], bool], what: str) -> bool:
        """See Scheduler."""
        while not ready():
            if not self._wait("spin_until", ready, what):
                return False
        return True

    def wait_event(
        self,
        queue: WaitQueue,
        ready: Callable[[], bool],
        what: str,
        *,
        sleep: Sleep = Sleep.UNINTERRUPTIBLE,
        timeout_ns: int | None = None,
    ) -> int:
        """See Scheduler: the CPU is idle meanwhile. No signal comes, and no time passes."""
        while not ready():
            cpu = self.kernel.this_cpu
            rcu_qs(self.kernel, cpu, idle=True)
            if not ready() and not self._wait("wait_event", ready, what):
                return -ERESTARTSYS
            rcu_qs(self.kernel, cpu)
        return 0

    def wake_up(self, queue: WaitQueue, nr: int | None = None) -> int:
        """See Scheduler: every sleeper is asked before each step anyway."""
        return 0

    def kick(self, cpu: Interruptible) -> None:
        """See Scheduler."""
        number = next(c.id for c in self.kernel.cpus if c is cpu)
        if self._takes_at_once(number) and self._interrupts_on(self.kernel.cpus[number]):
            self._interrupt(self.kernel.cpus[number])
        else:
            self._kicked.add(number)

    def _takes_at_once(self, number: int) -> bool:
        """Whether the CPU takes an interrupt where it stands: it waits, is idle or has ended."""
        actor = self._actors.get(number)
        return actor is None or actor.ended or actor.waits or actor.at == "start"

    @staticmethod
    def _interrupts_on(cpu: Cpu) -> bool:
        return not getattr(cpu.c, "irqs_disabled", 0)

    def _can_interrupt(self, number: int) -> bool:
        return number in self._kicked and self._interrupts_on(self.kernel.cpus[number])

    def _interrupt(self, cpu: Cpu) -> None:
        before, current = self.kernel.this_cpu, self._current
        self._kicked.discard(cpu.id)
        self.kernel.this_cpu, self._current = cpu, None
        try:
            cpu.interrupt()
        finally:
            self.kernel.this_cpu, self._current = before, current


def explore(
    scenario: Callable[[Sequence[Step]], Interleaving],
    *,
    preemptions: int | None = None,
    limit: int = 100_000,
) -> int:
    """Run ``scenario(schedule)`` under every schedule; returns how many there were.

    The scenario makes a new world, runs an Interleaving with that schedule in it, checks, and
    returns the Interleaving. ``preemptions`` bounds how often a CPU that could have gone on is
    left for another. AssertionError beyond ``limit`` schedules.
    """
    count, schedule = 0, list[int]()
    while True:
        race = scenario(list(schedule))
        count += 1
        assert count <= limit, f"more than {limit} schedules"
        following = _next_schedule(race, preemptions)
        if following is None:
            return count
        schedule = following


def _next_schedule(race: Interleaving, preemptions: int | None) -> list[int] | None:
    """The next schedule in the order of a depth-first search; None after the last."""
    chosen, options = race.schedule, race.options
    for depth in range(len(chosen) - 1, -1, -1):
        for number in _untried(chosen, options, depth):
            candidate = [*chosen[:depth], number]
            if preemptions is None or _preempted(candidate, options) <= preemptions:
                return candidate
    return None


def _order(chosen: Sequence[int], options: Sequence[Sequence[int]], depth: int) -> list[int]:
    """The order in which the options of a step are tried: what goes on by itself comes first."""
    able = options[depth]
    last = chosen[depth - 1] if depth else able[0]
    first = last if last in able else able[0]
    return [first, *(number for number in able if number != first)]


def _untried(chosen: Sequence[int], options: Sequence[Sequence[int]], depth: int) -> list[int]:
    order = _order(chosen, options, depth)
    return order[order.index(chosen[depth]) + 1 :]


def _preempted(chosen: Sequence[int], options: Sequence[Sequence[int]]) -> int:
    """How often a CPU was left that could have gone on."""
    return sum(
        1
        for depth in range(1, len(chosen))
        if chosen[depth] != chosen[depth - 1] and chosen[depth - 1] in options[depth]
    )
