# SPDX-License-Identifier: GPL-2.0-or-later
"""``--at-exit``: run a program, record it in a file that is gone afterwards, and look before it
exits.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ucmmu.arguments import run_options
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import RunOptions, program_file
from ucmmu.progress import Progress
from ucmmu.reading.moment import Moment, exit_moment
from ucmmu.reading.source import open_trace
from ucmmu.run import open_traces, supervised
from ucmmu.supervise import Limits

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile

_FILTER: Final = "!event=insn,access,tlb_hit"
"""What changes no state need not be recorded."""


@contextmanager
def recorded_until_exit(arguments: argparse.Namespace) -> Iterator[tuple[TraceFile, Moment]]:
    """Run the program; its trace, and the moment when the first process, or ``--task``, begins to
    exit. Raises Failure: what kept it from running, or USAGE if it did not come so far.
    """
    with tempfile.TemporaryDirectory(prefix="ucmmu-") as folder:
        file = os.path.join(folder, "run.trace")
        arguments.trace, arguments.trace_filter = file, [_FILTER]
        options = replace(
            run_options(arguments, arguments.target, arguments.args),
            free_tables=arguments.free_tables,
        )
        limits = Limits(timeout=arguments.timeout, memory=arguments.memory_limit)
        report = _run(options, limits, show_output=arguments.show_output)
        with open_trace(file) as trace:
            yield trace, _exit_of(trace, arguments.task, report)


def _run(options: RunOptions, limits: Limits, *, show_output: bool) -> dict[str, Any]:
    """Run it and return its report. Raises Failure if nothing was run."""
    traces = open_traces(options, program_file(options))
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        redirect = {1: 2} if show_output else {1: nothing, 2: nothing}
        with Progress(options.program, wanted=not show_output) as progress:
            report = supervised(options, limits, progress, redirect=redirect, traces=traces)
    finally:
        os.close(nothing)
        if traces.trace is not None:
            os.close(traces.trace)
    if report["error"] and report["VmSize"] is None:
        raise Failure(report["exit_code"], report["error"])
    return report


def _exit_of(trace: TraceFile, task: int | None, report: dict[str, Any]) -> Moment:
    """When a task, by default the first, is the last of its process that begins to exit."""
    pid = task
    if pid is None:
        pid = next((n.fields["pid"] for n in trace.notes if n.kind == "process"), None)
    when = exit_moment(trace, pid)
    if when is None:
        why = f": {report['error']}" if report["error"] else ""
        raise Failure(report["exit_code"] or ExitCode.USAGE, f"task {pid} did not exit{why}")
    return when
