# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening a trace for a reader, with one line for whatever is wrong with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.streams import STDERR, say
from ucmmu.text import printable

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile


@contextmanager
def open_trace(path: str) -> Iterator[TraceFile]:
    """The trace in the file ``path``, ``-`` for stdin, for as long as it is read.

    A torn trace is read up to its tear, which is then told in one line on stderr. Raises Failure
    (BAD_TRACE) if there is no such file, or it is no trace of ours; also for what goes wrong with
    the file while it is read.
    """
    from mmu.trace.format import TraceError
    from mmu.trace.reader import TraceFile

    name = "stdin" if path == "-" else printable(path)
    try:
        with open_binary(path) as file:
            trace = TraceFile(name, file)
            yield trace
            if trace.torn is not None:
                with suppress(Failure):
                    say(STDERR, f"ucmmu: warning: {name}: torn: {trace.torn}\n", patience=0.5)
    except TraceError as error:
        raise Failure(ExitCode.BAD_TRACE, str(error)) from None


def tell_of_gaps(trace: TraceFile) -> None:
    """Warn on stderr, in one line each, if events were left out when the trace was recorded."""
    lines = []
    if words := trace.head.get("filter"):
        shown = printable(" ".join(map(str, words)))
        lines.append(f"recorded with --trace-filter {shown}: what that left out is not seen")
    if lost := ((trace.summary or {}).get("left_out") or {}).get("limit"):
        lines.append(f"recorded up to its --trace-limit: {lost:,} later events are not seen")
    for line in lines:
        with suppress(Failure):
            say(STDERR, f"ucmmu: warning: {trace.path}: {line}\n", patience=0.5)


@contextmanager
def open_binary(path: str) -> Iterator[Any]:
    """The file ``path``, ``-`` for stdin, open for reading. Raises Failure (BAD_TRACE)."""
    try:
        if path == "-":
            if sys.stdin is None or os.isatty(sys.stdin.fileno()):
                line = "stdin is no trace: give FILE, or `ucmmu run --trace - ... | ucmmu ... -`"
                raise Failure(ExitCode.BAD_TRACE, line)
            file: Any = sys.stdin.buffer
        else:
            file = open(path, "rb")  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(ExitCode.BAD_TRACE, f"{printable(path)}: {reason}") from None
    with file:
        yield file


def extra(module: str, *, wanted_by: str, extra: str) -> Any:
    """Import ``module`` of the optional dependencies called ``extra``; ``wanted_by`` is what needs
    it. Raises Failure (NO_EXTRA).
    """
    try:
        return import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        missing = f" ({error})" if error.name is not None and error.name != root else ""
        line = f"{wanted_by} needs {root}{missing}: pip install 'ucmmu[{extra}]'"
        raise Failure(ExitCode.NO_EXTRA, line) from None
