# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time: a nanosecond an instruction, and whatever the guest slept.

Without instruction counting a system call is a microsecond, and nothing else moves the clock.
"""

from __future__ import annotations

from collections.abc import Callable

EPOCH_NS = 1_735_689_600 * 10**9
"""CLOCK_REALTIME when a guest starts: 2025-01-01 00:00:00 UTC."""
SYSCALL_NS = 1000
"""What a system call takes where instructions are not counted."""
LATEST_NS = (1 << 62) - 1
"""Where the clocks stand still: 146 years on, so that every time fits its 64 bits (the kernel has
KTIME_MAX).
"""


class VirtualClock:
    """The clocks and the time-stamp counter of a guest; ``elapsed_ns`` tells what it executed, as
    time.
    """

    def __init__(self, elapsed_ns: Callable[[], int]) -> None:
        self._elapsed_ns = elapsed_ns
        self._slept = 0
        self._last_tsc = 0

    def now_ns(self) -> int:
        """Nanoseconds since the guest started, at most LATEST_NS."""
        return min(self._elapsed_ns() + self._slept, LATEST_NS)

    def realtime_ns(self) -> int:
        """Nanoseconds since 1970."""
        return EPOCH_NS + self.now_ns()

    def sleep(self, nanoseconds: int) -> None:
        """Let time pass."""
        self._slept = min(self._slept + nanoseconds, LATEST_NS)

    def sleep_until(self, when: int, *, realtime: bool) -> None:
        """Let time pass until ``when``, if that is to come."""
        self.sleep(max(0, when - (self.realtime_ns() if realtime else self.now_ns())))

    def tsc(self) -> int:
        """The time-stamp counter: a tick a nanosecond, and never the same twice."""
        self._last_tsc = max(self._last_tsc + 1, self.now_ns())
        return self._last_tsc
