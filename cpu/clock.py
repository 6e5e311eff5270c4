# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time, as guests are told it: a nanosecond an instruction, and whatever all slept.

Without instruction counting a system call is a microsecond, and nothing else moves the clock.
"""

from __future__ import annotations

from collections.abc import Callable

EPOCH_NS = 1_893_456_000 * 10**9
"""CLOCK_REALTIME when a machine starts: 2030-01-01 00:00:00 UTC, later than the times of files that
a guest is given.
"""
SYSCALL_NS = 1000
"""What a system call takes where instructions are not counted."""
LATEST_NS = (1 << 62) - 1
"""Where the clocks stand still: 146 years on, so that every time fits its 64 bits (the kernel has
KTIME_MAX).
"""


class VirtualClock:
    """The clocks and the time-stamp counter of a machine; ``now_ns`` returns the nanoseconds since
    it started, at most LATEST_NS (Scheduler.now_ns()).
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self._last_tsc = 0

    def realtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        return EPOCH_NS + self.now_ns()

    def until(self, when: int, *, realtime: bool) -> int:
        """Nanoseconds from now to ``when``, 0 if that is past."""
        return max(0, when - (self.realtime_ns() if realtime else self.now_ns()))

    def tsc(self) -> int:
        """The time-stamp counter: a tick a nanosecond, and never the same twice."""
        self._last_tsc = max(self._last_tsc + 1, self.now_ns())
        return self._last_tsc
