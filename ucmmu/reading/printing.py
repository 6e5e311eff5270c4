# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats of `ucmmu trace` that are lines of text: which events, how many, and where to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

from ucmmu.event_filter import EventFilter
from ucmmu.reading.around import Around
from ucmmu.reading.names import Names
from ucmmu.reading.outlet import Outlet
from ucmmu.reading.selection import Progress, batches, decoded
from ucmmu.reading.symbols import History

if TYPE_CHECKING:
    from mmu.events import Event
    from mmu.trace.reader import Numbered, TraceFile
    from ucmmu.reading.palette import Paint

_MAX_SOURCE: Final = 4 << 20
"""Bytes of a source file that is read."""


@dataclass(frozen=True)
class Request:
    """Which events are wanted, at most ``limit`` of them (None: all), and only those ``around``
    what is looked for.
    """

    wanted: EventFilter
    around: Around | None = None
    limit: int | None = None


def selected(
    trace: TraceFile, request: Request, progress: Progress | None = None
) -> Iterator[Numbered | None]:
    """The events asked for, in order; None stands where ``around`` left some out."""
    wanted = request.wanted
    if request.around is not None:
        wanted = replace(wanted, where=request.around.narrowed(wanted.where))

    def each() -> Iterator[Numbered]:
        for batch in batches(trace, wanted, progress):
            yield from decoded(trace, batch)

    found: Iterator[Numbered | None] = (
        each() if request.around is None else request.around.groups(each())
    )
    if request.limit is None:
        yield from found
        return
    left = request.limit
    for one in found if left else ():
        yield one
        left -= one is not None
        if not left:
            return


def print_text(
    trace: TraceFile,
    request: Request,
    out: Outlet,
    progress: Progress | None,
    paint: Paint,
) -> None:
    """Write the text, coloured by ``paint``."""
    from cpu.disasm import disassemble_one
    from ucmmu.reading.text import TextPrinter

    kinds = request.wanted.where.events
    printer = TextPrinter(
        Names(trace.head),
        History(trace),
        disassemble_one,
        source_text=SourceFiles().line,
        paint=paint,
        width=max(6, len(str(trace.nr_events))),
        wanted=lambda event: not kinds or event in kinds,
    )
    for one in selected(trace, request, progress):
        if one is None:
            printer.gap()
            out.text("--\n")
        else:
            out.lines(printer.lines(one.number, one.event))


def print_jsonl(trace: TraceFile, request: Request, out: Outlet, progress: Progress | None) -> None:
    """Write JSON lines."""
    from cpu.disasm import disassemble_one
    from ucmmu.reading.jsonl import JsonLines

    maker = JsonLines(Names(trace.head), History(trace), disassemble_one)
    _print_each(trace, request, out, progress, maker.line)


def _print_each(
    trace: TraceFile,
    request: Request,
    out: Outlet,
    progress: Progress | None,
    line: Callable[[int, Event], str],
) -> None:
    for one in selected(trace, request, progress):
        if one is not None:
            out.text(line(one.number, one.event) + "\n")


class SourceFiles:
    """Lines of source files that can be read here."""

    @lru_cache(maxsize=64)  # noqa: B019
    def _lines(self, path: str) -> list[str]:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode) or os.path.getsize(path) > _MAX_SOURCE:
                return []
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read().splitlines()
        except (OSError, ValueError):
            return []

    def line(self, path: str, number: int) -> str | None:
        """One line, by its number from 1 on; None if it cannot be read."""
        if not os.path.isabs(path):
            return None
        return next(islice(self._lines(path), number - 1, number), None)
