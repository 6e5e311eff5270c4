# SPDX-License-Identifier: GPL-2.0-or-later
"""Readiness of files, and who hears of its changes (include/linux/poll.h, fs/select.c, v6.18).

::

    PollHead       a file's wait_queue_head_t: tasks that read or write, and listeners
    poll_wait()    a task sleeps on many files at once: it listens to each
    EventPoll      listens for as long as a file is in its set (cpu.fs.eventpoll)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from mmu.linux.sched import Sleep, WaitQueue

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler

POLLIN: Final = 0x1
POLLPRI: Final = 0x2
POLLOUT: Final = 0x4
POLLERR: Final = 0x8
POLLHUP: Final = 0x10
POLLNVAL: Final = 0x20
POLLRDNORM: Final = 0x40
POLLRDBAND: Final = 0x80
POLLWRNORM: Final = 0x100
POLLWRBAND: Final = 0x200
POLLRDHUP: Final = 0x2000
READABLE: Final = POLLIN | POLLRDNORM
WRITABLE: Final = POLLOUT | POLLWRNORM
DEFAULT_POLLMASK: Final = READABLE | WRITABLE
"""What poll() of a file says that is always ready."""

Listener = Callable[[int], None]
"""Hears that some of these events may have come; does not wait."""


class PollHead:
    """Where tasks wait for one side of a file, and who listens to it; ``name`` for reports."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.queue = WaitQueue(name)
        self._listeners: list[Listener] = []

    def wake(self, events: int) -> None:
        """``events`` may be so now: whoever waits looks again (wake_up_poll())."""
        self.scheduler.wake_up(self.queue)
        for listener in list(self._listeners):
            listener(events)

    def wait(self, ready: Callable[[], bool], what: str, timeout_ns: int | None = None) -> int:
        """Sleep, interruptibly, until ``ready()``; 0, -ERESTARTSYS, or -ETIME after ``timeout_ns``
        nanoseconds of virtual time.
        """
        return self.scheduler.wait_event(
            self.queue, ready, what, sleep=Sleep.INTERRUPTIBLE, timeout_ns=timeout_ns
        )

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` called by each wake(); returns what ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


def poll_wait(
    scheduler: Scheduler,
    listen: Iterable[Callable[[Listener], Callable[[], None]]],
    ready: Callable[[], bool],
    what: str,
    timeout_ns: int | None,
) -> int:
    """Sleep, interruptibly, until ``ready()``, which is asked after each event that one of the
    files tells of; ``listen`` has their listen() methods.

    Returns 0, -ERESTARTSYS, or -ETIME after ``timeout_ns`` nanoseconds of virtual time.
    """
    queue = WaitQueue(what)
    with ExitStack() as ends:
        for one in listen:
            ends.callback(one(lambda _events: _wake(scheduler, queue)))
        return scheduler.wait_event(
            queue, ready, what, sleep=Sleep.INTERRUPTIBLE, timeout_ns=timeout_ns
        )


def _wake(scheduler: Scheduler, queue: WaitQueue) -> None:
    scheduler.wake_up(queue)
