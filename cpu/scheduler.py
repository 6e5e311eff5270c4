# SPDX-License-Identifier: GPL-2.0-or-later
"""Which CPU runs, and which task on it: one host thread, a greenlet for each task, round robin.

::

    hub (the greenlet that called run())
      │  a turn for each CPU in order:
      │    it spins     the kernel code on it goes on if what it spins for is so
      │    it is idle   the next task of its queue is switched to, or another CPU's is pulled
      │    otherwise    its task goes on, for a slice of instructions
      ▼
    a task's greenlet: its kernel stack.  It runs guest code (VCpu.run()) and kernel code, and
    switches to the hub where the slice ends, where it sleeps, spins, or is over

Kernel code is atomic between two waits. A CPU that is not running is at the end of a slice, idle,
or waits: so all of a run depends on the program, the options and the seed, and on nothing else.

A CPU in guest code acknowledges interrupts at its slice's end; one that is idle, or spins with
interrupts on, at once (kick()).
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from greenlet import getcurrent, greenlet

from cpu.clock import LATEST_NS, SYSCALL_NS
from cpu.host_watch import HostWatch, host_ready
from cpu.thread import NEVER, Rq, State, Thread
from cpu.timer_queue import TimerQueue
from cpu.vcpu import VmExit
from mmu.events import EVENT_ID
from mmu.linux.rcupdate import rcu_barrier, rcu_qs
from mmu.linux.sched import ERESTARTSYS, Sleep, WaitQueue
from mmu.linux.tlbflush import enter_lazy_tlb, switch_mm
from mmu.units import U64

if TYPE_CHECKING:
    from cpu.vcpu import VCpu
    from mmu.linux.mm import Mm
    from mmu.linux.sched import Interruptible
    from mmu.linux.state import Kernel

DEFAULT_QUANTUM: Final = 100_000
"""Instructions of a slice, on average."""
SYSCALL_SHARE: Final = 500
"""What a system call takes of its slice, as instructions: kernel code executes none here."""
HOST_POLL_MS: Final = 100
"""Milliseconds between looks at whether the run is to stop, while all wait for the host."""
HOST_SLICE: Final = 200_000
"""Instructions of a slice at most, while descriptors of the host are watched."""
MILLISECOND: Final = 10**6
HOST_POLL_ROUNDS: Final = 64
"""Rounds between looks at the host's descriptors, while tasks run."""


_LIMIT: Final = VmExit.LIMIT
_SCHED_SWITCH: Final = EVENT_ID["sched_switch"]
_STATE_OF: Final = {
    Sleep.UNINTERRUPTIBLE: State.UNINTERRUPTIBLE,
    Sleep.KILLABLE: State.UNINTERRUPTIBLE,
    Sleep.INTERRUPTIBLE: State.INTERRUPTIBLE,
}


class Deadlock(Exception):
    """Every task waits, and nothing can wake one."""


