# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a ring in memory, as a batch of a trace."""

from __future__ import annotations

import numpy as np

from mmu._native import ffi, lib
from mmu.events import EventRing
from mmu.trace.format import RECORD
from mmu.trace.reader import Batch


def batch_of(ring: EventRing | None, first: int = 0) -> Batch:
    """Take every unread record out, the first one's number being ``first``; none may have been
    lost. No ring: an empty batch.
    """
    if ring is None:
        return Batch(np.arange(0, dtype=np.uint64), np.zeros(0, RECORD))
    assert ring.lost == 0, "the ring is too small"
    count = int(ring.c.head - ring.c.tail)
    records = ffi.new("struct event[]", max(count, 1))
    lib.ring_read(ring.c, records, count)
    taken = np.frombuffer(memoryview(ffi.buffer(records)), RECORD)[:count].copy()
    return Batch(np.arange(first, first + count, dtype=np.uint64), taken)
