# SPDX-License-Identifier: GPL-2.0-or-later
"""How kernel code waits: what it asks of whoever decides which CPU and which task runs next.

::

    spin_until()     this CPU waits: a spinlock, IPIs to be acknowledged      the task stays on it
    wait_event()     this task waits: mmap_lock, a pipe, a futex              the CPU runs others
    wake_up()        those who wait in a queue look again
    kick()           a CPU got an interprocessor interrupt

``Kernel.scheduler`` is who is asked. Without a machine around it, in unit tests of the mm, that is
Alone: one thing happens at a time, so a wait that is not over at once is never over.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

ERESTARTSYS: Final = 512
"""Not an errno that user space sees: the system call is made again after a signal's handler, or
ends in EINTR (include/linux/errno.h).
"""

ERESTARTNOINTR: Final = 513
"""The same, and it is always made again."""


class Sleep(Enum):
    """What ends a sleep besides that for which it waits (TASK_* of include/linux/sched.h)."""

    UNINTERRUPTIBLE = 0
    KILLABLE = 1
    """A signal that ends the process, and the end of the run."""
    INTERRUPTIBLE = 2
    """Any signal that is not blocked."""


class WaitQueue:
    """wait_queue_head_t: a place where tasks wait until something is so; ``name`` for reports.

    ``waiters`` are whatever the scheduler put there, in the order in which they came.
    """

    __slots__ = ("name", "waiters")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiters: list[object] = []

    def __repr__(self) -> str:
        return f"<WaitQueue {self.name}, {len(self.waiters)} waiting>"


class Interruptible(Protocol):
    """A CPU, as far as interrupts go."""

    def interrupt(self) -> None:
        """Run the calls that wait for this CPU, if its interrupts are on."""


class Scheduler(Protocol):
    """Who decides which CPU, and which task on it, runs next."""

    def spin_until(self, ready: Callable[[], bool], what: str) -> bool:
        """Wait on this CPU until ``ready()``; meanwhile the other CPUs go on. False: nobody can
        make it so. ``what`` is waited for, in words.

        The task stays on its CPU, which acknowledges interrupts if they are on.
        """

    def wait_event(
        self,
        queue: WaitQueue,
        ready: Callable[[], bool],
        what: str,
        *,
        sleep: Sleep = Sleep.UNINTERRUPTIBLE,
        timeout_ns: int | None = None,
    ) -> int:
        """Sleep in ``queue`` until ``ready()``, which is asked at once and after each wake_up().

        No spinlock is held and no RCU read section entered. Returns 0; -ERESTARTSYS if what ends
        such a ``sleep`` came first; or -ETIME after ``timeout_ns`` nanoseconds of virtual time.
        """

    def wake_up(self, queue: WaitQueue, nr: int | None = None) -> int:
        """Have the first ``nr`` sleepers of the queue (None: all) look again; returns how many."""

    def kick(self, cpu: Interruptible) -> None:
        """``cpu`` has calls waiting (mmu.linux.smp): have it run them when it can."""


class Alone:
    """The scheduler where there is nothing to schedule: nobody else runs."""

    def spin_until(self, ready: Callable[[], bool], what: str) -> bool:
        """Whether it is so already."""
        return ready()

    def wait_event(
        self,
        queue: WaitQueue,
        ready: Callable[[], bool],
        what: str,
        *,
        sleep: Sleep = Sleep.UNINTERRUPTIBLE,
        timeout_ns: int | None = None,
    ) -> int:
        """Return 0 if it is so already, else -ERESTARTSYS: it will never be."""
        return 0 if ready() else -ERESTARTSYS

    def wake_up(self, queue: WaitQueue, nr: int | None = None) -> int:
        """Nobody sleeps."""
        return 0

    def kick(self, cpu: Interruptible) -> None:
        """Let the CPU run its calls at once, if its interrupts are on: nothing else runs on it."""
        cpu.interrupt()
