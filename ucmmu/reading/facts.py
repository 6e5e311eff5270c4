# SPDX-License-Identifier: GPL-2.0-or-later
"""What a trace tells beside its events, as tables for SQL: lives of PTE tables, processes, maps,
counters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from mmu.trace.where import Where
from ucmmu.text import as_utf8

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered, TraceFile

_PIECE = 1 << 12


@dataclass(frozen=True)
class Fact:
    """A table: its columns, and what makes its rows of a trace."""

    schema: pa.Schema
    rows: Callable[[TraceFile], Iterable[Mapping[str, Any]]]

    def __call__(self, trace: TraceFile) -> pa.RecordBatchReader:
        """The rows, made while they are read."""
        return pa.RecordBatchReader.from_batches(self.schema, self._batches(trace))

    def _batches(self, trace: TraceFile) -> Iterator[pa.RecordBatch]:
        piece: list[Mapping[str, Any]] = []
        for row in self.rows(trace):
            piece.append({name: _utf8(value) for name, value in row.items()})
            if len(piece) == _PIECE:
                yield pa.RecordBatch.from_pylist(piece, self.schema)
                piece = []
        yield pa.RecordBatch.from_pylist(piece, self.schema)


def _utf8(value: object) -> object:
    return as_utf8(value) if isinstance(value, str) else value


@dataclass
class Life:
    """One PTE table, from its frame's allocation to its return.

    Moments are numbers of events and virtual nanoseconds, None where they are not in the trace:
    ``allocated``, ``installed`` in its PMD, ``unhooked`` from it, ``freed`` after the grace period.
    ``gets`` and ``puts`` are references taken and dropped, ``count`` how many there are at the end,
    ``count_max`` at most.
    """

    pfn: int
    mm: int | None = None
    address: int | None = None
    task: int | None = None
    site: str | None = None
    allocated: int | None = None
    allocated_time: int | None = None
    installed: int | None = None
    installed_time: int | None = None
    unhooked: int | None = None
    unhooked_time: int | None = None
    freed: int | None = None
    freed_time: int | None = None
    gets: int = 0
    puts: int = 0
    count: int | None = None
    count_max: int | None = None


_LIFE_EVENTS = frozenset(
    {"pte_alloc_one", "pte_alloc", "pte_free", "pte_get", "pte_put", "rcu_callback"}
    | {"rcu_invoke_callback", "mm_page_free"}
)


def lives(trace: TraceFile, where: Where | None = None) -> Iterator[Life]:
    """The life of each PTE table, in the order of their ends; of those that live on, of their
    beginnings.
    """
    alive: dict[int, Life] = {}
    for numbered in trace.events(where or Where(events=_LIFE_EVENTS)):
        life = _live(alive, numbered)
        if life is not None:
            yield life
    yield from alive.values()


def _live(alive: dict[int, Life], numbered: Numbered) -> Life | None:
    """Go on with a table's life; return it if it has ended."""
    event, number = numbered.event, numbered.number
    pfn = event["pfn"]
    if event.name in ("pte_alloc_one", "pte_alloc"):
        life = alive.setdefault(pfn, Life(pfn))
        life.mm = event["mm"]
        life.task, life.site = event.task, event.site or None
        if event.name == "pte_alloc_one":
            life.allocated, life.allocated_time = number, event.time
        else:
            life.address = event["address"]
            life.installed, life.installed_time = number, event.time
        return None
    if event.name in ("rcu_invoke_callback", "mm_page_free"):
        ended = alive.pop(pfn, None)
        if ended is not None:
            ended.freed, ended.freed_time = number, event.time
        return ended
    life = alive.setdefault(pfn, Life(pfn))
    if event.name == "pte_free":
        life.mm, life.address = event["mm"], event["address"]
        life.unhooked, life.unhooked_time = number, event.time
    elif event.name in ("pte_get", "pte_put"):
        moved = abs(event["count"] - event["old"])
        life.gets += moved * (event.name == "pte_get")
        life.puts += moved * (event.name == "pte_put")
        life.count = event["count"]
        life.count_max = max(life.count_max or 0, event["old"], event["count"])
    return None


