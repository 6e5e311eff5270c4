# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu diff``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_json
from ucmmu.command import Command

_EXAMPLES = """\
Each task's events are compared with those of its twin, subject by subject: instructions, system
calls, page faults, walks, PTE tables, references and so on.  Frame numbers and guest-physical
addresses do not count: two policies or seeds give a page another frame.  Of each subject that
differs the first event of each run is shown, with those before it; then parameters, numbers of
events and counters that differ.

The exit code is 0 if both runs did the same, 1 if not.

examples:
  ucmmu run --trace never.trace --free-tables never dontneed_loop 2M 2M
  ucmmu run --trace refcount.trace --free-tables refcount dontneed_loop 2M 2M
  ucmmu diff never.trace refcount.trace
  ucmmu diff --filter 'event=pte_*,sys_*' never.trace refcount.trace
  ucmmu diff --json - never.trace refcount.trace"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a trace in a file")
    parser.add_argument("b", metavar="B", help="another one")
    parser.add_argument(
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="compare only some events: as `ucmmu trace --filter`; may be repeated",
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from ucmmu.reading.diff_command import diff

    return diff(arguments)


COMMAND = Command(
    "diff",
    "[option...] A B",
    "say where two runs part: instructions, system calls, tables",
    _EXAMPLES,
    _add_arguments,
    _run,
)
