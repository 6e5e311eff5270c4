# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu trace FILE --query SQL``: questions to a trace, answered by DuckDB.

The tables are ``events`` (docs/exporting.md), ``tables``, ``processes``, ``maps`` and ``counters``.
A statement can read them, and nothing else: no file, no setting, no other statement.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa

from ucmmu.event_filter import EventFilter
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.reading import parquet
from ucmmu.reading.asked import Asked, asked
from ucmmu.reading.facts import FACTS
from ucmmu.reading.rows import Form, write_rows
from ucmmu.reading.selection import Progress

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile
    from mmu.trace.where import Where

MEMORY_LIMIT: Final = "128MB"
"""What DuckDB keeps in memory; the rest goes to a temporary directory."""
_ROWS: Final = 1 << 12
"""Rows of an answer that are fetched at once."""


def answer(
    trace: TraceFile,
    wanted: EventFilter,
    sql: str,
    out: Callable[[str], object],
    form: Form = "table",
    progress: Progress | None = None,
) -> None:
    """Give ``out`` the answer to one SELECT statement over the events that are ``wanted``, as
    an aligned table, JSON (an array of objects) or CSV.

    Raises Failure (USAGE) for what is wrong with the statement, in one line.
    """
    with tempfile.TemporaryDirectory(prefix="ucmmu-query-") as directory, _connect(directory) as db:
        question = asked(db, sql)
        source = _Source(trace, wanted, progress)
        with _errors(source):
            _do(db, "SET enable_external_access = false")
            _do(db, "SET lock_configuration = true")
            _check(db, trace, sql)
            _offer(db, source, question)
            db.execute(sql)
            names = [column[0] for column in db.description or []]
            write_rows(names, _rows(db), out, form)


@contextlib.contextmanager
def _connect(directory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    config = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": directory,
        "python_enable_replacements": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "preserve_insertion_order": "true",
        "threads": "2",
    }
    db = duckdb.connect(os.path.join(directory, "events.duckdb"), config=config)
    try:
        yield db
    finally:
        db.close()


class _Source:
    """The events as DuckDB reads them. It tells an exception of ours as a text of its own:
    ``error`` is the exception.
    """

    def __init__(self, trace: TraceFile, wanted: EventFilter, progress: Progress | None) -> None:
        self.trace = trace
        self._wanted = wanted
        self._progress = progress
        self.error: BaseException | None = None

    def reader(
        self, columns: frozenset[str] | None, events: frozenset[str] = frozenset()
    ) -> pa.RecordBatchReader:
        """These columns of the events that are wanted, limited to these kinds if there are any."""
        rows = parquet.Rows(self.trace, columns)
        narrow = replace(self._wanted, where=_narrowed(self._wanted.where, events))
        return pa.RecordBatchReader.from_batches(rows.schema, self._batches(rows, narrow))

    def _batches(self, rows: parquet.Rows, wanted: EventFilter) -> Iterator[pa.RecordBatch]:
        try:
            yield from rows.batches(wanted, self._progress)
        except BaseException as error:
            self.error = error
            raise


@contextlib.contextmanager
def _errors(source: _Source) -> Iterator[None]:
    """What DuckDB says, in one line."""
    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        if source.error is not None:
            raise source.error from None
        if "interrupt" in str(error).lower():
            raise KeyboardInterrupt from None
        if not isinstance(error, duckdb.Error):
            raise
        raise Failure(ExitCode.USAGE, f"--query: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """The message, and its hint, without the statement and the mark below it."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("LINE ", "^"))]
    return " ".join(told)


def _check(db: duckdb.DuckDBPyConnection, trace: TraceFile, sql: str) -> None:
    """Find what is wrong with a statement before the trace is read."""
    empty = {name: fact.schema for name, fact in FACTS.items()}
    empty["events"] = parquet.schema(trace.descs)
    for name, schema in empty.items():
        db.register(name, schema.empty_table())
    _do(db, f"EXPLAIN {sql}")
    for name in empty:
        db.unregister(name)


def _offer(db: duckdb.DuckDBPyConnection, source: _Source, question: Asked) -> None:
    """Make the tables that the statement names."""
    for name, fact in FACTS.items():
        if question.hidden or name in question.tables:
            _store(db, name, fact(source.trace))
        else:
            db.register(name, fact.schema.empty_table())
    if not (question.hidden or question.tables["events"]):
        db.register("events", parquet.schema(source.trace.descs).empty_table())
        return
    columns = None if question.columns is None else question.columns | {"number"}
    if question.once:
        db.register("events", source.reader(columns, question.events))
    else:
        _store(db, "events", source.reader(columns))


def _store(db: duckdb.DuckDBPyConnection, name: str, source: pa.RecordBatchReader) -> None:
    """Make a table of what is read once; DuckDB keeps on disk what is too much for its memory."""
    db.register(f"_{name}", source)
    _do(db, f"CREATE TABLE {name} AS SELECT * FROM _{name}")
    db.unregister(f"_{name}")


def _narrowed(where: Where, events: frozenset[str]) -> Where:
    """Without the kinds of events that the statement leaves out."""
    known = events & (where.events or events)
    return replace(where, events=known) if known else where


def _do(db: duckdb.DuckDBPyConnection, sql: str) -> None:
    db.execute(sql).fetchall()


def _rows(db: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while rows := db.fetchmany(_ROWS):
        yield from rows
