# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of one test, kept in memory."""

from __future__ import annotations

from mmu._native import ffi, lib
from mmu.events import Event, EventRing

RECORDS = 1 << 16


class Recorder:
    """A ring that is switched on, and the events read from it. When the ring is full, its older
    half is forgotten: ``forgotten`` counts those.
    """

    def __init__(self, records: int = RECORDS) -> None:
        self.ring = EventRing(records, on_full=self._forget)
        self.ring.enable()
        self.forgotten = 0
        self._room = records
        self._events: list[Event] = []

    def _forget(self, ring: EventRing) -> None:
        half = self._room // 2
        unread = ffi.new("struct event[]", half)
        self.forgotten += int(lib.ring_read(ring.c, unread, half))
        self.forgotten += len(self._events)
        self._events.clear()

    def events(self) -> list[Event]:
        """All events since clear(), oldest first, but for those forgotten."""
        self._events += self.ring.read()
        return self._events

    def clear(self) -> None:
        """Forget all events so far."""
        self.ring.read()
        self._events = []
        self.forgotten = 0
