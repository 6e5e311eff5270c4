# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of the records of a ring: which are left out, and the blocks of the others.

Nothing in the file depends on when this runs: it is called with whole segments, and what was said
with the ring at a certain event counts from there.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import zstandard

from mmu._native import ffi
from mmu.events import EVENT_ID, EVENTS
from mmu.trace.coder import LEVEL, Encoder
from mmu.trace.filter import Filter, Mask, Records
from mmu.trace.format import (
    FILE_HEADER,
    HEAD,
    INDEX,
    MAGIC,
    NOTES,
    RECORD,
    SITES,
    SUMMARY,
    VERSION,
    block_header,
    event_table,
    json_block,
    roles_of,
    trailer,
)
from mmu.trace.where import Around, From, Ranges, Where
from mmu.trace.window import FromNth, Near

if TYPE_CHECKING:
    from mmu._native import struct_event_ptr

_RESERVE = 4096
"""Bytes kept free below a limit for what comes last, but the index."""
_FEWEST = 256
"""Events of the smallest chunks that are made to fill a file up to its limit."""


@dataclass(frozen=True)
class Limits:
    """What to leave out: see TraceWriter."""

    where: Where
    windows: Sequence[From | Around]
    limit_bytes: int | None
    limit_events: int | None

    @property
    def triggers(self) -> frozenset[str]:
        """Kinds that must be seen to know what to leave out."""
        names = {name for window in self.windows for name in window.kinds}
        return frozenset(names if self.where.code is None else {*names, "insn"})

    @property
    def keep_all(self) -> bool:
        """Whether nothing is left out but kinds that are not recorded at all."""
        kinds = Where(events=self.where.events)
        return kinds == self.where and not self.windows and self.limit_events is None


@dataclass
class _Said:
    """A note, or code that is wanted from now on, before event ``event`` of the ring."""

    event: int
    kind: str
    fields: Mapping[str, Any]


def _numbers(names: Collection[str]) -> list[int]:
    return [EVENT_ID[name] for name in names]


