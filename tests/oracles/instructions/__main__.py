# SPDX-License-Identifier: GPL-2.0-or-later
"""Execute random instructions natively and here, and print the result; replays a test's seed."""

from __future__ import annotations

import argparse
import sys

from cpu.vcpu import Fidelity
from tests.cpu.world import How
from tests.oracles.instructions.campaign import Report, run
from tests.oracles.instructions.native import Unavailable


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.oracles.instructions",
        description="Execute random instructions on the host's processor and here: same registers,"
        " flags, memory, or the same signal. Differences that tests/oracles/instructions/limits.py"
        " does not explain are printed.",
        epilog="example: python -m tests.oracles.instructions --seed 7 --cases 5000; exit code 1"
        " if any is unexplained",
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same seed, the same cases (default 1)"
    )
    parser.add_argument(
        "--cases", type=int, default=5000, metavar="N", help="how many (default 5000)"
    )
    parser.add_argument(
        "--fidelity", choices=[f.label for f in Fidelity], default="fast", help="default fast"
    )
    parser.add_argument("--engine", choices=["c", "python"], default="c", help="default c")
    parser.add_argument(
        "--stepped", action="store_true", help="run each by a limit of one instruction"
    )
    options = parser.parse_args(arguments)
    if options.cases < 1:
        parser.error("--cases takes 1 or more")
    return options


def table(report: Report) -> str:
    """How many were the same, and which limit explains how many of the rest."""
    lines = [
        f"{report.cases:,} instructions, {report.same:,} the same, {report.denied:,} of them"
        " denied by CPUID here"
    ]
    lines += [f"{count:9,}  {name}" for name, count in report.explained.most_common()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, return the exit code."""
    options = parse(arguments)
    how = How(Fidelity.from_label(options.fidelity), options.engine)
    try:
        report = run(options.seed, options.cases, how, stepped=options.stepped)
    except Unavailable as error:
        print(f"instructions: {error}", file=sys.stderr)
        return 2
    print(table(report))
    print(report.tell())
    return 1 if report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
