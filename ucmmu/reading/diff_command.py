# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``ucmmu diff`` does: compare two traces, and say it."""

from __future__ import annotations

import argparse
from typing import Final

from ucmmu.event_filter import parse_filter
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import JsonOutput
from ucmmu.reading.diff import compare
from ucmmu.reading.diff_text import as_json, as_text
from ucmmu.reading.outlet import print_out
from ucmmu.reading.passed import shown
from ucmmu.reading.source import open_trace

DIFFERENT: Final = 1
"""Exit code if the runs did not do the same, as of cmp and diff."""


def diff(arguments: argparse.Namespace) -> int:
    """Compare, write, and return the exit code: NO_READER if stdout is a pipe that nobody reads.
    Raises Failure.
    """
    if "-" in (arguments.a, arguments.b):
        raise Failure(ExitCode.USAGE, "diff reads a trace twice: give files, not - for stdin")
    wanted = parse_filter(arguments.filter)
    with (
        JsonOutput(arguments.json) as output,
        open_trace(arguments.a) as a,
        open_trace(arguments.b) as b,
    ):
        with shown(a) as progress:
            found = compare(a, b, wanted, progress)
        output.write(as_json(a, b, found))
        code = 0 if output.to_stdout else print_out(*as_text(a, b, found))
    return code or (0 if found.equal else DIFFERENT)
