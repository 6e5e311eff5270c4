# SPDX-License-Identifier: GPL-2.0-or-later
"""From the event ring to a file, by a thread of its own."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import EVENT_ID, EventRing
from mmu.trace.format import TraceError
from mmu.trace.sink import Limits, Sink
from mmu.trace.where import ALL, Around, From, Ranges, Where

if TYPE_CHECKING:
    from mmu._native import struct_recorder_ptr

RECORDS: Final = 1 << 16
"""Events of a segment, and so of a chunk."""
SEGMENTS: Final = 4

OnError = Callable[[OSError], object]


class _RecordedRing(EventRing):
    """The ring of a recorder, which must outlive it."""

    def __init__(self, capacity: int, segments: int) -> None:
        super().__init__(capacity, on_full=lambda _ring: self.begin())
        recorder = lib.recorder_create(self.c, segments)
        if recorder == ffi.NULL:
            raise MmuError(f"no host memory for {segments} segments of {capacity} records")
        self.recorder = ffi.gc(recorder, lib.recorder_destroy)
        self._names = [""]
        self.on_begin: Callable[[], object] = lambda: None
        """Starts the thread."""

    def names(self, nr: int) -> list[str]:
        """The names of sites 0 to nr, which segments told of; also on the writing thread."""
        for number in range(len(self._names), nr + 1):
            self._names.append(ffi.string(lib.ring_site_name(self.c, number)).decode())
        return self._names[: nr + 1]

    def begin(self) -> None:
        """Hand segments over from now on, the first at once."""
        self.on_begin()
        lib.recorder_begin(self.recorder)


class _Thread:
    """What the writing thread has: it must not hold the TraceWriter, whose end ends it."""

    def __init__(self, ring: _RecordedRing, sink: Sink, on_error: OnError | None) -> None:
        self.error: OSError | None = None
        self.reported = False
        self._recorder = ring.recorder
        self._sink = sink
        self._on_error = on_error

    def run(self) -> None:
        """Write segments until the recorder stops."""
        while segment := lib.recorder_wait(self._recorder):
            nr, nr_sites, records = segment.nr, segment.nr_sites, segment.records
            self.guard(lambda: self._sink.take(records, nr, nr_sites))  # noqa: B023
            lib.recorder_done(self._recorder)

    def guard(self, write: Callable[[], object]) -> None:
        """Write, unless that failed before; keep the error and tell it once."""
        if self.error is not None:
            return
        try:
            write()
        except OSError as error:
            self.error = error
            if self._on_error is not None:
                self.reported = True
                self._on_error(error)


class TraceWriter:
    """Writes what goes to ``ring`` into a file, until close().

    ``head`` are the parameters of the run: options, ``arrays`` (names of the TLB arrays by number),
    ``cpus``. Give ``ring`` to Memory.record() and to the Machine, and enable() it. A ring that is
    full waits for the writing thread: no event is lost while the file can be written. Make it in
    the process that runs the guest: a fork of that process writes nothing.

    Left out, and counted in ``left_out``, are: events for which ``where`` does not hold (kinds that
    are not in ``where.events`` cost nothing and are not counted); those outside the ``windows``
    (mmu/trace/window.py says what they hold); and all that would make the file longer than
    ``limit`` bytes, but for the notes and the end, or than ``limit_events``. ``code`` is put in the
    place of ``where.code``. Numbers of events in the file count what is in the file.

    If the file cannot be written, recording ends, what is in the file can be read, and ``error`` is
    set; ``on_error`` is told once, on the writing thread, else close() raises.
    """

    def __init__(
        self,
        file: Any,
        head: Mapping[str, Any],
        *,
        where: Where = ALL,
        windows: Sequence[From | Around] = (),
        code: Ranges | None = None,
        limit: int | None = None,
        limit_events: int | None = None,
        on_error: OnError | None = None,
        capacity: int = RECORDS,
        segments: int = SEGMENTS,
    ) -> None:
        """MmuError: capacity is no power of two, an event has no such name, or there is no memory.
        OSError: the file cannot be written.
        """
        if code is not None:
            where = replace(where, code=tuple(code))
        limits = Limits(where, tuple(windows), limit, limit_events)
        for name in where.events | limits.triggers:
            if name not in EVENT_ID:
                raise MmuError(f"there is no event {name!r}")
        self._ring = _RecordedRing(capacity, segments)
        self.ring: EventRing = self._ring
        """What to record to."""
        if where.events:
            for name, number in EVENT_ID.items():
                self.ring.c.unwanted[number] = name not in where.events | limits.triggers
        self._pid = os.getpid()
        self._closed = False
        self._sink = Sink(file, head, limits, capacity, self._ring.names)
        self._thread = _Thread(self._ring, self._sink, on_error)
        self._running = threading.Thread(target=self._thread.run, name="trace-writer", daemon=True)
        self._ring.on_begin = self._running.start
        self._end = weakref.finalize(self, _stop, self._ring.recorder)

    @classmethod
    @contextmanager
    def open(cls, path: str, head: Mapping[str, Any], **how: Any) -> Iterator[TraceWriter]:
        """Write a file of that name, for as long as the context lasts; arguments as of TraceWriter.

        TraceError: the file cannot be made or written.
        """
        try:
            with open(path, "wb") as file:
                writer = cls(file, head, **how)
                try:
                    yield writer
                finally:
                    writer.close()
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}: the trace cannot be written") from None

    @property
    def nr_events(self) -> int:
        """Events so far, those in the ring and those left out too."""
        ring = self.ring.c
        return lib.recorder_given(self._ring.recorder) + ring.head - ring.tail

    @property
    def error(self) -> OSError | None:
        """Why the file could not be written on, None: it could."""
        return self._thread.error

    @property
    def left_out(self) -> dict[str, int]:
        """How many events are not in the file, by reason: filter, window, limit, lost."""
        lost = self.ring.lost
        return {**self._sink.left_out, **({"lost": lost} if lost else {})}

    @property
    def limited(self) -> bool:
        """Whether a limit was reached: the trace ends before the run does."""
        return self._sink.limited

    @property
    def waits(self) -> int:
        """How often the guest had to wait for the writing thread."""
        return lib.recorder_waits(self._ring.recorder)

    def note(self, kind: str, **fields: Any) -> None:
        """Say something of the run that is no event, as of now: ``process`` (pid, comm, mm),
        ``map`` (mm, start, end, flags, offset, file), ``symbols`` (file, functions) and so on.
        """
        self._sink.say(self.nr_events, kind, fields)

    def add_code(self, ranges: Ranges) -> None:
        """Add to ``where.code``, if that is a condition, from now on."""
        self._sink.add_code(self.nr_events, ranges)

    def flush(self) -> None:
        """Have everything up to now in the file; not what a window may yet want."""
        self._flush(last=False)

    def close(self, summary: Mapping[str, Any] | None = None) -> None:
        """Write the rest, and the run's report; close nothing. The ring records no more.

        TraceError: the file could not be written, and nobody was told of it.
        """
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self.ring.enable(False)
        self._flush(last=True)
        self._end()
        if self._running.ident is not None:
            self._running.join()
        report = dict(summary or {})
        if self.left_out:
            report["left_out"] = self.left_out
        self._thread.guard(lambda: self._sink.finish(report))
        if self.error is not None and not self._thread.reported:
            raise TraceError(f"the trace could not be written on: {self.error.strerror}")

    def _flush(self, *, last: bool) -> None:
        if os.getpid() != self._pid:
            return
        ring = self.ring.c
        if ring.head != ring.tail:
            if self._running.ident is None:
                self._ring.begin()
            lib.recorder_hand_over(self._ring.recorder)
            lib.recorder_drain(self._ring.recorder)
        self._thread.guard(lambda: self._sink.flush(last=last))


def _stop(recorder: struct_recorder_ptr) -> None:
    lib.recorder_stop(recorder)
