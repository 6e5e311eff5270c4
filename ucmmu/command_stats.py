# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu stats``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_json
from ucmmu.command import Command

_EXAMPLES = """\
A counter means what `ucmmu run --json` and native/trace/events.def say; rebuilt from the events of
a whole trace, each equals the run's own.  With --filter it is of the events that are kept.

examples:
  ucmmu run --trace hello.trace hello
  ucmmu stats hello.trace
  ucmmu stats --by function --top 10 hello.trace
  ucmmu stats --by array --json - hello.trace
  ucmmu stats --by syscall --filter cpu=0 hello.trace"""

BY = ("array", "function", "cpu", "process", "page", "syscall")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a trace, - for stdin")
    parser.add_argument(
        "--by",
        choices=BY,
        help="a row for each TLB array, guest function, CPU, process, 4-KiB page or system call",
    )
    parser.add_argument(
        "--top",
        metavar="N",
        type=_count,
        default=20,
        help="with --by: the N rows with the most walks, misses or calls (default: 20; 0: all)",
    )
    parser.add_argument(
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="count only some events: as `ucmmu trace --filter`; may be repeated",
    )
    add_json(parser)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from ucmmu.reading.stats_command import stats

    return stats(arguments)


COMMAND = Command(
    "stats",
    "[option...] FILE",
    "count what a trace holds: TLB, walks, faults, tables, by whom",
    _EXAMPLES,
    _add_arguments,
    _run,
)
