# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces for tests of what reads them, written without a machine."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmu.events import EVENT_ID, EVENTS, Event
from mmu.trace.reader import TraceFile
from mmu.trace.writer import TraceWriter

HEAD: dict[str, Any] = {"arrays": ["itlb", "dtlb", "stlb"], "cpus": 2}
PGD = 0x1000


def event(
    name: str, *values: int, cpu: int = 0, task: int = 0, site: str = "", **more: int
) -> Event:
    """One event; fields that are not given are 0."""
    desc = EVENTS[EVENT_ID[name]]
    filled = (*values, 0, 0, 0, 0)[: len(desc.fields)]
    return Event(desc, filled, more.get("instruction", 0), cpu, task, site, more.get("time", 0))


def insn(ip: int, code: bytes, **more: int) -> Event:
    """An instruction."""
    low, high = (int.from_bytes(part.ljust(8, b"\0"), "little") for part in (code[:8], code[8:]))
    return event("insn", ip, len(code), low, high, **more)


class Recording:
    """A trace that is written event by event."""

    def __init__(self, **head: Any) -> None:
        self._file = io.BytesIO()
        self.writer = TraceWriter(self._file, {**HEAD, **head})
        self.writer.ring.enable()
        self.note = self.writer.note

    def add(self, *events: Event) -> None:
        """Write events; their sites are not kept."""
        ring = self.writer.ring
        for one in events:
            ring.c.cpu, ring.c.task, ring.c.instruction = one.cpu, one.task, one.instruction
            ring.c.ahead_ns = one.time - one.instruction if one.time else 0
            ring.emit(one.desc.id, *one.values)

    def bytes(self) -> bytes:
        """The whole file."""
        self.writer.close()
        return self._file.getvalue()

    def read(self) -> TraceFile:
        """The trace, read."""
        return TraceFile("a trace", io.BytesIO(self.bytes()))

    def save(self, path: Path) -> Path:
        """Put the file there."""
        path.write_bytes(self.bytes())
        return path


def process(recording: Recording, functions: Iterable[list[Any]] = (), **fields: Any) -> None:
    """Notes of a process with PID 1, whose program lies at 0x400000."""
    recording.note("process", pid=1, tgid=1, comm="guest", exe="/bin/guest", mm=PGD, parent=0)
    recording.note("symbols", file="/bin/guest", functions=list(functions), **fields)
    recording.note("map", mm=PGD, start=0x400000, end=0x500000, file="/bin/guest", bias=0, offset=0)
