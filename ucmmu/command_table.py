# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu table``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_json
from ucmmu.command import Command
from ucmmu.looking import Number, add_showing

_EXAMPLES = """\
Shows the life of one table in a recorded run, a PTE table if --level does not say otherwise: its
frame is allocated, it is installed, each reference is taken and dropped (who, in which kernel
function, from what to what), each of its entries is set and cleared, it is unhooked, flushed,
queued for RCU, and free when the grace period is over.  The last line says whether the counts are
one unbroken chain from 1 to 0.

ADDRESS is an address that the table maps: a number, or a function of the guest; or the frame of the
table: pfn=0x123.  If several tables stood there one after the other, --life chooses; the last is
shown if it does not.

examples:
  ucmmu run --trace hello.trace hello
  ucmmu table hello.trace main
  ucmmu table hello.trace --life 1 --json - main
  ucmmu run --free-levels pmd --trace upper.trace hello
  ucmmu table upper.trace --level pmd main"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="FILE", help="a trace")
    parser.add_argument(
        "address", metavar="ADDRESS", help="a number, a function's name, or pfn=FRAME"
    )
    choosing = parser.add_argument_group("which table")
    choosing.add_argument(
        "--level",
        choices=("pte", "pmd", "pud"),
        default="pte",
        help="a table of that level; those above pte tell of all their references where they are"
        " counted (ucmmu run --free-levels); default: pte",
    )
    choosing.add_argument("--task", metavar="PID", type=Number, help="in the mm of that task")
    choosing.add_argument(
        "--mm", metavar="PA", type=_address, help="in the mm whose PGD lies at that address"
    )
    choosing.add_argument("--life", metavar="N", type=Number, help="its life number N, from 1 on")
    add_showing(parser)
    add_json(parser)


def _address(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address") from None


def _run(arguments: argparse.Namespace) -> int:
    from ucmmu.reading.looked import table

    return table(arguments)


COMMAND = Command(
    "table",
    "[option...] FILE ADDRESS",
    "show the life of one table, from its allocation to the grace period",
    _EXAMPLES,
    _add_arguments,
    _run,
)
