# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers that a program asks for: on virtual time, and on the time that it has executed.

::

    HrTimer     CLOCK_REALTIME, CLOCK_MONOTONIC     Scheduler.add_timer()     kernel/time/hrtimer.c
    CpuTimer    CPU time of a task or a process     looked at when guest code stops
                                                                   kernel/time/posix-cpu-timers.c

CPU time is instructions, one a nanosecond, as virtual time is (cpu.usage).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cpu.clock import LATEST_NS

if TYPE_CHECKING:
    from cpu.scheduler import Scheduler


class Timer(Protocol):
    """What expires at a time of its own clock."""

    def now(self) -> int:
        """Its clock, nanoseconds."""

    def start(self, when: int) -> None:
        """Expire at that time, or at once if it is past; only then."""

    def cancel(self) -> None:
        """Do not expire."""

    @property
    def expires(self) -> int | None:
        """When it will; None if it will not."""

    @property
    def expired_at(self) -> int:
        """The time that it expired for last."""


class HrTimer:
    """Calls ``function``, which does not wait, once virtual time is there."""

    def __init__(self, scheduler: Scheduler, function: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._function = function
        self._number: int | None = None
        self._expires = 0

    @property
    def expired_at(self) -> int:
        """The time that it was started for last."""
        return self._expires

    def now(self) -> int:
        """Virtual time."""
        return self._scheduler.now_ns()

    @property
    def expires(self) -> int | None:
        """When it will call; None: it was not started, or has called."""
        return None if self._number is None else self._expires

    def start(self, when: int) -> None:
        """Call at ``when``."""
        self.cancel()
        self._expires = min(when, LATEST_NS)
        self._number = self._scheduler.add_timer(self._expires, self._expire)

    def cancel(self) -> None:
        """Do not call."""
        if self._number is not None:
            self._scheduler.del_timer(self._number)
            self._number = None

    def _expire(self) -> None:
        self._number = None
        self._function()


class CpuTimer:
    """Calls ``function`` once ``cpu_time()`` is there, nanoseconds.

    ``queue`` are the timers that are looked at (Process.cpu_timers); it is in there while it runs.
    """

    def __init__(
        self, queue: list[CpuTimer], cpu_time: Callable[[], int], function: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._cpu_time = cpu_time
        self._function = function
        self._expires: int | None = None
        self.expired_at = 0
        """The time that it was started for last."""

    def now(self) -> int:
        """The CPU time."""
        return self._cpu_time()

    @property
    def expires(self) -> int | None:
        """When it will call; None: never."""
        return self._expires

    @property
    def left(self) -> int:
        """CPU time until then."""
        assert self._expires is not None
        return self._expires - self._cpu_time()

    def start(self, when: int) -> None:
        """Call when that much has been used."""
        self.cancel()
        self._expires = self.expired_at = when
        self._queue.append(self)

    def cancel(self) -> None:
        """Do not call."""
        if self._expires is not None:
            self._expires = None
            self._queue.remove(self)

    def expire(self) -> None:
        """It is time."""
        self.cancel()
        self._function()


def run_cpu_timers(queue: list[CpuTimer]) -> None:
    """Call those whose time has come (run_posix_cpu_timers())."""
    for timer in [timer for timer in queue if timer.left <= 0]:
        timer.expire()


@dataclass
class Itimer:
    """One of a process's three interval timers: ``incr`` nanoseconds from one to the next, 0: it
    expires once.
    """

    timer: Timer
    incr: int = 0


@dataclass
class PosixTimer:
    """struct k_itimer, of timer_create(): ``signo`` 0 sends nothing. ``tid`` is whom it is sent
    to, 0: the process. ``realtime``: its times are told as CLOCK_REALTIME's.

    ``overrun`` is what the last delivered one missed; ``queued``: its signal waits.
    """

    number: int
    clock: int
    signo: int
    value: int
    tid: int
    realtime: bool
    timer: Timer = field(init=False)
    interval: int = 0
    overrun: int = 0
    queued: bool = False
