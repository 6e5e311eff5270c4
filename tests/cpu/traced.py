# SPDX-License-Identifier: GPL-2.0-or-later
"""Who records every event of a vCPU, however many they are."""

from __future__ import annotations

import numpy as np

from mmu._native import ffi
from mmu.events import EVENT_ID, EventRing

_RECORD = np.dtype(
    [
        ("id", "u1"), ("cpu", "u1"), ("site", "<u2"), ("task", "<u4"), ("instruction", "<u8"),
        ("time", "<u8"), ("a", "<u8"), ("b", "<u8"), ("c", "<u8"), ("d", "<u8"),
    ]
)  # fmt: skip
"""struct event of native/trace/ring.h."""


class Recorder:
    """Takes all records out of its ring: when that is full, and when asked."""

    def __init__(self, capacity: int = 1 << 14) -> None:
        self.ring = EventRing(capacity, on_full=self._take)
        self.ring.enable()
        self._taken: list[np.ndarray] = []

    def _take(self, ring: EventRing) -> None:
        c = ring.c
        size = c.capacity * _RECORD.itemsize
        records = np.frombuffer(memoryview(ffi.buffer(c.records, size)), _RECORD)
        numbers = np.arange(c.tail, c.head, dtype=np.uint64) & np.uint64(c.capacity - 1)
        self._taken.append(records[numbers])
        c.tail = c.head

    def records(self) -> np.ndarray:
        """Every record since the ring was made, as a structured array."""
        self._take(self.ring)
        assert self.ring.lost == 0
        self._taken = [np.concatenate(self._taken)]
        return self._taken[0]

    def check(self, executed: int) -> None:
        """Each executed instruction is told, in order; at most the next one besides, if it was
        refused.
        """
        insns = self.records()[self.records()["id"] == EVENT_ID["insn"]]
        numbers = insns["instruction"]
        assert (np.diff(numbers.astype(np.int64)) >= 0).all()
        assert np.array_equal(np.unique(numbers[numbers < executed]), np.arange(executed))
        assert not len(numbers) or numbers[-1] <= executed
