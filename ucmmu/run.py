# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu run``: one supervised run, and the report that it leaves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ucmmu.environment import environment_of
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.garbage import collect_garbage
from ucmmu.link import Link, Message
from ucmmu.options import STDERR as TO_STDERR
from ucmmu.options import RunOptions, Traces, is_policy_file, program_file
from ucmmu.output import JsonOutput, descriptor_named, refuse_a_program
from ucmmu.progress import Progress
from ucmmu.streams import STDERR, STDOUT, Unread, is_closed, say
from ucmmu.supervise import NO_REPORT, NOT_ITS_LAST, Limits, Outcome, supervise
from ucmmu.text import printable
from ucmmu.upper import Upper, upper_layer

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

STOPPED = ("timeout", "memory", "interrupt")
"""The ends that ucmmu itself ordered."""
NO_TRACES = Traces()
PATIENCE = 1.0
"""Seconds that whoever reads our streams has after such an end."""


def run(options: RunOptions, limits: Limits, *, json_target: str | None) -> int:
    """Run ``options``, print the short table on stderr, and return the exit code.

    The guest has stdin, stdout and stderr to itself, but for ``--json -`` or a trace on stdout:
    then its stdout is our stderr, and with ``--json -`` there is no table.
    """
    program = program_file(options)
    environment_of(options)
    load_policy_of(options)
    refuse_a_program("--json", json_target, program)
    with JsonOutput(json_target) as output:
        targets = [options.trace, options.strace_out if options.strace else None]
        fds = [_fd_of(target) for target in targets if target is not None]
        stdout_is_ours = output.to_stdout or STDOUT in fds
        traces = open_traces(options, program)
        with Progress(options.program, wanted=_is_quiet(traces, fds)) as progress:
            redirect = {1: 2} if stdout_is_ours else {}
            report = supervised(
                options,
                limits,
                progress,
                redirect=redirect,
                traces=traces,
                meanwhile=None if output.to_stdout else load_report,
            )
        return show(report, output)


def load_policy_of(options: RunOptions) -> None:
    """Load a policy of the user's own, so that a bad one is refused before anything is begun.
    Raises Failure (POLICY).
    """
    if is_policy_file(options.free_tables):
        from ucmmu.policy_file import load_policy

        load_policy(options.free_tables)


def show(report: dict[str, Any], output: JsonOutput) -> int:
    """Write the report where it is wanted: as JSON, as a table, as a line; the exit code.

    What one of them cannot say is still said by the others. Raises the Failure of the first that
    could not. Where nobody reads the streams of a run that was stopped, they are not waited for.
    """
    patience = PATIENCE if report["ended"] in STOPPED else None
    failures = []
    try:
        output.write(report, patience=patience)
    except Failure as failure:
        failures.append(failure)
    try:
        if report["VmSize"] is not None and (not output.to_stdout or failures):
            from ucmmu.report import run_text

            say(STDERR, run_text(report), patience=patience)
        if report["error"]:
            say(STDERR, f"ucmmu: {printable(report['error'])}\n", patience=patience)
    except Failure as failure:
        failures.append(failure)
    for one in failures:
        if not isinstance(one, Unread):
            raise one
    return int(report["exit_code"])


def load_report() -> None:
    """Import what the short table needs."""
    from ucmmu.report import load

    load()


def _fd_of(target: str) -> int | None:
    """The descriptor that ``--trace`` or its like names, if it names one."""
    if target == TO_STDERR:
        return STDERR
    return STDOUT if target == "-" else descriptor_named(target)


def _is_quiet(traces: Traces, fds: Sequence[int | None]) -> bool:
    """Whether no trace goes where the progress line is shown."""
    return traces.strace is None and (traces.trace is None or STDERR not in fds)


def open_traces(options: RunOptions, program: Path | None) -> Traces:
    """Open what ``--trace`` and ``--strace-out`` name, for the child to write. Raises Failure
    (NO_OUTPUT).
    """
    trace = strace = None
    if options.trace is not None:
        trace = _open_trace("--trace", options.trace, program)
        if os.isatty(trace):
            line = "--trace: a trace is not for a terminal: write `| ucmmu trace -` behind it"
            raise Failure(ExitCode.NO_OUTPUT, line)
    if options.strace:
        strace = _open_trace("--strace-out", options.strace_out, program)
    return Traces(trace, strace)


