# SPDX-License-Identifier: GPL-2.0-or-later
"""Timers on virtual time: what is due when; the scheduler asks."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from cpu.clock import LATEST_NS


class TimerQueue:
    """Functions to be called at times, nanoseconds since the machine was made; those of one time in
    the order in which they were added.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._heap)

    @property
    def next_ns(self) -> int:
        """When the first is due. IndexError if none waits."""
        return self._heap[0][0]

    def add(self, when_ns: int, function: Callable[[], None]) -> int:
        """Have ``function`` called at that time, LATEST_NS at the latest; returns its number."""
        number = next(self._numbers)
        heapq.heappush(self._heap, (min(when_ns, LATEST_NS), number, function))
        return number

    def remove(self, number: int) -> None:
        """Forget one, whether it has fired or not."""
        if any(timer[1] == number for timer in self._heap):
            self._heap = [timer for timer in self._heap if timer[1] != number]
            heapq.heapify(self._heap)

    def run(self, now_ns: int) -> bool:
        """Call what is due by then; whether anything was."""
        fired = False
        while self._heap and self._heap[0][0] <= now_ns:
            heapq.heappop(self._heap)[2]()
            fired = True
        return fired
