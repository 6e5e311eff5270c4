# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``ucmmu trace`` does: choose the events, the format and the place."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal

from ucmmu.event_filter import EventFilter, parse_filter
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.reading.around import Around
from ucmmu.reading.child import in_a_child
from ucmmu.reading.outlet import NO_READER, Closed, Outlet, outlet
from ucmmu.reading.palette import Paint, painter, plain
from ucmmu.reading.passed import shown
from ucmmu.reading.printing import Request
from ucmmu.reading.source import extra, open_trace
from ucmmu.reading.symbols import History
from ucmmu.streams import STDOUT
from ucmmu.text import did_you_mean, printable

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile

Progress = Callable[[int], object]


@dataclass(frozen=True)
class _Format:
    """Where a format is made: a module and its function; whether it is ``binary``, which no
    terminal is given; packages of the extra ``trace`` that it needs.
    """

    module: str
    function: str = "write"
    binary: bool = False
    needs: tuple[str, ...] = ()
    chosen: bool = True
    """Whether it knows --around and --limit."""


_FORMATS: Final = {
    "text": _Format("ucmmu.reading.printing", "print_text"),
    "jsonl": _Format("ucmmu.reading.printing", "print_jsonl"),
    "ftrace": _Format("ucmmu.reading.ftrace", "print_ftrace"),
    "trace.dat": _Format("ucmmu.reading.trace_dat", "write_trace_dat", binary=True),
    "perfetto": _Format("ucmmu.reading.perfetto", binary=True, needs=("perfetto",), chosen=False),
    "parquet": _Format("ucmmu.reading.parquet", binary=True, needs=("pyarrow",), chosen=False),
}


def trace(arguments: argparse.Namespace) -> int:
    """Show what the arguments ask for; 128 + SIGPIPE if nobody reads it to its end."""
    _check(arguments)
    try:
        if arguments.query is not None:
            _query(arguments)
        else:
            _show(arguments)
    except Closed:
        return NO_READER
    return 0


def _usage(line: str) -> Failure:
    return Failure(ExitCode.USAGE, f"{line} (`ucmmu trace --help` shows how)")


def _check(arguments: argparse.Namespace) -> None:
    """Raise Failure (USAGE) for options that do not go together; --json becomes what it stands
    for.
    """
    if arguments.csv and arguments.query is None:
        raise _usage("argument --csv: needs --query")
    if arguments.query is not None:
        for option in ("format", "around", "limit"):
            if getattr(arguments, option) is not None:
                raise _usage(f"argument --{option}: does not go with --query, which says it in SQL")
        if arguments.csv and arguments.json is not None:
            raise _usage("argument --csv: does not go with --json")
    elif arguments.json is not None and arguments.format not in (None, "jsonl"):
        raise _usage(f"argument --json: does not go with --format {arguments.format}")
    if arguments.json is not None:
        if arguments.output is not None:
            raise _usage("argument --json: does not go with -o, which also says where to")
        arguments.output = arguments.json
        arguments.format = None if arguments.query is not None else "jsonl"
    arguments.format = arguments.format or "text"


def _around(text: str | None) -> Around | None:
    try:
        return None if text is None else Around.parse(text)
    except ValueError as error:
        line = f"argument --around: {printable(str(error))}"
        raise Failure(ExitCode.USAGE, line) from None


def _show(arguments: argparse.Namespace) -> None:
    form = _FORMATS[arguments.format]
    option = f"--format {arguments.format}"
    request = Request(parse_filter(arguments.filter), _around(arguments.around), arguments.limit)
    if not form.chosen and (request.around is not None or request.limit is not None):
        raise _usage(f"{option}: takes all events of --filter, without --around and --limit")
    for module in form.needs:
        extra(module, wanted_by=option, extra="trace")
    to_stdout = arguments.output in (None, "-")
    if form.binary and to_stdout and os.isatty(STDOUT):
        raise _usage(f"{option}: is not text: give -o FILE")
    write: Any = getattr(import_module(form.module), form.function)
    pages = not form.binary and not arguments.no_pager
    with (
        open_trace(arguments.file) as source,
        outlet(arguments.output, source=arguments.file, pager=pages) as out,
        shown(source) as progress,
    ):
        _check_functions(source, request.wanted)
        what = request if form.chosen else request.wanted
        tell = None if to_stdout and os.isatty(STDOUT) else progress
        if arguments.format == "text":
            write(source, what, out, tell, _paint(arguments.color, to_stdout))
        else:
            _written(write, source, what, out, tell)


def _check_functions(source: TraceFile, wanted: EventFilter) -> None:
    """Raise Failure (USAGE) for a function that a whole trace, one that names functions at all,
    does not name.
    """
    if source.summary is None:
        return
    known = History(source).function_names() if wanted.functions else set()
    for name in sorted(wanted.functions or ()):
        if known and name not in known and not name.startswith("["):
            line = (
                f"argument --filter: function={printable(name)}: the trace names no such function"
            )
            raise Failure(ExitCode.USAGE, line + did_you_mean(name, known))


def _written(
    write: Any, source: TraceFile, what: Any, out: Outlet, progress: Progress | None
) -> None:
    try:
        write(source, what, out, progress)
    except OSError as error:
        from ucmmu.reading.outlet import failure

        raise failure(out.name, error) from None


def _paint(color: str, to_stdout: bool) -> Paint:
    if color == "always":
        return painter(always=True)
    return painter() if color == "auto" and to_stdout and os.isatty(STDOUT) else plain


def _query(arguments: argparse.Namespace) -> None:
    extra("duckdb", wanted_by="--query", extra="trace")
    extra("pyarrow", wanted_by="--query", extra="trace")
    from ucmmu.reading.query import answer

    wanted = parse_filter(arguments.filter)
    form: Literal["table", "json", "csv"] = "table"
    if arguments.csv or arguments.json is not None:
        form = "csv" if arguments.csv else "json"
    pages = form == "table" and not arguments.no_pager
    with (
        open_trace(arguments.file) as source,
        outlet(arguments.output, source=arguments.file, pager=pages) as out,
        shown(source) as progress,
    ):

        def ask() -> None:
            answer(source, wanted, arguments.query, out.text, form, progress)
            out.flush()

        in_a_child(ask)
