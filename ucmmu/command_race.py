# SPDX-License-Identifier: GPL-2.0-or-later
"""``ucmmu race``: the command line."""

from __future__ import annotations

import argparse

from ucmmu.arguments import add_json
from ucmmu.command import Command
from ucmmu.options import MAX_SEED, POLICIES
from ucmmu.race.models import MODELS

_EXAMPLES = """\
A scenario is two to four kernel operations over one PTE table, each on its own CPU.  Every order of
their steps that matters is run in which a CPU that could go on is left for another at most --bound
times: 3 for two operations, 2 for three, 1 for four.  Of two operations all orders are run, if they
are no more than 20,000.  After each step, and at the end, all is checked.  With --seed orders are
drawn at random instead.  docs/races.md says how it works, and shows the defects that it finds in
published versions.

The exit code is 0 if all passed, 1 if one failed, 2 if none failed and one is UNFINISHED: --seconds
or --schedules ended it first.  After ^C it is 130.

examples:
  ucmmu race --list
  ucmmu race --bound 0 fault-zap
  ucmmu race --free-tables refcount --model sc --bound 1 gup-zap lazy-zap
  ucmmu race --seed 7 --schedules 20 zap-zap-fault
  ucmmu race --free-tables refcount --model sc --replay '0*3,1*5' --trace race.trace fault-zap
  ucmmu race --json races.json --bound 0 fault-fault
  ucmmu race --all --seconds 3600 --jobs 4"""

MAX_JOBS = 1024


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="a scenario: --list names them")
    what = parser.add_argument_group("what is run")
    what.add_argument("--list", action="store_true", help="list the scenarios, and end")
    what.add_argument("--all", action="store_true", help="every scenario")
    what.add_argument(
        "--free-tables",
        metavar="POLICY",
        action="append",
        default=[],
        help=f"under this policy: {', '.join(POLICIES)}, or yours as FILE.py:CLASS; may be repeated"
        " (default: all that the scenario is for)",
    )
    what.add_argument(
        "--model",
        choices=[*MODELS, "both"],
        default="both",
        help="memory model: " + "; ".join(f"{k}: {v}" for k, v in MODELS.items()) + " (default:"
        " both)",
    )
    what.add_argument(
        "--variant",
        metavar="FILE.py:CLASS",
        help="change the kernel: a class whose functions take the place of its own (docs/races.md,"
        " A change of your own)",
    )
    what.add_argument(
        "--fine",
        action="store_true",
        help="have each step touch one thing that other CPUs may see, not only end at named points:"
        " many more orders",
    )
    what.add_argument(
        "--points",
        metavar="NAMES",
        type=_names,
        default=(),
        help="leave a CPU only at points of these names, as pte_put,pmd_cleared, and where it"
        " waits: fewer orders (default: at all; docs/races.md names them)",
    )
    how = parser.add_argument_group("how far")
    how.add_argument(
        "--bound",
        metavar="N",
        type=_bound,
        help="most preemptions, or all: no bound (default: 3, 2, 1 for two, three, four operations;"
        " from 2 on, two operations are run in all orders, if there are no more than 20,000)",
    )
    how.add_argument(
        "--schedules", metavar="N", type=_count, help="no more than N orders of each row"
    )
    how.add_argument(
        "--seconds",
        metavar="S",
        type=_seconds,
        help="no longer than S seconds in all, shared among the rows: what some do not need, the"
        " others get",
    )
    how.add_argument(
        "--seed",
        metavar="S",
        type=_seed,
        help="orders at random, from this seed, until --schedules or --seconds ends it",
    )
    how.add_argument(
        "--jobs",
        metavar="N",
        type=_jobs,
        help="processes that explore (default: one for each CPU of the host, no more than needed)",
    )
    one = parser.add_argument_group("one order")
    one.add_argument(
        "--replay",
        metavar="SCHEDULE",
        help="run this one order, as a failure prints it, and show its steps: 0*3,1 is three of"
        " CPU 0 and one of CPU 1; what it leaves open goes on CPU by CPU",
    )
    one.add_argument(
        "--trace",
        metavar="FILE",
        help="record the order that is replayed, or the first that fails; `ucmmu trace` reads it",
    )
    add_json(parser)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(name.isidentifier() for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of points: as pte_put,pmd_cleared")
    return names


def _bound(text: str) -> int:
    """-1: all."""
    if text == "all":
        return -1
    return _whole(text, 0, 1000, "number of preemptions")


def _count(text: str) -> int:
    return _whole(text, 1, 10**12, "number of orders")


def _jobs(text: str) -> int:
    return _whole(text, 1, MAX_JOBS, "number of processes")


def _seed(text: str) -> int:
    return _whole(text, 0, MAX_SEED, "seed")


def _whole(text: str, least: int, most: int, what: str) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no {what}, {least} to {most}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _run(arguments: argparse.Namespace) -> int:
    from ucmmu.race.command import race

    return race(arguments)


COMMAND = Command(
    "race",
    "[option...] [NAME...]",
    "run kernel operations over one page table in every order",
    _EXAMPLES,
    _add_arguments,
    _run,
)
