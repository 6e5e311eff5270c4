# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu trace --format parquet``: one row an event, one column a field.

A column has the name of its field in native/trace/events.def, but for those of :data:`RENAMED`. It
is null where the event has no such field.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ucmmu.event_filter import EventFilter
from ucmmu.reading import selection
from ucmmu.reading.attribution import U64
from ucmmu.reading.named import FunctionNames, TaskNames
from ucmmu.reading.passed import interrupted_between
from ucmmu.reading.rows import HEXADECIMAL
from ucmmu.reading.selection import Progress
from ucmmu.text import as_utf8

if TYPE_CHECKING:
    from mmu.events import EventDesc
    from mmu.trace.reader import Batch, TraceFile

RENAMED: Final = {
    ("csd_queue_cpu", "cpu"): "target_cpu",
    ("ipi_send_cpu", "cpu"): "target_cpu",
    ("rcu_grace_period", "event"): "gp_event",
    ("contention_begin", "kind"): "lock_kind",
    ("contention_end", "kind"): "lock_kind",
    **{
        (f"{table}_{change}", "old"): "old_count"
        for table in ("pte", "pmd", "pud")
        for change in ("get", "put")
    },
}
"""Fields whose columns have other names, lest they hide a column of every event, share the one of
an entry's old value, or be taken for the kind of event.
"""
BITS: Final = HEXADECIMAL - {"error_code"} | {
    "arg0",
    "arg1",
    "arg2",
    "code",
    "code_high",
    "cpumask",
    "ecx",
    "edx",
    "global",
    "pages",
    "value",
}
"""Columns of addresses, registers and bits, which are unsigned; others are signed, so that SQL can
subtract them.
"""
ROW_GROUP: Final = 1 << 16
"""Rows that are kept in memory until they are written."""

_NAMES = pa.dictionary(pa.int32(), pa.string())
_EVERY = pa.schema(
    [
        ("number", pa.int64()),
        ("time", pa.int64()),
        ("instruction", pa.int64()),
        ("cpu", pa.uint8()),
        ("task", pa.uint32()),
        ("comm", _NAMES),
        ("event", _NAMES),
        ("site", _NAMES),
        ("ip", pa.uint64()),
        ("function", _NAMES),
    ]
)
_VALUES_AT = 3
"""a is the fourth u64 of struct event."""
_NOWHERE = 255


def column_of(event: str, field: str) -> str:
    """The name of the column of an event's field."""
    return RENAMED.get((event, field), field)


def schema(descs: Sequence[EventDesc]) -> pa.Schema:
    """The columns: those of every event (number, virtual time in nanoseconds, instructions of the
    CPU before it, CPU, task, its name, event, kernel function, guest instruction and function), and
    one for each name of a field.
    """
    columns = dict.fromkeys(column_of(desc.name, field) for desc in descs for field in desc.fields)
    fields = [
        pa.field(name, pa.uint64() if name in BITS else pa.int64())
        for name in columns
        if name not in _EVERY.names
    ]
    return pa.schema([*_EVERY, *fields])