def processes(trace: TraceFile) -> Iterator[dict[str, Any]]:
    """Each program that each task ran: a row more for each exec."""
    running: dict[int, dict[str, Any]] = {}
    for note in trace.notes:
        pid = note.fields.get("pid")
        if note.kind in ("process", "exec") and pid is not None:
            before = running.pop(pid, None)
            if before is not None:
                yield before | {"until_event": note.event}
            row = {name: note.fields.get(name) for name in _PROCESS.names}
            running[pid] = row | {"from_event": note.event, "until_event": None}
        elif note.kind == "exit" and pid in running:
            yield running.pop(pid) | {"until_event": note.event, "code": note.fields.get("code")}
    yield from running.values()


def maps(trace: TraceFile) -> Iterator[dict[str, Any]]:
    """Each mapping of each address space, with the events between which it was as it is told."""
    live: dict[tuple[int, int], dict[str, Any]] = {}
    for note in trace.notes:
        if note.kind not in ("map", "unmap"):
            continue
        mm, start, end = (int(note.fields[name]) for name in ("mm", "start", "end"))
        gone = [key for key, row in live.items() if key[0] == mm and _overlap(row, start, end)]
        for key in gone:
            row = live.pop(key)
            yield row | {"until_event": note.event}
            for left, right in ((row["start"], start), (end, row["end"])):
                if left < right:
                    rest = row | {"start": left, "end": right, "from_event": note.event}
                    live[mm, left] = rest
        if note.kind == "map":
            row = {name: note.fields.get(name) for name in _MAP.names}
            live[mm, start] = row | {
                "prot": _text(note.fields.get("prot")),
                "flags": _text(note.fields.get("flags")),
                "from_event": note.event,
                "until_event": None,
            }
    yield from live.values()


def _overlap(row: Mapping[str, Any], start: int, end: int) -> bool:
    return bool(row["start"] < end and start < row["end"])


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def counters(trace: TraceFile) -> Iterator[dict[str, Any]]:
    """The run's own counters, from its report; none in a torn trace."""
    report = trace.summary or {}
    for scope, key in _SCOPES.items():
        for name, value in (report.get(key) or {}).items():
            yield {"scope": scope, "name": name, "value": value}


_SCOPES: Final = {"cpu": "counters", "mm": "mm_counters", "kernel": "kernel_counters"}
_U64, _I64 = pa.uint64(), pa.int64()
_MOMENTS: Final = ("allocated", "installed", "unhooked", "freed")
_LIFE = pa.schema(
    [
        ("pfn", _I64),
        ("mm", _U64),
        ("address", _U64),
        ("task", pa.uint32()),
        ("site", pa.string()),
        *((f"{moment}{kind}", _I64) for moment in _MOMENTS for kind in ("", "_time")),
        ("gets", _I64),
        ("puts", _I64),
        ("count", _I64),
        ("count_max", _I64),
    ]
)
_PROCESS = pa.schema(
    [
        ("pid", _I64),
        ("tgid", _I64),
        ("parent", _I64),
        ("comm", pa.string()),
        ("exe", pa.string()),
        ("mm", _U64),
        ("code", _I64),
        ("from_event", _I64),
        ("until_event", _I64),
    ]
)
_MAP = pa.schema(
    [
        ("mm", _U64),
        ("start", _U64),
        ("end", _U64),
        ("prot", pa.string()),
        ("flags", pa.string()),
        ("offset", _U64),
        ("file", pa.string()),
        ("name", pa.string()),
        ("from_event", _I64),
        ("until_event", _I64),
    ]
)
_COUNTER = pa.schema([("scope", pa.string()), ("name", pa.string()), ("value", _I64)])

FACTS: Final = {
    "tables": Fact(_LIFE, lambda trace: map(asdict, lives(trace))),
    "processes": Fact(_PROCESS, processes),
    "maps": Fact(_MAP, maps),
    "counters": Fact(_COUNTER, counters),
}
"""The tables beside ``events``, by name."""
