# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of a sweep's cells: a table for people, rows for CSV and Parquet, JSON."""

from __future__ import annotations

import csv
import io
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ucmmu.exit_codes import SIGNALLED
from ucmmu.sweep.cells import Cell, value_text
from ucmmu.sweep.plan import Planned
from ucmmu.sweep.results import Record
from ucmmu.sweep.spec import WORKLOAD
from ucmmu.terminal import rendered
from ucmmu.text import did_you_mean, printable, shortened

MAX_ROWS: Final = 1000
"""Of a table for people."""
FIGURES: Final[dict[str, tuple[str, ...]]] = {
    "run": (
        "VmPTE",
        "VmPTE_peak",
        "pte_tables_allocated",
        "pte_tables_freed_before_exit",
        "page_faults",
        "instructions",
        "seconds",
    ),
    "race": ("result", "schedules", "complete", "seconds"),
}
"""What a table shows of each kind unless the spec says otherwise."""
_HEADS: Final = {
    "VmPTE": "VmPTE/kB",
    "VmPTE_peak": "peak/kB",
    "pte_tables_allocated": "tables",
    "pte_tables_freed_before_exit": "freed",
    "page_faults": "faults",
}
_MAX_INT64: Final = (1 << 63) - 1

STATES: Final = ("done", "failed", "missing")


class Entry(NamedTuple):
    """A cell, and its result if it has one."""

    planned: Planned
    record: Record | None
    again: bool = False
    """Whether it would be run though it has a result."""

    @property
    def state(self) -> str:
        """One of STATES, or ``again``."""
        if self.record is None:
            return "missing"
        if self.again:
            return "again"
        return "done" if self.record["error"] is None else "failed"


def tally(entries: Iterable[Entry], *more: str) -> dict[str, int]:
    """How many entries have each of STATES, and of the states ``more``."""
    states = Counter(entry.state for entry in entries)
    return {name: states[name] for name in (*STATES, *more)}


def figure(record: Record | None, path: str) -> Any:
    """A figure of the report: ``VmPTE``, ``mm_counters.nr_tlb_remote_flush``; None without."""
    value: Any = None if record is None else record["report"]
    for part in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def table_text(
    entries: Sequence[Entry], figures: Sequence[str], fd: int, remarks: Sequence[str]
) -> str:
    """A table of each kind of cell, for the stream ``fd``, and the lines below."""
    tables = []
    shown = entries[:MAX_ROWS]
    for kind, names in FIGURES.items():
        some = [entry for entry in shown if entry.planned.cell.workload.kind == kind]
        if some:
            tables.append(_table(some, figures or names))
    left = len(entries) - len(shown)
    more = [f"{left:,} more cells: --csv has them all"] if left else []
    return rendered(fd, tables, [*more, *remarks])


def _table(entries: Sequence[Entry], figures: Sequence[str]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    settings = _settings([entry.planned.cell for entry in entries])
    for name in settings:
        table.add_column(printable(name), no_wrap=True)
    for name in figures:
        table.add_column(printable(_HEADS.get(name, name)), justify="right", no_wrap=True)
    table.add_column("ended", no_wrap=True)
    for planned, record, _ in entries:
        table.add_row(
            *(printable(_setting(planned.cell, name)) for name in settings),
            *(_number(figure(record, name)) for name in figures),
            _ending(record),
        )
    return table


def _settings(cells: Sequence[Cell]) -> list[str]:
    """Workload, and all options that cells are set apart by."""
    names = dict.fromkeys(name for cell in cells for name in cell.row)
    return [
        name
        for name in names
        if name == WORKLOAD or len({_setting(cell, name) for cell in cells}) > 1
    ]


def _setting(cell: Cell, name: str) -> str:
    return value_text(cell.row.get(name, "–"))


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return value_text(value)
    if isinstance(value, (int, float)):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
    if isinstance(value, (list, dict)):
        return f"{len(value):,}"
    return printable(str(value))


def _ending(record: Record | None) -> str:
    if record is None:
        return "missing"
    if record["error"] is not None:
        return "failed"
    code = record["exit_code"]
    return f"signal {code - SIGNALLED}" if code > SIGNALLED else f"exit {code}"


def command_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """What would be run, for --dry-run: state, key and command line of each cell."""
    for entry in entries:
        words = shlex.join(["ucmmu", *entry.planned.job.words])
        yield f"{entry.state:<7} {entry.planned.key[:12]}  {printable(words)}"


def as_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Each cell with its result whole."""
    names = {"wall_seconds": "seconds"}
    return [
        {
            **entry.planned.cell.row,
            "command": ["ucmmu", *entry.planned.job.words],
            "key": entry.planned.key,
            "state": entry.state,
            **{
                name: None if entry.record is None else entry.record[names.get(name, name)]
                for name in ("error", "exit_code", "wall_seconds", "host", "report")
            },
        }
        for entry in entries
    ]


def flat_rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row of scalars for each cell: its settings, how it ended, every figure by its path."""
    return [
        {
            **{name: _scalar(value) for name, value in entry.planned.cell.row.items()},
            "key": entry.planned.key,
            "state": entry.state,
            "error": None if record is None else record["error"],
            "host": None if record is None else record["host"],
            "wall_seconds": None if record is None else record["seconds"],
            **dict(_flat("report", {} if record is None else record["report"] or {})),
        }
        for entry, record in ((entry, entry.record) for entry in entries)
    ]


def _scalar(value: Any) -> Any:
    return value_text(value) if isinstance(value, tuple) else value


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    elif value is None or isinstance(value, (str, int, float, bool)):
        yield path, value


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def as_csv(entries: Sequence[Entry]) -> bytes:
    """The rows as CSV with a line of names; what a cell has not is empty."""
    rows = flat_rows(entries)
    paper = io.StringIO()
    writer = csv.DictWriter(paper, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return paper.getvalue().encode("utf-8", "backslashreplace")


def as_parquet(entries: Sequence[Entry]) -> bytes:
    """The rows as Parquet; needs pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = flat_rows(entries)
    columns = {name: _of_one_type([row.get(name) for row in rows]) for name in _columns(rows)}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def _of_one_type(values: list[Any]) -> list[Any]:
    """A column's values: as text if they are of several types, or too large for 64 bits."""
    types = {type(value) for value in values if value is not None}
    if types == {int, float}:
        return [None if value is None else float(value) for value in values]
    too_large = types == {int} and any(abs(value or 0) > _MAX_INT64 for value in values)
    if len(types) > 1 or too_large:
        return [None if value is None else str(value) for value in values]
    return values


def remark_of(entry: Entry) -> str:
    """The line of a cell that failed."""
    assert entry.record is not None
    return printable(f"{shortened(entry.planned.cell.title)}: {entry.record['error']}")


def remarks_on(figures: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """A line for each figure that none of the reports has, if there are any."""
    reports = [entry.record["report"] for entry in entries if entry.record is not None]
    known = dict.fromkeys(
        path.removeprefix("report.") for one in reports if one for path in _paths("report", one)
    )
    return [
        printable(f"no report has {name!r}{did_you_mean(name, known)}")
        for name in figures
        if known and name not in known
    ]


def _paths(path: str, value: Any) -> Iterator[str]:
    """All that figure() knows in a report."""
    yield path
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _paths(f"{path}.{name}", inner)
