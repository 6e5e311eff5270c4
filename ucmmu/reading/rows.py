# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of an answer as an aligned table, as JSON or as CSV, written as they come."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Final, Literal

from ucmmu.text import printable

Form = Literal["table", "json", "csv"]
"""How rows are written."""
Out = Callable[[str], object]

HEXADECIMAL: Final = frozenset(
    [
        "address",
        "pa",
        "entry_pa",
        "entry",
        "old",
        "new",
        "table",
        "pmd_pa",
        "mm",
        "ip",
        "start",
        "end",
        "cr3",
        "prev",
        "next",
        "lock",
        "error_code",
        "rax",
    ]
)
"""Columns whose numbers an aligned table shows in hexadecimal; JSON and CSV have plain numbers."""
_AHEAD: Final = 1000
"""Rows that are looked at to see how wide the columns are."""
_WIDEST: Final = 60


def write_rows(names: Sequence[str], rows: Iterable[Sequence[Any]], out: Out, form: Form) -> None:
    """Give ``out`` the rows, whose columns have these names, piece by piece."""
    plain = ([_plain(value) for value in row] for row in rows)
    {"table": _table, "json": _json, "csv": _csv}[form](names, plain, out)


def _plain(value: Any) -> Any:
    """A value as every form can have it: a decimal as a number, what is no number as none."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(names: Sequence[str], rows: Iterator[Sequence[Any]], out: Out) -> None:
    ahead = list(islice(rows, _AHEAD))
    right = [
        any(_is_number(row[at]) for row in ahead)
        and all(row[at] is None or _is_number(row[at]) for row in ahead)
        for at in range(len(names))
    ]
    texts = [[_cell(names[at], value) for at, value in enumerate(row)] for row in ahead]
    widths = [
        min(_WIDEST, max(len(printable(name)), *(len(row[at]) for row in texts), 0))
        for at, name in enumerate(names)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(cells, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip() + "\n"

    out(line([printable(name) for name in names]))
    out(line(["-" * width for width in widths]))
    for cells in texts:
        out(line(cells))
    for row in rows:
        out(line([_cell(names[at], value) for at, value in enumerate(row)]))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return f"{value:#x}" if name in HEXADECIMAL else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(str(value))


def _json(names: Sequence[str], rows: Iterator[Sequence[Any]], out: Out) -> None:
    first = next(rows, None)
    if first is None:
        out("[]\n")
        return
    before = "["
    for row in chain([first], rows):
        out(before + json.dumps(dict(zip(names, row, strict=True)), default=str))
        before = ",\n "
    out("]\n")


def _csv(names: Sequence[str], rows: Iterator[Sequence[Any]], out: Out) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in chain([names], rows):
        writer.writerow(row)
        out(text.getvalue())
        text.seek(0)
        text.truncate()
