# SPDX-License-Identifier: GPL-2.0-or-later
"""A scenario's run, as a program that the explorer takes step by step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from types import FrameType
from typing import Final, NamedTuple

from mmu.linux.rcu import rcu_gp_is_over, rcu_gp_kthread, rcu_needs_gp
from mmu.linux.rcupdate import rcu_qs
from mmu.linux.state import Cpu
from ucmmu.race.access import Found, Watch
from ucmmu.race.interleaving import Acting, Interleaving
from ucmmu.race.invariants import Invariants, Place
from ucmmu.race.program import EVERYTHING, Actor, Kind, Step, StepAccess
from ucmmu.race.watched import WatchedMemory
from ucmmu.race.world import Actor as Act
from ucmmu.race.world import RaceWorld

_GRACE_PERIOD: Final = Actor(0, Kind.GRACE_PERIOD)


class _Known(NamedTuple):
    """What of a step is not found out again when it is taken again."""

    place: Place
    """See Invariants.after_step()."""
    found: Found
    """See Watch.end_again(); of no meaning for a drain."""


class KernelProgram(Interleaving):
    """The actors of a world (ucmmu.race.program.Program): its CPUs, their interrupts and, with
    ``tso``, their store buffers.

    A CPU goes on until it comes to a point, waits, or ends. An interprocessor interrupt is a step
    of its own, unless the CPU has not begun, or, of three or more, has ended or waits, for no lock
    and not for its stores: then it is part of the sender's step.
    Of a watched world each step tells what it touched, and the invariants are looked at after it;
    with ``fine`` each step touches one thing that other CPUs may see; for ``reuse`` and
    ``of_the_user`` see Watch. While the program is open it is the scheduler of the world's kernel.
    ``on_close`` is called at its end. ``points``, None for all, are those at which a CPU may be
    left.
    """

    fixed = False

    def __init__(
        self,
        world: RaceWorld,
        acts: Mapping[int, Act],
        *,
        fine: bool = False,
        tso: bool = False,
        reuse: bool = False,
        of_the_user: bool = True,
        points: Collection[str] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(world.kernel, acts, points=points)
        self._on_close = on_close
        self.on_step: Callable[[], None] | None = None
        """Called after each step, also one that fails."""
        self.world = world
        self.watch: Watch | None = None
        self.invariants: Invariants | None = None
        if isinstance(world.memory, WatchedMemory):
            self.watch = Watch(
                world.kernel, fine=fine, tso=tso, reuse=reuse, of_the_user=of_the_user
            )
            self.watch.coarse = points is not None
            self.invariants = Invariants(self.watch)
            world.at_end_of_operation = self.invariants.end_of_operation
        self.cpus = [Actor(number) for number in sorted(acts)]
        self.actors: Sequence[Actor] = (
            *self.cpus,
            *(Actor(cpu.id, Kind.INTERRUPT) for cpu in world.kernel.cpus),
            *(Actor(cpu.id, Kind.DRAIN) for cpu in world.kernel.cpus if tso),
            *([_GRACE_PERIOD] if self.watch is not None else []),
        )
        kernel = world.kernel
        self._before = kernel.scheduler, kernel.on_point, kernel.this_cpu
        kernel.scheduler, kernel.on_point = self, self._point
        kernel.gp_kthread = self.watch is not None

    def _body(self, number: int, act: Callable[[], object]) -> Callable[[], object]:
        """A CPU that has ended is idle, and takes interrupts as before."""
        body = super()._body(number, act)

        def with_idleness() -> None:
            body()
            while True:
                self._yield("ended")

        return with_idleness

    def enabled(self) -> Collection[Actor]:
        """See Program."""
        able = [actor for actor in self.cpus if self._actors[actor.cpu].can_run()]
        draining = [] if self.watch is None else self.watch.drainable()
        pending = [n for n in sorted(self._kicked) if self._can_interrupt(n) and n not in draining]
        return [
            *able,
            *(Actor(number, Kind.INTERRUPT) for number in pending),
            *(Actor(number, Kind.DRAIN) for number in draining),
            *([_GRACE_PERIOD] if self.watch is not None and rcu_gp_is_over(self.kernel) else []),
        ]

    def step(self, actor: Actor) -> Step:
        """See Program."""
        try:
            return self._step_of(actor)
        finally:
            if self.on_step is not None:
                self.on_step()

    def _step_of(self, actor: Actor) -> Step:
        watch, number = self.watch, actor.cpu
        if watch is None:
            label, access = self._go_on(actor), EVERYTHING
            self.kernel.check()
            return Step(actor, label, access)
        if actor.kind is Kind.DRAIN:
            label, access = "drain", watch.drain_step(number)
        else:
            watch.begin_step(number, actor.kind)
            idle = self._takes_at_once(number)
            try:
                label = self._go_on(actor)
            finally:
                if idle != self._takes_at_once(number):
                    if len(self._actors) > 2:
                        watch.looks_at(("cpu", number, "queue"))
                    watch.looks_at(("cpu", number, "nr_calls"))
                access = watch.end_step()
        assert self.invariants is not None
        frame = self._frame_of(actor)
        place = self.invariants.after_step(number, label, access, frame)
        return Step(actor, label, access, known=_Known(place, watch.found()))

    def again(self, step: Step) -> str:
        """See TakesAgain."""
        try:
            return self._again(step)
        finally:
            if self.on_step is not None:
                self.on_step()

    def _again(self, step: Step) -> str:
        actor, watch, known = step.actor, self.watch, step.known
        number = actor.cpu
        if watch is None or not isinstance(known, _Known):
            return self._step_of(actor).label
        if actor.kind is Kind.DRAIN:
            watch.drain_again(number)
            return "drain"
        watch.begin_again(number, actor.kind)
        try:
            label = self._go_on(actor)
        finally:
            watch.end_again(known.found)
        assert self.invariants is not None
        self.invariants.after_step_again(number, known.place, self._frame_of(actor))
        return label

    def came_to(self, step: Step) -> bool:
        """See TakesAgain."""
        known = step.known
        return not isinstance(known, _Known) or known.place[2] == self.state()

    def _frame_of(self, actor: Actor) -> FrameType | None:
        """Where the code of a CPU goes on."""
        acting = self._actors.get(actor.cpu)
        if actor.kind is not Kind.CPU or acting is None or acting.ended:
            return None
        return acting.greenlet.gr_frame

    def _go_on(self, actor: Actor) -> str:
        """Let a CPU go on, or take its interrupt, or have a grace period ended; the name of the
        point where that ends.
        """
        if actor.kind is Kind.GRACE_PERIOD:
            self.kernel.this_cpu = self.kernel.cpus[actor.cpu]
            rcu_gp_kthread(self.kernel)
            return "rcu_gp_kthread"
        label = self._run(actor)
        if rcu_needs_gp(self.kernel):
            rcu_gp_kthread(self.kernel)
        return label

    def _run(self, actor: Actor) -> str:
        """Let a CPU go on, or take its interrupt."""
        if actor.kind is Kind.INTERRUPT:
            for field in ("irqs", "nr_calls"):
                self.kernel.instrument_read(self.kernel.cpus[actor.cpu], field)
            if self.watch is not None:  # also if somebody has emptied it meanwhile
                self.watch.looks_at(("cpu", actor.cpu, "queue"))
            return self._take_interrupt(actor.cpu)
        acting = self._actors[actor.cpu]
        if self.watch is not None:
            self.watch.waited = acting.ready is not None
        acting.ready = None
        self._current = acting
        self.kernel.this_cpu = acting.cpu
        self.world.resumed(actor.cpu)
        handling = acting.handling
        acting.greenlet.switch()
        self._current = None
        if self.watch is not None:
            self.watch.handler(actor.cpu, changes=acting.handling != handling)
        return acting.at

    def _take_interrupt(self, number: int) -> str:
        """A CPU that has begun may be left midway in the handler; another takes the interrupt in
        one step.
        """
        acting, cpu = self._actors.get(number), self.kernel.cpus[number]
        if acting is None or not acting.greenlet:
            self._interrupt(cpu)
            return "interrupt"
        self._kicked.discard(number)
        if self.watch is not None:
            self.watch.drain(number)
        self._current, self.kernel.this_cpu = acting, cpu
        acting.greenlet.switch("interrupt")
        self._current = None
        if self.watch is not None and acting.handling:
            self.watch.handler(number, changes=True)
        return acting.at if acting.handling else "interrupt"

    def _point(self, name: str) -> None:
        current, kernel = self._current, self.kernel
        if current is None or self.watch is None:
            super()._point(name)
        elif kernel.ready is None or (kernel.sleeps_for and self.points is not None):
            current.ready, current.what = None, name
            super()._point(name)
        elif kernel.sleeps_for:
            self._may_sleep(name, current, kernel.ready, kernel.sleeps_for)
        else:
            self._wait_for_lock(name, current, kernel.ready, name)

    def _wait_for_lock(
        self, name: str, acting: Acting, ready: Callable[[], bool], what: str
    ) -> None:
        """A point where the CPU goes on when the lock is free that it takes next."""
        assert self.watch is not None
        acting.ready, acting.what = self.watch.locks_when(acting.cpu.id, ready), what
        super()._point(name)

    def _may_sleep(self, name: str, acting: Acting, ready: Callable[[], bool], what: str) -> None:
        """The same where it sleeps meanwhile, or is preempted: a quiescent state. To find the lock
        held, and to queue then, is no step.
        """
        kernel, cpu = self.kernel, acting.cpu
        held = [] if kernel.lockdep is None else kernel.lockdep.sleep(what)
        rcu_qs(kernel, cpu, idle=True)
        self._wait_for_lock(name, acting, ready, what)
        rcu_qs(kernel, cpu)
        if kernel.lockdep is not None:
            kernel.lockdep.wake(held)

    def _interrupt(self, cpu: Cpu) -> None:
        if self.watch is not None:
            self.watch.drain(cpu.id)
        super()._interrupt(cpu)

    def _takes_at_once(self, number: int) -> bool:
        """See Interleaving: of two CPUs only one that has not begun, so that its steps but the
        first are independent of when an interrupt is sent.
        """
        acting = self._actors.get(number)
        if len(self._actors) > 2:
            return super()._takes_at_once(number)
        return acting is None or acting.at == "start"

    def pending(self, actor: Actor) -> StepAccess | None:
        """See Program."""
        watch = self.watch
        if actor.kind is Kind.GRACE_PERIOD:
            return None
        if actor.kind is Kind.CPU:
            acting = self._actors[actor.cpu]
            if acting.ended and not acting.handling:
                return None
            if watch is not None and acting.ready is not None:
                return watch.waits_of(acting.cpu, acting.ready)
        elif actor.kind is Kind.DRAIN and watch is not None:
            return watch.next_drain(actor.cpu)
        elif actor.kind is Kind.INTERRUPT and actor.cpu not in self._kicked:
            return None
        return EVERYTHING

    def finished(self) -> bool:
        """See Program."""
        if self.watch is not None and self.watch.drainable():
            return False
        return all(acting.ended and not acting.handling for acting in self._actors.values())

    def waiting(self) -> str:
        """Who waits for what, in words."""
        return "; ".join(str(acting) for acting in self._actors.values() if not acting.ended)

    def finish(self) -> None:
        """See Program: the world is settled."""
        self._leave()
        self.world.settle()

    def state(self) -> Hashable:
        """See Program."""
        return None if self.watch is None else self.watch.state_hash

    def close(self) -> None:
        """See Program."""
        self._over = True
        with redirect_stderr(StringIO()):
            self._end_all()
        self._leave()
        if self.watch is not None and self.invariants is not None:
            self.invariants.close()
            self.watch.close()
        if self._on_close is not None:
            self._on_close()

    def _leave(self) -> None:
        kernel = self.kernel
        kernel.scheduler, kernel.on_point, kernel.this_cpu = self._before
        kernel.gp_kthread = False