def _open_trace(option: str, target: str, program: Path | None) -> int:
    fd = _fd_of(target)
    try:
        if fd is not None:
            if fd == STDOUT and is_closed(STDOUT):
                raise OSError(errno.EBADF, "stdout is closed")
            return os.dup(fd)
        refuse_a_program(option, target, program)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY | os.O_CLOEXEC
        return os.open(target, flags, 0o666)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(ExitCode.NO_OUTPUT, f"{option} {printable(target)}: {why}") from None


def supervised(
    options: RunOptions,
    limits: Limits,
    progress: Progress,
    *,
    redirect: Mapping[int, int],
    traces: Traces = NO_TRACES,
    meanwhile: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Run ``options`` in a child and return its report, complete whatever happened.

    ``meanwhile`` as for supervise().
    """
    with upper_layer(options.keep) as upper:

        def job(link: Link) -> Message:
            from ucmmu.guest import run_guest

            collect_garbage()
            return run_guest(options, link, traces, upper.path, progress=progress.wanted)

        outcome = supervise(job, limits, redirect=redirect, watch=progress, meanwhile=meanwhile)
        report = report_of(options, outcome)
        if options.keep is not None and outcome.result is not None:
            _keep(upper, options.keep, report)
        return report


def _keep(upper: Upper, target: str, report: dict[str, Any]) -> None:
    """Save what the guest wrote; the report says if that could not be."""
    if not report.pop("kept", False):
        report["notes"].append(f"--keep {target}: the run was cut short, and nothing was saved")
        return
    try:
        upper.keep(target)
    except Failure as failure:
        report["exit_code"], report["error"] = failure.code, failure.line


UNFINISHED = "ucmmu's own checks at the end were not finished: the run was ended before"


def report_of(options: RunOptions, outcome: Outcome) -> dict[str, Any]:
    """Join what was asked, what the child said, and how it ended."""
    report: dict[str, Any] = {
        "program": options.program,
        "args": list(options.args),
        "free_tables": options.free_tables,
        "free_levels": options.free_levels,
        "fidelity": options.fidelity,
        "engine": options.engine,
        "tlb": options.tlb,
        "check_tlb": options.check_tlb,
        "ram": options.ram,
        "cpus": options.cpus,
        "seed": options.seed,
        "quantum": options.quantum,
        "env": list(environment_of(options)),
        "cwd": None,
        "uid": os.getuid() if options.uid is None else options.uid,
        "preload": list(options.preload),
        "read": list(options.read),
        "writable": list(options.writable),
        "root": options.root,
        "keep": options.keep,
        "disk_limit": options.disk_limit,
        "max_files": options.max_files,
        "max_processes": options.max_processes,
        "trace": options.trace,
        "trace_filter": list(options.trace_filter),
        "trace_limit": options.trace_limit,
        "given": None,
        "isolation": None,
        **dict.fromkeys(FIGURES),
        "signal": None,
        "error": None,
        "checks_finished": False,
        **(outcome.result or {}),
        "exit_code": int(outcome.code),
        "host_rss_peak": outcome.host_rss_peak >> 10,
    }
    report["samples"] = report.pop("samples", [])
    report["processes"] = report.pop("processes", [])
    report["notes"] = [*report.get("notes", []), *([] if outcome.finished else [UNFINISHED])]
    if is_policy_file(options.free_tables):
        report["notes"].append(
            "the policy is in Python, so the mm ran on the Python engine, slowly"
        )
    if outcome.ended != "done":
        report["ended"] = outcome.ended
    if outcome.error is not None:
        report["error"] = outcome.error
    if outcome.error in (NO_REPORT, NOT_ITS_LAST) and is_policy_file(options.free_tables):
        report["exit_code"] = int(ExitCode.POLICY)
        report["error"] = (
            f"under {options.free_tables} the process ended by itself, before all was checked: as"
            " by os._exit()"
        )
    return report


def ended_by_stop(report: Mapping[str, Any]) -> bool:
    """Whether ^C or its like ended the run."""
    return bool(report["ended"] == "interrupt")
