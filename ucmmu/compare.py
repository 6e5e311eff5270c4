# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu compare``: one program under every policy, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ucmmu.environment import environment_of
from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.options import (
    DEFAULT_LEVELS,
    NOT_COUNTED,
    POLICIES,
    RunOptions,
    is_policy_file,
    program_file,
)
from ucmmu.output import JsonOutput, refuse_a_program
from ucmmu.progress import Progress
from ucmmu.report import compare_text
from ucmmu.run import ended_by_stop, load_policy_of, open_traces, supervised
from ucmmu.streams import STDERR, STDOUT, glance, say
from ucmmu.supervise import Limits, stops_noted
from ucmmu.text import printable


def compare(
    options: RunOptions,
    limits: Limits,
    *,
    policies: Sequence[str] = (),
    engine: str | None = None,
    json_target: str | None,
    show_output: bool,
) -> int:
    """Run ``options`` under each policy in turn and print one table on stdout.

    ``policies`` are those asked for: none, or none of ours, and all of ours are run before them.
    ``engine`` is what was asked for, None: what a policy can run on.
    With ``--json -`` the table goes to stderr.  The guest's own output is shown, on stderr, only if
    asked for.  Returns the first exit code that is not 0; ^C leaves the policies that follow out.
    """
    program = program_file(options)
    environment_of(options)
    runs = _runs(options, policies, engine)
    refuse_a_program("--json", json_target, program)
    if options.trace is not None:
        _make_directory(options.trace)
    reports: dict[str, dict[str, Any]] = {}
    with JsonOutput(json_target) as output, stops_noted() as stops:
        for one in runs:
            policy = one.free_tables
            report = reports[policy] = _one(one, limits, show_output, program)
            if report["error"]:
                line = report["error"].removeprefix(f"{policy.removeprefix('./')}: ")
                glance(STDERR, f"ucmmu: {policy}: {printable(line)}\n")
            if ended_by_stop(report) or stops:
                break
        _show(reports, output)
    codes = [
        *(int(report["exit_code"]) for report in reports.values()),
        *(SIGNALLED + n for n in stops),
    ]
    return next((code for code in codes if code), 0)


def _runs(options: RunOptions, policies: Sequence[str], engine: str | None) -> list[RunOptions]:
    """One run of each policy. Raises Failure (POLICY, USAGE)."""
    chosen = list(dict.fromkeys(policies))
    if all(is_policy_file(policy) for policy in chosen):
        chosen = [*POLICIES, *chosen]
    runs = [_under(options, policy, engine) for policy in chosen]
    for one in runs:
        load_policy_of(one)
    return runs


def _show(reports: dict[str, dict[str, Any]], output: JsonOutput) -> None:
    """Write JSON and table; the one that can be written is, whatever becomes of the other."""
    try:
        output.write(reports)
    finally:
        fd = STDERR if output.to_stdout else STDOUT
        say(fd, compare_text(reports, fd))


def _make_directory(path: str) -> None:
    """Raises Failure (NO_OUTPUT)."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        hint = " (compare makes a file of each policy, in a directory)" if path != "-" else ""
        line = f"--trace {printable(path)}: {why}{hint}"
        raise Failure(ExitCode.NO_OUTPUT, line) from None


def _under(options: RunOptions, policy: str, engine: str | None) -> RunOptions:
    """The run under this policy: one of ours that counts no references frees PTE tables at most.
    Raises Failure (USAGE).
    """
    return replace(
        options,
        free_tables=policy,
        free_levels=DEFAULT_LEVELS if policy in NOT_COUNTED else options.free_levels,
        engine=engine or "c",
        trace=_trace_of(options, policy),
    )


def _trace_of(options: RunOptions, policy: str) -> str | None:
    name = policy.removeprefix("./").replace("/", "_")
    return None if options.trace is None else os.path.join(options.trace, f"{name}.trace")


def _one(
    options: RunOptions, limits: Limits, show_output: bool, program: Path | None
) -> dict[str, Any]:
    traces = open_traces(options, program)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        redirect = {1: 2} if show_output else {1: nothing, 2: nothing}
        with Progress(
            f"{options.program} ({options.free_tables})", wanted=not show_output
        ) as progress:
            return supervised(options, limits, progress, redirect=redirect, traces=traces)
    finally:
        os.close(nothing)
        if traces.trace is not None:
            os.close(traces.trace)