class Sink:
    """Writes blocks to a file. One thread at a time may be in it; say() and add_code() are free."""

    def __init__(
        self,
        file: BinaryIO,
        head: Mapping[str, Any],
        limits: Limits,
        capacity: int,
        sites: Callable[[int], list[str]],
    ) -> None:
        self.left_out: dict[str, int] = {}
        self.written = 0
        """Events in the file."""
        self.taken = 0
        """Events that came so far."""
        self._file = file
        self._limits = limits
        self._sites = sites
        self._nr_sites = 0
        self.limited = False
        """A limit is reached: nothing more is written."""
        self._size = 0
        self._said: deque[_Said] = deque()
        self._notes: list[dict[str, Any]] = []
        self._code: deque[tuple[int, Ranges]] = deque()
        self._blocks: list[int] = []
        self._chunks: list[tuple[int, bytes]] = []
        self._index_size = 0
        self._capacity = capacity
        self._pending: list[Records] = []
        self._nr_pending = 0
        self._zstd = zstandard.ZstdCompressor(level=LEVEL)
        roles = roles_of(EVENTS, [kind["part"] for kind in event_table()])
        self._encoder = Encoder(roles, capacity)
        self._filter = Filter(limits.where, EVENTS, roles)
        self._from = [
            FromNth(_numbers(window.kinds), window.nth)
            for window in limits.windows
            if isinstance(window, From)
        ]
        around = [
            (_numbers(window.kinds), window.instructions)
            for window in limits.windows
            if isinstance(window, Around)
        ]
        self._near = Near(around) if around else None
        self._write(FILE_HEADER.pack(MAGIC, VERSION, 0))
        self._json(HEAD, {**head, "events": event_table()})

    def say(self, event: int, kind: str, fields: Mapping[str, Any]) -> None:
        """Write a note before event number ``event`` of the ring."""
        self._said.append(_Said(event, kind, fields))

    def add_code(self, event: int, ranges: Ranges) -> None:
        """Add to the code that is wanted, from about that event of the ring on."""
        self._code.append((event, ranges))

    def take(self, c_records: struct_event_ptr, nr: int, nr_sites: int) -> None:
        """Take a segment of nr records. OSError: the file cannot be written."""
        first = self.taken
        self.taken += nr
        if self.limited:
            self._leave_out("limit", nr)
            return
        self._know_sites(nr_sites)
        if self._limits.keep_all:
            self._hear(first, nr, None)
            self._chunk(c_records, nr)
            return
        records = np.frombuffer(memoryview(ffi.buffer(c_records, nr * RECORD.itemsize)), RECORD)
        while self._code and self._code[0][0] < first + nr:
            self._filter.add_code(self._code.popleft()[1])
        if self._near is None:
            self._select(first, records, np.ones(nr, dtype=np.bool_))
        else:
            for held in self._near.add(first, records.copy()):
                self._select(held.first, held.records, held.mask)

    def flush(self, *, last: bool = False) -> None:
        """Write what is decided, and what was said up to now; ``last``: nothing follows."""
        if self._near is not None and last:
            for held in self._near.rest():
                self._select(held.first, held.records, held.mask)
        if self._near is None or last:
            self._hear(self.taken, 1, None)
        while self._nr_pending:
            self._write_pending()
        self._write_notes(self.written + 1)
        self._file.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write what comes last."""
        self._blocks.append(self._size)
        self._json(SUMMARY, dict(summary))
        at = self._size
        raw = struct.pack("<QQ", len(self._chunks), len(self._blocks)) + b"".join(
            struct.pack("<QI", offset, len(info)) + info for offset, info in self._chunks
        )
        raw += struct.pack(f"<{len(self._blocks)}Q", *self._blocks)
        stored = self._zstd.compress(raw)
        self._write(block_header(INDEX, len(stored), len(raw), stored) + stored)
        self._write(trailer(at))
        self._file.flush()

    def _select(self, first: int, records: Records, mask: Mask) -> None:
        """Take the records that mask and the filter want, and what was said among them."""
        numbers = np.arange(first, first + len(records), dtype=np.uint64)
        for nth in self._from:
            mask = mask & nth.mask(records)
        filtered = self._filter.mask(records, numbers)
        self._leave_out("window", int((filtered & ~mask).sum()))
        self._leave_out("filter", int((~filtered).sum()))
        mask = mask & filtered
        self._hear(first, len(records), mask)
        kept = records[mask]
        limit = self._limits.limit_events
        room = None if limit is None else limit - self.written - self._nr_pending
        if room is not None and len(kept) > room:
            self._leave_out("limit", len(kept) - room)
            kept = kept[:room]
        if len(kept):
            self._pending.append(kept)
            self._nr_pending += len(kept)
        while self._nr_pending >= self._capacity:
            self._write_pending()
        if room is not None and len(kept) == room and not self.limited:
            while self._nr_pending:
                self._write_pending()
            self._stop()

    def _hear(self, first: int, nr: int, mask: Mask | None) -> None:
        """Number what was said before event first + nr of the ring as the file does."""
        while self._said and self._said[0].event < first + nr:
            said = self._said.popleft()
            before = max(said.event - first, 0)
            if mask is not None:
                before = int(mask[:before].sum())
            number = self.written + self._nr_pending + (0 if self.limited else before)
            self._notes.append({"event": number, "kind": said.kind, **said.fields})

    def _write_notes(self, end: int) -> None:
        """Write the notes of events before number ``end``."""
        nr = sum(1 for note in self._notes if note["event"] < end)
        if nr:
            self._blocks.append(self._size)
            self._json(NOTES, self._notes[:nr])
            del self._notes[:nr]

    def _size_of_notes(self, end: int) -> int:
        """What _write_notes() would write."""
        notes = [note for note in self._notes if note["event"] < end]
        return len(json_block(NOTES, notes, self._zstd)) if notes else 0

    def _write_pending(self) -> None:
        """Write a chunk of what was kept."""
        records = np.concatenate(self._pending)
        self._pending = [records[self._capacity :]]
        records = records[: self._capacity]
        self._nr_pending -= len(records)
        if self.limited:
            self._leave_out("limit", len(records))
        else:
            self._chunk(ffi.from_buffer("struct event[]", records), len(records))

    def _chunk(self, c_records: struct_event_ptr, nr: int) -> None:
        """Write a chunk; near the limit in halves, of which those that fit are written."""
        data, info = self._encoder.chunk(c_records, nr, self.written)
        limit = self._limits.limit_bytes
        size = self._size + len(data) + self._index_size + len(info) + _RESERVE
        if limit is not None and size + self._size_of_notes(self.written + nr) > limit:
            half = nr // 2
            if half < _FEWEST:
                self._leave_out("limit", nr)
                self._stop()
                return
            self._chunk(c_records, half)
            if self.limited:
                self._leave_out("limit", nr - half)
            else:
                self._chunk(ffi.addressof(c_records[half]), nr - half)
            return
        self._write_notes(self.written + nr)
        self._chunks.append((self._size, info))
        self._index_size += len(info)
        self._write(data)
        self.written += nr

    def _stop(self) -> None:
        """Write no more events: the limit is reached."""
        self.limited = True
        for note in self._notes:
            note["event"] = min(note["event"], self.written)
        self._notes.append({"event": self.written, "kind": "limit"})
        self._write_notes(self.written + 1)

    def _know_sites(self, nr: int) -> None:
        """Write the names of the kernel functions if there are new ones."""
        if nr > self._nr_sites:
            self._nr_sites = nr
            names = self._sites(nr)
            self._filter.know_sites(names)
            self._blocks.append(self._size)
            self._json(SITES, names[1:])

    def _leave_out(self, why: str, nr: int) -> None:
        if nr:
            self.left_out[why] = self.left_out.get(why, 0) + nr

    def _json(self, kind: bytes, value: object) -> None:
        self._write(json_block(kind, value, self._zstd))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._size += len(data)