class Rows:
    """Makes Arrow's batches of a trace's; ``columns`` are those wanted, None: all."""

    def __init__(self, trace: TraceFile, columns: frozenset[str] | None = None) -> None:
        self._trace = trace
        full = schema(trace.descs)
        self.schema = full if columns is None else pa.schema([f for f in full if f.name in columns])
        self._places = {
            column: self._place(column)
            for column in self.schema.names
            if column not in _EVERY.names
        }
        self._functions = FunctionNames(trace)
        self._tasks = TaskNames(trace)
        self._wants_ip = bool({"ip", "function"} & set(self.schema.names))

    def _place(self, column: str) -> npt.NDArray[np.uint8]:
        """Which of a to d of each kind the column holds."""
        place = np.full(256, _NOWHERE, dtype=np.uint8)
        for desc in self._trace.descs:
            for at, field in enumerate(desc.fields):
                if column_of(desc.name, field) == column:
                    place[desc.id] = at
        return place

    def batches(
        self, wanted: EventFilter, progress: Progress | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows, piece by piece."""
        if self._wants_ip:
            for batch, ips in selection.attributed(self._trace, wanted, progress):
                yield self._rows(batch, ips)
            return
        for batch in selection.batches(self._trace, wanted, progress):
            yield self._rows(batch, np.zeros(0, dtype=np.uint64))

    def _rows(self, batch: Batch, ips: U64) -> pa.RecordBatch:
        records = np.ascontiguousarray(batch.records)
        words = records.view(np.uint64).reshape(len(records), -1)
        ids = records["id"]
        kinds = np.flatnonzero(np.bincount(ids, minlength=256))
        every = self._every(batch, ips)
        arrays = [
            every[name]() if name in every else self._field(name, ids, words, kinds)
            for name in self.schema.names
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _every(self, batch: Batch, ips: U64) -> dict[str, Callable[[], pa.Array]]:
        records = batch.records
        return {
            "number": lambda: _signed(batch.numbers),
            "time": lambda: _signed(records["time"]),
            "instruction": lambda: _signed(records["instruction"]),
            "cpu": lambda: pa.array(records["cpu"]),
            "task": lambda: pa.array(records["task"]),
            "comm": lambda: _named(*self._tasks.of(batch)),
            "event": lambda: _named(
                records["id"].astype(np.int32), [desc.name for desc in self._trace.descs]
            ),
            "site": lambda: _named(records["site"].astype(np.int32), self._trace.sites),
            "ip": lambda: pa.array(ips, mask=ips == 0),
            "function": lambda: _named(*self._functions.of(batch, ips)),
        }

    def _field(
        self,
        column: str,
        ids: npt.NDArray[np.uint8],
        words: npt.NDArray[np.uint64],
        kinds: npt.NDArray[np.int64],
    ) -> pa.Array:
        """A field's column; ``kinds`` are those that occur."""
        kind = self.schema.field(column).type
        place = self._places[column]
        used = np.unique(place[kinds])
        if used[0] == _NOWHERE:
            return pa.nulls(len(ids), kind)
        if len(used[used != _NOWHERE]) == 1:
            values = words[:, _VALUES_AT + used[0]]
        else:
            at = np.where(place == _NOWHERE, 0, place)[ids]
            values = words[np.arange(len(ids)), _VALUES_AT + at]
        absent = (place == _NOWHERE)[ids] if used[-1] == _NOWHERE else None
        if kind == pa.int64():
            values = values.astype(np.int64)
        return pa.array(values, mask=absent)


def _signed(values: npt.NDArray[np.uint64]) -> pa.Array:
    return pa.array(values.astype(np.int64))


def _named(codes: npt.NDArray[np.int32], names: Sequence[str]) -> pa.Array:
    """Names by number; an empty name is none, and so is one that a torn trace does not tell."""
    empty = np.array([*(not name for name in names), True], dtype=bool)
    mask = empty[np.minimum(codes, len(names))]
    texts = pa.array(map(as_utf8, names), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=mask), texts)


def write(
    trace: TraceFile,
    wanted: EventFilter,
    out: Sink,
    progress: Progress | None = None,
    columns: frozenset[str] | None = None,
) -> None:
    """Write the events that are ``wanted`` as a Parquet file, which can be read up to there if the
    user interrupts it. Raises OSError.
    """
    rows = Rows(trace, columns)
    texts = [field.name for field in rows.schema if pa.types.is_dictionary(field.type)]
    numbers = [name for name in rows.schema.names if name not in (*texts, "cpu", "task")]
    try:
        with (
            interrupted_between() as check,
            pq.ParquetWriter(
                _Sink(out),
                rows.schema,
                compression="zstd",
                use_dictionary=texts,
                column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
            ) as writer,
        ):
            for group in _groups(rows.batches(wanted, progress)):
                table = pa.Table.from_batches(group, rows.schema)
                writer.write_table(table, row_group_size=ROW_GROUP)
                check()
    except KeyboardInterrupt:
        out.flush()
        raise


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Write them all."""
        ...

    def flush(self) -> object:
        """Keep nothing back."""
        ...


class _Sink(io.RawIOBase):
    """A file as pyarrow wants one, on anything that is written to in order."""

    def __init__(self, out: Sink) -> None:
        self._out = out
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._out.write(piece)
        self._size += len(piece)
        return len(piece)


def _groups(batches: Iterator[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches together until they fill a group of rows."""
    group: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        group.append(batch)
        count += batch.num_rows
        if count >= ROW_GROUP:
            yield group
            group, count = [], 0
    if group:
        yield group
