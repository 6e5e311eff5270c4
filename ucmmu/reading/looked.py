# SPDX-License-Identifier: GPL-2.0-or-later
"""`ucmmu walk`, `table` and `maps`: from the command line to what is shown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmu.trace.counts import allocated
from mmu.trace.lives import LEVELS
from mmu.trace.tables import rebuild
from mmu.trace.where import Where
from mmu.units import PAGE_SHIFT
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import JsonOutput
from ucmmu.reading.at_exit import recorded_until_exit
from ucmmu.reading.maps import maps_report, maps_text, survey
from ucmmu.reading.moment import Moment, Space, address, moment, space
from ucmmu.reading.outlet import NO_READER, Closed, outlet
from ucmmu.reading.palette import Paint, painter, plain
from ucmmu.reading.source import open_trace, tell_of_gaps
from ucmmu.reading.symbols import History
from ucmmu.reading.table import choose, stays, stays_of_frame, table_report, table_text
from ucmmu.reading.walk import walk_report
from ucmmu.reading.walk_text import walk_text
from ucmmu.streams import STDOUT
from ucmmu.text import printable

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile


def walk(arguments: argparse.Namespace) -> int:
    """``ucmmu walk``: the exit code. Raises Failure."""
    with JsonOutput(arguments.json) as output:
        with _looked(arguments) as (trace, history, when):
            who = space(trace, history, when, task=arguments.task, cpu=arguments.cpu)
            levels = int(trace.head.get("levels", 4))
            va = address(arguments.address, history, who.mm, when.at, levels=levels)
            report = walk_report(trace, history, when, who, va)
        paint = _paint(arguments)
        return _show(arguments, output, report, walk_text(report, bits=arguments.bits, paint=paint))


def maps(arguments: argparse.Namespace) -> int:
    """``ucmmu maps``: the exit code. Raises Failure."""
    with JsonOutput(arguments.json) as output:
        with _looked(arguments) as (trace, history, when):
            who = space(trace, history, when, task=arguments.task, cpu=arguments.cpu)
            levels = int(trace.head.get("levels", 4))
            mappings = history.mappings(who.mm, when.at)
            edges = [edge for one in mappings for edge in (one.start, one.end)]
            held = survey(rebuild(trace, when.end), who.mm, levels, edges)
            about = {"mm": who.mm, "task": who.pid or None, "comm": who.comm or None}
            about |= {"event": when.end - 1 if when.end else None}
            about |= {"tables_by_events": _installed(trace, who, when)}
            report = maps_report(held, mappings, about)
        return _show(arguments, output, report, maps_text(report, paint=_paint(arguments)))


def table(arguments: argparse.Namespace) -> int:
    """``ucmmu table``: the exit code. Raises Failure."""
    with JsonOutput(arguments.json) as output:
        with open_trace(arguments.target) as trace:
            _refuse_a_pipe(arguments.target)
            tell_of_gaps(trace)
            history = History(trace)
            level = LEVELS[arguments.level]
            kind, equals, frame = arguments.address.partition("=")
            if equals and kind == "pfn":
                found = stays_of_frame(trace, _frame(frame), level)
            else:
                when = Moment(trace.nr_events, None)
                found = _stays(arguments, trace, history, when)
            report = table_report(trace, history, choose(found, arguments.life, level))
        return _show(arguments, output, report, table_text(report, paint=_paint(arguments)))


def _stays(arguments: argparse.Namespace, trace: TraceFile, history: History, when: Moment) -> Any:
    mm = arguments.mm
    if mm is None and arguments.task is not None:
        mm = _mm_of_task(trace, history, arguments.task)
    at = _mapped_at(trace, history, mm)
    levels = int(trace.head.get("levels", 4))
    va = address(arguments.address, history, at[0], at[1], levels=levels)
    return stays(trace, va, mm, LEVELS[arguments.level])


def _mm_of_task(trace: TraceFile, history: History, task: int) -> int:
    """The mm that a task had last. Raises Failure (USAGE)."""
    for note in reversed(trace.notes):
        if note.kind in ("process", "exec") and note.fields.get("pid") == task:
            return int(note.fields["mm"])
    known = ", ".join(
        f"{one.pid} ({printable(one.comm)})" for one in history.processes(trace.nr_events)
    )
    line = f"argument --task: no task {task} in {trace.path}: there are {known or 'none'}"
    raise Failure(ExitCode.USAGE, line)


def _mapped_at(trace: TraceFile, history: History, mm: int | None) -> tuple[int, int]:
    """An mm, the given one or the first program's, and the last event at which it is still there:
    functions are looked for in what it has mapped then.
    """
    notes = [
        note.fields
        for note in trace.notes
        if note.kind in ("process", "exec") and mm in (None, note.fields.get("mm"))
    ]
    if not notes:
        return mm or 0, trace.nr_events
    pid = notes[0].get("pid")
    found = int([fields for fields in notes if fields.get("pid") == pid][-1]["mm"])
    ends = [n.event for n in trace.notes if n.kind == "exit" and n.fields.get("tgid") == pid]
    return found, max((ends[-1] if ends else trace.nr_events) - 1, 0)


def _frame(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        line = f"argument ADDRESS: {printable(text)!r} is no frame: write pfn=0x123"
        raise Failure(ExitCode.USAGE, line) from None


def _installed(trace: TraceFile, who: Space, when: Moment) -> int:
    """PTE tables of an mm, as the events that install and unhook them say."""
    begin = allocated(trace, who.mm >> PAGE_SHIFT, when.end) or 0
    where = Where(events=frozenset(("pte_alloc", "pte_free")), begin=begin, end=when.end)
    return sum(
        1 if one.event.name == "pte_alloc" else -1
        for one in trace.events(where)
        if one.event["mm"] == who.mm
    )


@contextmanager
def _looked(arguments: argparse.Namespace) -> Iterator[tuple[TraceFile, History, Moment]]:
    """The trace that is looked at, and the moment."""
    if arguments.at_exit:
        with recorded_until_exit(arguments) as (trace, when):
            yield trace, History(trace), when
        return
    with open_trace(arguments.target) as trace:
        _refuse_a_pipe(arguments.target)
        tell_of_gaps(trace)
        yield trace, History(trace), moment(trace, arguments.at, arguments.task)


def _refuse_a_pipe(path: str) -> None:
    """What is looked for is found by going back and forth. Raises Failure (BAD_TRACE)."""
    if path == "-":
        line = "stdin can be read only once: give the trace as a FILE"
        raise Failure(ExitCode.BAD_TRACE, line)


def _paint(arguments: argparse.Namespace) -> Paint:
    if arguments.color == "never" or (arguments.color == "auto" and not os.isatty(STDOUT)):
        return plain
    return painter(always=arguments.color == "always")


def _show(
    arguments: argparse.Namespace, output: JsonOutput, report: dict[str, Any], lines: Iterable[str]
) -> int:
    """Write the JSON where it is wanted, and the text on stdout if that is free."""
    output.write(report)
    if output.to_stdout:
        return 0
    try:
        with outlet(None, pager=not arguments.no_pager) as out:
            for line in lines:
                out.text(line + "\n")
    except Closed:
        return NO_READER
    return 0