class Scheduler:
    """The scheduler of a machine; the vCPUs are those of ``kernel.cpus``, in that order.

    ``seed`` gives the lengths of the slices, ``quantum`` their mean. ``counting`` says whether
    instructions are counted: without, slices end where the kernel is entered only. ``on_deadlock``
    is called when every task waits for what cannot come; if it can wake none, that is a Deadlock.
    """

    def __init__(
        self,
        kernel: Kernel,
        vcpus: list[VCpu],
        *,
        seed: int = 0,
        quantum: int = DEFAULT_QUANTUM,
    ) -> None:
        self.kernel = kernel
        self.rqs = [Rq(cpu, vcpu) for cpu, vcpu in zip(kernel.cpus, vcpus, strict=True)]
        self.nr_cpus = len(self.rqs)
        self.counting = all(vcpu.counting for vcpu in vcpus)
        self.quantum = quantum
        self._random = random.Random(f"schedule {seed}")
        self.rq: Rq | None = None
        """The CPU that runs; None: the hub."""
        self.tasks: dict[Thread, None] = {}
        """Those that have not ended."""
        self.stopping = False
        self.nr_syscalls = 0
        self.on_deadlock: Callable[[], None] = lambda: None
        self.before_switch: Callable[[], None] | None = None
        """Called before another CPU has its turn, and before an address space is left."""
        self._hub: greenlet | None = None
        self._now = 0
        self._timers = TimerQueue()
        self._host = HostWatch()
        self._rounds = 0
        self._woken = False
        self.real_time = False
        """Time passes as at the host's while all tasks wait: somebody uses a terminal."""
        kernel.scheduler = self
        kernel.now_ns = self.now_ns

    # Time.

    def now_ns(self) -> int:
        """Virtual time, nanoseconds since the machine was made: a nanosecond an instruction.

        The CPUs go on side by side, so it is the time of the one that is furthest on. It never
        goes back.
        """
        rq = self.rq
        if rq is not None:
            now = self._time_of(rq)
            if now > self._now:
                self._now = now if now < LATEST_NS else LATEST_NS
        return self._now

    def _time_of(self, rq: Rq) -> int:
        instructions = rq.vcpu.instructions
        return rq.ahead_ns + (
            self.nr_syscalls * SYSCALL_NS if instructions is None else instructions
        )

    def add_timer(self, when_ns: int, function: Callable[[], None]) -> int:
        """Call ``function``, which does not wait, at that virtual time; returns a number for
        del_timer().
        """
        number = self._timers.add(when_ns, function)
        if self.rq is not None and self.counting:
            left = when_ns - self.now_ns()
            self.rq.slice_end = min(
                self.rq.slice_end, (self.rq.vcpu.instructions or 0) + max(left, 0)
            )
        return number

    def del_timer(self, number: int) -> None:
        """Forget a timer, whether it has fired or not."""
        self._timers.remove(number)

    def run_timers(self) -> bool:
        """Call what is due; whether anything was."""
        return bool(self._timers) and self._timers.run(self.now_ns())

    # Tasks.

    def add(self, task: Thread) -> None:
        """Start a task: it runs ``main()`` when its turn comes (wake_up_new_task())."""
        task.greenlet = greenlet(self._body(task), parent=self._hub or getcurrent())
        self.tasks[task] = None
        self._enqueue(task)

    def _body(self, task: Thread) -> Callable[[], None]:
        def body() -> None:
            task.main()
            self._end(task)

        return body

    def _end(self, task: Thread) -> None:
        """The task on this CPU is over: its greenlet ends after this."""
        rq = task.rq
        assert rq is not None and rq.curr is task
        self._charge(rq)
        task.state = State.DEAD
        self.tasks.pop(task, None)
        rq.curr = rq.loaded = task.context = None

    @property
    def current(self) -> Thread | None:
        """The task that runs; None in the hub."""
        return None if self.rq is None else self.rq.curr

    def _enqueue(self, task: Thread) -> None:
        """Give it to the CPU it ran on last if that is idle, else to an idle one, else to the one
        with the least to do (select_task_rq()).
        """
        allowed = [rq for rq in self.rqs if task.cpus_allowed >> rq.cpu.id & 1] or self.rqs
        last = task.rq if task.rq in allowed else None
        if last is not None and not last.nr_running:
            best = last
        else:
            best = min(allowed, key=lambda rq: (rq.nr_running, rq is not last, rq.cpu.id))
        best.queue.append(task)
        self._woken = True
        self._shorten_slice(best)

    def _shorten_slice(self, rq: Rq) -> None:
        """Somebody else may run: the slice that is under way, if it had no end, gets one."""
        running = self.rq
        if running is not None and self.counting:
            end = (running.vcpu.instructions or 0) + self.quantum
            running.slice_end = min(running.slice_end, end)

    def wake(self, task: Thread) -> bool:
        """Have a sleeping task run on; whether it slept (try_to_wake_up())."""
        if task.state not in (State.INTERRUPTIBLE, State.UNINTERRUPTIBLE):
            return False
        self._activate(task)
        return True

    def _activate(self, task: Thread) -> None:
        """It may run: on the CPU that has not looked since it went to sleep, or wherever it is
        given to.
        """
        task.state = State.RUNNING
        if task.rq is not None and task.rq.curr is task:
            self._woken = True
        else:
            self._enqueue(task)

    def wake_signalled(self, task: Thread) -> None:
        """A signal was sent to the task: wake it if it sleeps so (signal_wake_up())."""
        if task.state is State.INTERRUPTIBLE or task.fatal_signal_pending():
            self.wake(task)

    def renumbered(self, task: Thread) -> None:
        """The task, which runs, has another PID now."""
        rq = task.rq
        assert rq is not None
        rq.cpu.run_task(task.pid, rq.ahead_ns)

    def set_cpus_allowed(self, task: Thread, mask: int) -> None:
        """Let it run on these CPUs only: the task that runs is there when this returns, others
        from their next turn on.
        """
        task.cpus_allowed = mask
        rq = task.rq
        if rq is not None and rq is self.rq and rq.curr is task and not mask >> rq.cpu.id & 1:
            self._to_hub()
        for rq in self.rqs:
            if task in rq.queue and not mask >> rq.cpu.id & 1:
                rq.queue.remove(task)
                self._enqueue(task)

    # What kernel code asks: mmu.linux.sched.Scheduler.

    def spin_until(self, ready: Callable[[], bool], what: str) -> bool:
        """Wait on this CPU until ``ready()``; see mmu.linux.sched."""
        if ready():
            return True
        rq = self.rq
        if rq is None or rq.curr is None or getcurrent() is not rq.curr.greenlet:
            return False
        rq.spins, rq.spins_for = ready, what
        rq.cpu.interrupt()
        self._to_hub()
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
        """Sleep in ``queue`` until ``ready()``; see mmu.linux.sched."""
        if ready():
            return 0
        task = self.current
        if task is None:
            return -ERESTARTSYS
        deadline = None if timeout_ns is None else min(self.now_ns() + timeout_ns, LATEST_NS)
        timer = None if deadline is None else self.add_timer(deadline, lambda: self._time_out(task))
        try:
            while True:
                if self._is_interrupted(task, sleep):
                    return -ERESTARTSYS
                if deadline is not None and self.now_ns() >= deadline:
                    return -errno.ETIME
                queue.waiters.append(task)
                try:
                    self._sleep(task, sleep, what)
                finally:
                    if task in queue.waiters:
                        queue.waiters.remove(task)
                if ready():
                    return 0
        finally:
            if timer is not None:
                self.del_timer(timer)

    def _is_interrupted(self, task: Thread, sleep: Sleep) -> bool:
        if sleep is Sleep.UNINTERRUPTIBLE:
            return False
        if self.stopping or task.fatal_signal_pending():
            return True
        return sleep is Sleep.INTERRUPTIBLE and task.signal_pending()

    def _time_out(self, task: Thread) -> None:
        self.wake(task)

    def wake_up(self, queue: WaitQueue, nr: int | None = None) -> int:
        """Have the first ``nr`` sleepers look again; see mmu.linux.sched."""
        woken = 0
        while queue.waiters and (nr is None or woken < nr):
            task = queue.waiters.pop(0)
            assert isinstance(task, Thread)
            woken += self.wake(task)
        return woken

    def kick(self, cpu: Interruptible) -> None:
        """Interrupts are taken at once by a CPU that is idle or spins, else at its slice's end."""
        for rq in self.rqs:
            if rq.cpu is cpu and rq is not self.rq and not rq.in_guest:
                cpu.interrupt()

    def stop_task(self, task: Thread, ready: Callable[[], bool], what: str) -> None:
        """Stop the task that runs, as SIGSTOP does, until ``ready()`` after a resume()."""
        while not ready() and not self.stopping:
            task.state, task.waits_for = State.STOPPED, what
            self._to_hub()
        task.waits_for = ""

    def resume(self, task: Thread) -> None:
        """Have a stopped task look whether it may go on."""
        if task.state is State.STOPPED:
            self._activate(task)

    def wait_host(self, fd: int, events: int, what: str) -> int:
        """Sleep, interruptibly, until poll() of the host's descriptor has one of ``events``.

        Returns 0, or -ERESTARTSYS. The others go on meanwhile.
        """
        queue = WaitQueue(what)
        unwatch = self.watch_host(fd, events, lambda: self.wake_up(queue))
        try:
            return self.wait_event(
                queue, lambda: host_ready(fd, events), what, sleep=Sleep.INTERRUPTIBLE
            )
        finally:
            unwatch()

    def watch_host(
        self,
        fd: int,
        events: int,
        function: Callable[[], object],
        *,
        background: bool = False,
    ) -> Callable[[], None]:
        """Call ``function``, which does not wait, now and then as long as poll() of the host's
        descriptor has one of ``events``; returns what ends it. ``background``: no task waits for
        it.
        """
        return self._host.add(fd, events, function, background=background)

    def stop(self) -> None:
        """Have every task end soon; safe from any thread and from signal handlers."""
        self.stopping = True
        for rq in self.rqs:
            rq.vcpu.stop()

    # Between tasks and hub.

    def _sleep(self, task: Thread, sleep: Sleep, what: str) -> None:
        task.state, task.waits_for = _STATE_OF[sleep], what
        task.nvcsw += 1
        self._to_hub()
        task.waits_for = ""

    def _to_hub(self) -> None:
        assert self._hub is not None
        self._hub.switch()

    def end_slice_if_over(self, task: Thread) -> None:
        """The task that runs is about to go on with guest code: others first, if its slice is
        over.
        """
        rq = task.rq
        assert rq is not None
        if rq.count[0] >= rq.slice_end and self.counting:
            self._end_slice(rq, task)

    def user_slice(self, task: Thread, due: int, look: int = NEVER) -> int:
        """Run guest code of the task that runs, to the end of its slice, or until the vCPU's count
        is ``due`` (NEVER: nothing is), or until the kernel is needed; returns the exit's reason,
        whose other fields are the vCPU's ``exit``. It is back soon after the count is ``look``, and
        before anything changes that the kernel sees.
        """
        rq = task.rq
        assert rq is not None
        vcpu = rq.vcpu
        if not self.counting:
            return vcpu.enter(U64)
        rq.due, rq.look = due, look
        end = rq.slice_end
        reason = vcpu.enter(due if due < end else end, look)
        if reason != _LIMIT or not self._others_run(rq) or not self._is_slice_over(rq):
            return reason
        rq.goes_on = task
        self._tick(rq)
        self._to_hub()
        if rq.goes_on is not task:
            return _LIMIT
        rq.goes_on = None
        return int(vcpu.exit.reason)

    def _is_slice_over(self, rq: Rq) -> bool:
        """The slice is over, and nothing is due for its task."""
        return rq.slice_end <= rq.count[0] < min(rq.due, rq.look)

    def _go_on(self, rq: Rq) -> bool:
        """Let the task that is in guest code on this CPU execute another slice, if nobody else
        wants the CPU, and the task needs no kernel code; the slice's end is done. The task's own
        greenlet stays where user_slice() left it, and is not switched to. False: it must be.
        """
        task = rq.goes_on
        if task is None:
            return False
        if (
            rq.curr is not task
            or rq.queue
            or task.state is not State.RUNNING
            or task.work_pending()
            or not task.cpus_allowed >> rq.cpu.id & 1
        ):
            rq.goes_on = None
            return False
        self._begin_slice(rq)
        self.rq = rq
        try:
            reason = rq.vcpu.enter(min(rq.slice_end, rq.due), rq.look)
            if reason == _LIMIT and self._is_slice_over(rq):
                self._tick(rq)
                return True
        finally:
            self.now_ns()
            self.rq = None
        self._resume(rq)
        return True

    def entered_kernel(self) -> None:
        """A system call was made: it takes its share of the slice."""
        self.nr_syscalls += 1
        rq = self.rq
        if rq is not None:
            rq.slice_end -= SYSCALL_SHARE
            if not self.counting:
                self.run_timers()
                if self._others_run(rq):
                    assert rq.curr is not None
                    self._end_slice(rq, rq.curr)

    def yield_(self) -> None:
        """sched_yield(): the slice ends now."""
        rq = self.rq
        if rq is not None and rq.curr is not None and self._others_run(rq):
            self._end_slice(rq, rq.curr)

    def _end_slice(self, rq: Rq, task: Thread) -> None:
        """The tick, then the others' turn."""
        self._tick(rq)
        if self._others_run(rq) or self._timers or self._host:
            task.nivcsw += bool(rq.queue)
            self._to_hub()
        else:
            self._begin_slice(rq)

    def _tick(self, rq: Rq) -> None:
        """The end of a slice: interrupts, a quiescent state of RCU, timers."""
        rq.cpu.interrupt()
        rcu_qs(self.kernel, rq.cpu)
        self.run_timers()

    def _others_run(self, rq: Rq) -> bool:
        """Whether anybody but the task on this CPU could go on now."""
        for other in self.rqs:  # noqa: SIM110 - asked for each slice, and any() takes twice as long
            if other.queue or (other.curr is not None and other is not rq):
                return True
        return False

    def _begin_slice(self, rq: Rq) -> None:
        if not self.counting:
            return
        length = NEVER
        if self._others_run(rq):
            length = 1 + int(self._random.random() * (2 * self.quantum - 1))
        if self._timers:
            length = min(length, max(1, self._timers.next_ns - self.now_ns()))
        if self._host:
            length = min(length, HOST_SLICE)
        rq.slice_end = (rq.vcpu.instructions or 0) + length

    # The hub.

    def run(self) -> None:
        """Run until no task is left. Raises Deadlock, and what a task's kernel code raised."""
        self._hub = getcurrent()
        for task in self.tasks:
            assert task.greenlet is not None
            task.greenlet.parent = self._hub
        while self.tasks:
            self._rounds += 1
            self._woken = False
            progress = False
            for rq in self.rqs:
                progress |= self._turn(rq)
            if self._host and self._rounds % HOST_POLL_ROUNDS == 0:
                self._host.poll(0)
            if self.stopping:
                self._wake_all()
            if not progress and not self._woken and not self._a_spin_is_over():
                self._nothing_runs()

    def _a_spin_is_over(self) -> bool:
        """Whether a CPU that spins may go on: one whose turn came later has made it so."""
        return any(rq.spins is not None and rq.spins() for rq in self.rqs)

    def _nothing_runs(self) -> None:
        """All wait: for time, which then passes; for the host; or for ever."""
        if self.real_time or self._host.awaited:
            self._wait_for_host()
        elif self._timers:
            self._now = max(self._now, self._timers.next_ns)
            self.run_timers()
        else:
            self.on_deadlock()
            if not self._woken:
                raise Deadlock("; ".join(self.waits()))

    def _wait_for_host(self) -> None:
        """Input may come: the next timer, if there is one, is as far away as at the host."""
        if not self._timers:
            self._host.poll(HOST_POLL_MS)
            return
        left = max(self._timers.next_ns - self._now, 0)
        began = time.monotonic_ns()
        self._host.poll(min(HOST_POLL_MS, -(-left // MILLISECOND)))
        self._now += min(time.monotonic_ns() - began, left)
        self.run_timers()

    def waits(self) -> Iterator[str]:
        """What each task waits for, in words."""
        for rq in self.rqs:
            if rq.spins is not None:
                yield f"CPU {rq.cpu.id} spins for {rq.spins_for}"
        for task in sorted(self.tasks, key=str):
            if task.waits_for:
                yield f"{task} waits for {task.waits_for}"

    def _wake_all(self) -> None:
        for task in self.tasks:
            if task.state in (State.INTERRUPTIBLE, State.UNINTERRUPTIBLE):
                self.wake(task)
            else:
                self.resume(task)

    def _turn(self, rq: Rq) -> bool:
        """One CPU's turn; whether anything went on there."""
        if self.before_switch is not None:
            self.before_switch()
        self.kernel.this_cpu = rq.cpu
        if rq.goes_on is not None and self._go_on(rq):
            return True
        if not rq.in_guest:
            rq.cpu.interrupt()
        if rq.spins is not None:
            if not rq.spins():
                return False
            rq.spins = None
        elif not self._schedule(rq):
            return False
        self._resume(rq)
        return True

    def _schedule(self, rq: Rq) -> bool:
        """Find who runs on this CPU now; False: it is idle."""
        task = rq.curr
        if task is not None and task.state is not State.RUNNING:
            self._charge(rq)
            task = rq.curr = None
        if task is not None and not task.cpus_allowed >> rq.cpu.id & 1:
            rq.curr = None
            self._enqueue(task)
            task = None
        if task is not None and rq.queue:
            rq.queue.append(task)
            task = rq.curr = None
        if task is None:
            if not rq.queue:
                self._pull(rq)
            if not rq.queue:
                self._idle(rq)
                return False
            task = rq.queue.popleft()
            self.context_switch(rq, task)
        self._begin_slice(rq)
        return True

    def _pull(self, rq: Rq) -> None:
        """Take a task that waits for its turn on the busiest other CPU (newidle_balance())."""
        bit = 1 << rq.cpu.id
        for other in sorted(self.rqs, key=lambda other: (-other.nr_running, other.cpu.id)):
            if other is rq or other.nr_running < 2:
                continue
            for task in other.queue:
                if task.cpus_allowed & bit:
                    other.queue.remove(task)
                    rq.queue.append(task)
                    return

    def _idle(self, rq: Rq) -> None:
        """Nobody to run here: the last address space stays loaded, with a lazy TLB."""
        if rq.cpu.current_pid:
            self._switch(rq, 0)
        enter_lazy_tlb(self.kernel)
        rcu_qs(self.kernel, rq.cpu, idle=True)

    def halt(self) -> None:
        """No CPU runs anything any more: all are idle, and what waits for RCU is freed."""
        for rq in self.rqs:
            rq.curr = rq.loaded = rq.spins = None
            self.kernel.this_cpu = rq.cpu
            self._idle(rq)
        rcu_barrier(self.kernel)

    def context_switch(self, rq: Rq, task: Thread) -> None:
        """Registers and address space of ``task`` onto this CPU (context_switch())."""
        rq.ahead_ns += max(0, self._now - self._time_of(rq))
        if rq.loaded is not task:
            if rq.loaded is not None:
                self._save(rq)
            if task.rq is not None and task.rq.loaded is task:
                self._save(task.rq)
            if task.context is not None:
                rq.vcpu.load_context(task.context)
            rq.loaded = task
            rq.began = rq.vcpu.instructions or 0
        rq.curr, task.rq = task, rq
        self._switch(rq, task.pid)
        rcu_qs(self.kernel, rq.cpu)
        self.load_mm(rq, task.mm)

    def _switch(self, rq: Rq, pid: int) -> None:
        """From the task that this CPU ran to another; 0: its idle task."""
        ring, prev = self.kernel.ring, rq.cpu.current_pid
        if ring is not None and prev != pid:
            ring.emit(_SCHED_SWITCH, prev, pid)
        rq.cpu.run_task(pid, rq.ahead_ns)

    def load_mm(self, rq: Rq, mm: Mm | None) -> None:
        """Load the address space of the task that runs there."""
        if self.before_switch is not None:
            self.before_switch()
        if rq.curr is not None and rq.curr.exited_mm:
            enter_lazy_tlb(self.kernel)
        elif mm is not None:
            switch_mm(self.kernel, mm)
            rq.vcpu.set_mm(mm)

    def _save(self, rq: Rq) -> None:
        task = rq.loaded
        assert task is not None
        self._charge(rq)
        task.context = rq.vcpu.save_context(task.context)
        rq.loaded = None

    def _charge(self, rq: Rq) -> None:
        """Count what was executed here since the last time for the task whose registers it has."""
        done = rq.vcpu.instructions or 0
        if rq.loaded is not None:
            rq.loaded.charge(done - rq.began)
        rq.began = done

    def executed(self, task: Thread) -> int:
        """Instructions that the task has executed, up to now."""
        rq = task.rq
        if rq is None or rq.loaded is not task:
            return task.instructions
        return task.instructions + (rq.vcpu.instructions or 0) - rq.began

    def instruction_pointer(self, task: Thread) -> int:
        """Where the guest code of the task goes on: RIP."""
        rq = task.rq
        if rq is not None and rq.loaded is task:
            return rq.vcpu.rip
        return 0 if task.context is None else int(task.context.get_regs().ip)

    def _resume(self, rq: Rq) -> None:
        self.rq = rq
        task = rq.curr
        assert task is not None and task.greenlet is not None
        task.resumed()
        try:
            task.greenlet.switch()
        finally:
            self.now_ns()
            self.rq = None
