# SPDX-License-Identifier: GPL-2.0-or-later
"""From the event ring to a file."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zstandard

from mmu._native import ffi, lib
from mmu.events import EVENTS as KINDS
from mmu.events import EventRing
from mmu.trace.format import (
    BLOCK_HEADER,
    EVENTS,
    FILE_HEADER,
    HEAD,
    MAGIC,
    NOTE,
    SITES,
    SUMMARY,
    VERSION,
)
from mmu.trace.where import ALL, Around, From, Where

_RECORDS = 1 << 16


class TraceWriter:
    """Writes what goes to ``ring`` into a file, until close().

    ``head`` are the parameters of the run: options, ``arrays`` (names of the TLB arrays by number),
    ``cpus``. Give ``ring`` to Memory.record() and to the Machine, and enable() it.
    """

    def __init__(
        self,
        file: Any,
        head: Mapping[str, Any],
        *,
        where: Where = ALL,
        windows: Sequence[From | Around] = (),
        code: Sequence[tuple[int, int]] | None = None,
        limit: int | None = None,
        on_error: Callable[[OSError], object] | None = None,
    ) -> None:
        self.limited = False
        self._on_error = on_error
        self._failed = False
        self.ring = EventRing(_RECORDS, on_full=lambda _ring: self.flush())
        self._file = file
        self._zstd = zstandard.ZstdCompressor(level=3)
        self._written = 0
        self._write(FILE_HEADER.pack(MAGIC, VERSION, 0))
        table = [{"name": k.name, "fields": k.fields, "meaning": k.meaning} for k in KINDS]
        self._json(HEAD, {**head, "events": table})

    @property
    def nr_events(self) -> int:
        """Events so far, those in the ring too."""
        return self._written + self.ring.c.head - self.ring.c.tail

    def note(self, kind: str, **fields: Any) -> None:
        """Say something of the run that is no event, as of now: ``process`` (pid, comm, mm),
        ``map`` (pid, start, end, flags, offset, file), ``symbols`` (file, base, functions) and so
        on.
        """
        self._json(NOTE, {"event": self.nr_events, "kind": kind, **fields})

    def flush(self) -> None:
        """Write what the ring holds."""
        ring = self.ring.c
        count = ring.head - ring.tail
        if not count:
            return
        records = ffi.new("struct event[]", count)
        lib.ring_read(ring, records, count)
        self._block(EVENTS, self._written.to_bytes(8, "little") + bytes(ffi.buffer(records)))
        self._written += count

    def close(self, summary: Mapping[str, Any] | None = None) -> None:
        """Write the rest, and the run's report."""
        self.flush()
        self._json(SITES, self.ring.sites()[1:])
        self._json(SUMMARY, dict(summary or {}))
        if not self._failed:
            self._file.flush()

    def add_code(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Code that is wanted lies there too."""

    def _json(self, kind: bytes, value: object) -> None:
        self._block(kind, json.dumps(value).encode())

    def _block(self, kind: bytes, raw: bytes) -> None:
        stored = self._zstd.compress(raw)
        header = BLOCK_HEADER.pack(kind, zlib.crc32(stored), len(stored), len(raw))
        self._write(header + stored)

    def _write(self, data: bytes) -> None:
        if self._failed:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._failed = True
            if self._on_error is None:
                raise
            self._on_error(error)
