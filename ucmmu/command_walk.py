# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu walk``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.command import Command
from ucmmu.looking import WHEN, WHO, add_moment, check_moment

_EXAMPLES = f"""\
Shows one address as of one event: each level's entry, where it lies, its value and its bits by
name; what the rights of all levels come to, and what the walk would answer; which TLB and
paging-structure-cache entries of which CPU hold it, and which of them are stale; the PTE table's
reference count and who holds it.

ADDRESS is a number, or a function of the guest: main, main+0x10, libc.so.6:malloc.

{WHEN}

{WHO}

examples:
  ucmmu run --trace hello.trace hello
  ucmmu walk hello.trace --at 5000 main
  ucmmu walk hello.trace --at insn=100 --json - 0x401000
  ucmmu walk hello --at-exit --bits main
  ucmmu walk sparse --at-exit --cpus 2 main -- 64M"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="FILE|PROGRAM", help="a trace; with --at-exit a program")
    parser.add_argument("address", metavar="ADDRESS", help="a number, or a function's name")
    parser.add_argument(
        "--bits", action="store_true", help="draw each entry bit by bit, as the SDM does"
    )
    add_moment(parser)


def _run(arguments: argparse.Namespace) -> int:
    check_moment(arguments, "walk")
    from ucmmu.reading.looked import walk

    return walk(arguments)


COMMAND = Command(
    "walk",
    "[option...] (FILE --at EVENT | PROGRAM --at-exit) ADDRESS [-- ARG...]",
    "show one address at one event: its walk, what is cached of it, its table's count",
    _EXAMPLES,
    _add_arguments,
    _run,
    takes_args=True,
)
