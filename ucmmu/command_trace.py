# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu trace``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_display
from ucmmu.command import Command

FORMATS = ("text", "jsonl", "ftrace", "trace.dat", "perfetto", "parquet")

_EXAMPLES = """\
Shows each instruction of a run that `ucmmu run --trace FILE` recorded, and under it what it made
the processor and the kernel do.  The first column is the number of the event, by which --around
and the --at of other commands name it.  FILE - is stdin.

filters (--filter; all must hold; several may stand in one text, with blanks between):
  event=NAME,...     kinds of events; * stands for any characters; !event= for all others
  cpu=N,...          CPUs
  task=PID,...       tasks; 0 is the idle task
  site=NAME,...      kernel functions that made the event
  table=PFN,...      page tables and frames: their counts, and the entries in them
  address=A          data addresses: A, A-B (B excluded), A+SIZE; several with commas
  function=NAME,...  functions of the guest whose instructions made it happen
  number=M-N         numbers of events: N, M-N (N excluded), M-
  instruction=M-N    instruction counts of the event's CPU
  time=T-U           virtual times: nanoseconds, or with us, ms or s

formats (--format):
  text       for people; coloured and paged on a terminal ($PAGER)
  jsonl      one JSON object a line
  ftrace     lines as tracefs and trace-cmd show them, Linux's own formats where Linux has the event
  trace.dat  a file for trace-cmd and KernelShark
  perfetto   a file for ui.perfetto.dev
  parquet    a table for pandas, polars, DuckDB

examples:
  ucmmu run --trace hello.trace hello
  ucmmu trace hello.trace
  ucmmu trace --filter event=page_fault --limit 3 hello.trace
  ucmmu trace --around pte_free:40 hello.trace
  ucmmu trace --format jsonl -o hello.jsonl hello.trace
  ucmmu run --trace - hello | ucmmu trace -"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a trace, - for stdin")
    choosing = parser.add_argument_group("which events")
    choosing.add_argument(
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only these, as told below; may be repeated",
    )
    choosing.add_argument(
        "--around",
        metavar="WHAT[:N]",
        help="only those next to WHAT, an event's name or number: N before and after (default: 10)",
    )
    choosing.add_argument(
        "--limit", metavar="N", type=_count, help="at most the first N of them, from 1 on"
    )
    showing = parser.add_argument_group("how they are shown")
    showing.add_argument(
        "--format", choices=FORMATS, help=f"{', '.join(FORMATS)}: as told below (default: text)"
    )
    showing.add_argument(
        "-o", "--output", metavar="FILE", help="write there, - for stdout (default: stdout)"
    )
    add_display(showing)
    showing.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const="-",
        help="JSON lines: --format jsonl -o FILE; with --query the answer as one JSON array",
    )
    asking = parser.add_argument_group("SQL")
    asking.add_argument(
        "--query",
        metavar="SQL",
        help="answer one SELECT over the tables events, tables, processes, maps and counters"
        " (docs/exporting.md)",
    )
    asking.add_argument("--csv", action="store_true", help="with --query: the answer as CSV")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20 or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events from 1 on")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    from ucmmu.reading.trace import trace

    return trace(arguments)


COMMAND = Command(
    "trace",
    "[option...] FILE",
    "show a recorded run: each instruction and what it made the MMU and the kernel do",
    _EXAMPLES,
    _add_arguments,
    _run,
)
