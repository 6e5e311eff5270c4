# SPDX-License-Identifier: GPL-2.0-or-later
"""From a file to events."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import zstandard

from mmu.events import Event, EventDesc
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
    TraceError,
)
from mmu.trace.where import ALL, Where

RECORD = np.dtype(
    [
        ("id", "u1"),
        ("cpu", "u1"),
        ("site", "<u2"),
        ("task", "<u4"),
        ("instruction", "<u8"),
        ("time", "<u8"),
        ("a", "<u8"),
        ("b", "<u8"),
        ("c", "<u8"),
        ("d", "<u8"),
    ]
)
"""struct event of native/trace/ring.h."""


@dataclass(frozen=True)
class Note:
    """What a run said of itself before event number ``event``."""

    event: int
    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Numbered:
    """An event and its number in the file."""

    number: int
    event: Event


@dataclass(frozen=True)
class Batch:
    """Events of one piece of the file: ``numbers`` in the file, and their ``records``."""

    numbers: npt.NDArray[np.uint64]
    records: npt.NDArray[np.void]


class TraceFile:
    """A trace that was written.

    ``head`` are the run's parameters; ``descs`` the event kinds, by their number in this file;
    ``notes`` what the run said of itself, in order; ``sites`` names of kernel functions by number;
    ``summary`` the run's report, None if the file is torn; ``torn`` says why it ends early, None:
    it does not. Raises TraceError, in one line.
    """

    def __init__(self, path: str, file: BinaryIO | None = None) -> None:
        self.path = path
        self._file = file or open(path, "rb")  # noqa: SIM115
        self._zstd = zstandard.ZstdDecompressor()
        magic, version, _ = FILE_HEADER.unpack(self._file.read(FILE_HEADER.size))
        if magic != MAGIC or version != VERSION:
            raise TraceError(f"{path}: not a trace of this version")
        self.head: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.sites: list[str] = [""]
        self.summary: dict[str, Any] | None = None
        self.torn: str | None = None
        self._chunks: list[tuple[int, int]] = []
        while header := self._file.read(BLOCK_HEADER.size):
            kind, crc, stored, _size = BLOCK_HEADER.unpack(header)
            at = self._file.tell()
            if kind == EVENTS:
                self._file.seek(stored, 1)
                self._chunks.append((at, stored))
                continue
            data = self._file.read(stored)
            if zlib.crc32(data) != crc:
                self.torn = "a block is damaged"
                break
            value = json.loads(self._zstd.decompress(data))
            if kind == HEAD:
                self.head = value
            elif kind == NOTE:
                self.notes.append(Note(value.pop("event"), value.pop("kind"), value))
            elif kind == SITES:
                self.sites = ["", *value]
            elif kind == SUMMARY:
                self.summary = value
        self.descs = [
            EventDesc(i, e["name"], tuple(e["fields"]), e["meaning"])
            for i, e in enumerate(self.head["events"])
        ]

    @property
    def nr_events(self) -> int:
        """Events in the file."""
        return sum(len(batch.records) for batch in self.batches())

    def batches(self, where: Where = ALL, reverse: bool = False) -> Iterator[Batch]:
        """The events for which ``where`` holds, in order, piece by piece; memory does not grow with
        the file.
        """
        for at, size in reversed(self._chunks) if reverse else self._chunks:
            self._file.seek(at)
            raw = self._zstd.decompress(self._file.read(size))
            first = int.from_bytes(raw[:8], "little")
            records = np.frombuffer(raw, RECORD, offset=8)
            numbers = np.arange(first, first + len(records), dtype=np.uint64)
            keep = self._keep(numbers, records, where)
            yield Batch(numbers[keep], records[keep])

    def events(self, where: Where = ALL) -> Iterator[Numbered]:
        """The same one by one."""
        for batch in self.batches(where):
            for number, record in zip(batch.numbers.tolist(), batch.records.tolist(), strict=True):
                kind, cpu, site, task, instruction, time, *values = record
                desc = self.descs[kind]
                values = tuple(values[: len(desc.fields)])
                event = Event(desc, values, instruction, cpu, task, self.sites[site], time)
                yield Numbered(number, event)

    def _keep(
        self, numbers: npt.NDArray[np.uint64], records: npt.NDArray[np.void], where: Where
    ) -> npt.NDArray[np.bool_]:
        keep = np.ones(len(records), dtype=bool)
        if where.events:
            keep &= np.isin(records["id"], [d.id for d in self.descs if d.name in where.events])
        if where.cpus:
            keep &= np.isin(records["cpu"], list(where.cpus))
        if where.tasks:
            keep &= np.isin(records["task"], list(where.tasks))
        if where.frames:
            ok = np.zeros(len(records), dtype=bool)
            for d in self.descs:
                for i, f in enumerate(d.fields):
                    if f in ("pfn", "entry_pa", "pmd_pa"):
                        v = records["abcd"[i]] >> np.uint64(0 if f == "pfn" else 12)
                        ok |= (records["id"] == d.id) & np.isin(v, list(where.frames))
            keep &= ok
        if where.addresses:
            ok = np.zeros(len(records), dtype=bool)
            for d in self.descs:
                for i, f in enumerate(d.fields):
                    if f in ("address", "ip", "start"):
                        v = records["abcd"[i]]
                        for lo, hi in where.addresses:
                            ok |= (
                                (records["id"] == d.id) & (v >= np.uint64(lo)) & (v < np.uint64(hi))
                            )
                        break
            keep &= ok
        if where.instructions:
            lo, hi = where.instructions
            keep &= (records["instruction"] >= np.uint64(lo)) & (
                records["instruction"] < np.uint64(hi)
            )
        if where.times:
            lo, hi = where.times
            keep &= (records["time"] >= np.uint64(lo)) & (records["time"] < np.uint64(hi))
        if where.begin:
            keep &= numbers >= where.begin
        if where.end is not None:
            keep &= numbers < where.end
        return keep
