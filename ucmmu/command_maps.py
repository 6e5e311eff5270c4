# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu maps``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.command import Command
from ucmmu.looking import WHEN, WHO, add_moment, check_moment

_EXAMPLES = f"""\
Shows an address space as of one event: its VMAs, in each the ranges that the tables map with equal
rights and where in memory these lie, and how many entries and tables that takes; in all, how many
PTE tables are empty, sparse and full, and VmPTE.

Rights are those of all levels together: r, w, x, and u for user or s for supervisor pages.

{WHEN}

{WHO}

examples:
  ucmmu run --trace hello.trace hello
  ucmmu maps hello.trace --at 5000
  ucmmu maps hello.trace --at insn=100 --json -
  ucmmu maps hello --at-exit
  ucmmu maps sparse --at-exit --free-tables never -- 64M"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="FILE|PROGRAM", help="a trace; with --at-exit a program")
    add_moment(parser)


def _run(arguments: argparse.Namespace) -> int:
    check_moment(arguments, "maps")
    from ucmmu.reading.looked import maps

    return maps(arguments)


COMMAND = Command(
    "maps",
    "[option...] (FILE --at EVENT | PROGRAM --at-exit) [-- ARG...]",
    "show an address space at one event: what is mapped where, and how full its tables are",
    _EXAMPLES,
    _add_arguments,
    _run,
    takes_args=True,
)
