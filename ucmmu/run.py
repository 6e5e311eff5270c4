# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu run``: one supervised run, and the report that it leaves."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import IO, Any

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import STDERR, RunOptions, find_program
from ucmmu.output import JsonOutput
from ucmmu.progress import Progress
from ucmmu.supervise import Limits, Link, Message, Outcome, supervise

FIGURES = (
    "VmPeak",
    "VmSize",
    "VmHWM",
    "VmRSS",
    "VmPTE",
    "VmPTE_peak",
    "pte_tables_allocated",
    "pte_tables_freed",
    "pte_tables_freed_before_exit",
    "page_faults",
    "instructions",
    "seconds",
)
"""What every report has; null where the run could not say."""


def run(options: RunOptions, limits: Limits, *, json_target: str | None) -> int:
    """Run ``options``, print the short table on stderr, and return the exit code.

    The guest has stdin, stdout and stderr to itself, but for ``--json -`` or a trace on stdout: then its
    stdout is our stderr, and with ``--json -`` there is no table.
    """
    find_program(options.program)
    with JsonOutput(json_target) as output:
        stdout_is_ours = output.to_stdout or options.trace_out == "-"
        trace = open_trace(options) if options.fidelity == "trace" else None
        with Progress(options.program, wanted=trace is None) as progress:
            redirect = {1: 2} if stdout_is_ours else {}
            report = supervised(options, limits, progress, redirect=redirect, trace=trace)
        output.write(report)
        if not output.to_stdout and report["VmSize"] is not None:
            from ucmmu.report import print_run

            print_run(report, sys.stderr)
        if report["error"]:
            print(f"ucmmu: {report['error']}", file=sys.stderr)
    return int(report["exit_code"])


def open_trace(options: RunOptions) -> IO[str]:
    """Open what ``--trace-out`` names, for the child to write. Raises Failure (NO_OUTPUT)."""
    try:
        if options.trace_out in (STDERR, "-"):
            return os.fdopen(os.dup(2 if options.trace_out == STDERR else 1), "w")
        return open(options.trace_out, "w", encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(ExitCode.NO_OUTPUT, f"--trace-out {options.trace_out}: {why}") from None


def supervised(
    options: RunOptions,
    limits: Limits,
    progress: Progress,
    *,
    redirect: Mapping[int, int],
    trace: IO[str] | None = None,
) -> dict[str, Any]:
    """Run ``options`` in a child and return its report, complete whatever happened."""

    def job(link: Link) -> Message:
        from ucmmu.guest import run_guest

        return run_guest(options, link, trace, progress=progress.wanted)

    return report_of(options, supervise(job, limits, redirect=redirect, watch=progress))


def report_of(options: RunOptions, outcome: Outcome) -> dict[str, Any]:
    """Join what was asked, what the child said, and how it ended."""
    report: dict[str, Any] = {
        "program": options.program,
        "args": list(options.args),
        "free_tables": options.free_tables,
        "fidelity": options.fidelity,
        "engine": options.engine,
        "tlb": options.tlb,
        "check_tlb": options.check_tlb,
        "ram": options.ram,
        **dict.fromkeys(FIGURES),
        "signal": None,
        "error": None,
        **(outcome.result or {}),
        "exit_code": int(outcome.code),
        "host_rss_peak": outcome.host_rss_peak >> 10,
    }
    report["samples"] = report.pop("samples", [])
    if outcome.ended != "done":
        report["ended"] = outcome.ended
    if outcome.error is not None:
        report["error"] = outcome.error
    return report


def ended_by_stop(report: Mapping[str, Any]) -> bool:
    """Whether ^C or its like ended the run."""
    return bool(report["ended"] == "interrupt")
