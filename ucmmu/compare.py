# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu compare``: one program under every policy, side by side."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from ucmmu.options import POLICIES, RunOptions, find_program
from ucmmu.output import JsonOutput
from ucmmu.progress import Progress
from ucmmu.report import print_compare
from ucmmu.run import ended_by_stop, supervised
from ucmmu.supervise import Limits


def compare(options: RunOptions, limits: Limits, *, json_target: str | None, show_output: bool) -> int:
    """Run ``options`` under each policy in turn and print one table on stdout.

    With ``--json -`` the table goes to stderr.  The guest's own output is shown, on stderr, only if
    asked for.  Returns the first exit code that is not 0; ^C leaves the policies that follow out.
    """
    find_program(options.program)
    reports: dict[str, dict[str, Any]] = {}
    with JsonOutput(json_target) as output:
        for policy in POLICIES:
            reports[policy] = _one(replace(options, free_tables=policy), limits, show_output)
            if reports[policy]["error"]:
                print(f"ucmmu: {policy}: {reports[policy]['error']}", file=sys.stderr)
            if ended_by_stop(reports[policy]):
                break
        output.write(reports)
        print_compare(reports, sys.stderr if output.to_stdout else sys.stdout)
    codes = [int(report["exit_code"]) for report in reports.values()]
    return next((code for code in codes if code), 0)


def _one(options: RunOptions, limits: Limits, show_output: bool) -> dict[str, Any]:
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        redirect = {1: 2} if show_output else {1: nothing, 2: nothing}
        with Progress(f"{options.program} ({options.free_tables})", wanted=not show_output) as progress:
            return supervised(options, limits, progress, redirect=redirect)
    finally:
        os.close(nothing)
