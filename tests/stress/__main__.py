# SPDX-License-Identifier: GPL-2.0-or-later
"""``make stress SECONDS=…``: run the threads under each form, and print what came of it."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from native.smp import NotBuilt
from tests.stress.native import FORMS, Died, Run, stress
from ucmmu.terminal import Console

SANITIZERS = {"thread": "thread", "address": "address", "undefined": "undefined"}
EXAMPLE = """examples:
  make stress SECONDS=3600
  python -m tests.stress --free-tables refcount --threads 4 --seconds 10 --seed 7
  python -m tests.stress --sanitize thread --seconds 30 --json stress.json

exit status: 0 nothing was found, 1 a rule was broken, 2 wrong usage or nothing could be built,
130 interrupted
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress",
        description="Have threads fault, zap, look up and read on a few PTE tables of one address"
        " space: the C code of native/, built with C11 atomics that meet (docs/stress.md).",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        *("--free-tables", "-p"),
        action="append",
        choices=("never", *FORMS),
        help=f"under this policy (default {', '.join(FORMS)}, one after the other)",
    )
    add("--seconds", type=_positive(float), default=60, help="of all policies (default 60)")
    add(
        "--threads",
        type=_positive(int),
        default=max(2, os.cpu_count() or 2),
        help="CPUs, each a thread (default: as many as the host has)",
    )
    add("--tables", type=_positive(int), default=3, help="PTE tables that they share (default 3)")
    add("--pages", type=_positive(int), default=4, help="pages used of each (default 4)")
    add("--seed", type=_positive(int), help="of what each thread does (default: a new one)")
    add("--sanitize", choices=SANITIZERS, default="", help="build with this sanitizer")
    add("--json", type=Path, metavar="FILE", help="write the reports as JSON; - prints them")
    options = parser.parse_args(arguments)
    for name, most in (("threads", 32), ("tables", 512), ("pages", 512)):
        if getattr(options, name) > most:
            parser.error(f"--{name} takes at most {most}")
    return options


def _positive(kind: type) -> Any:
    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < 1e15:
            raise ValueError(text)
        return value

    convert.__name__ = "positive number"
    return convert


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; returns the exit status."""
    options = parse(arguments)
    forms = options.free_tables or list(FORMS)
    seed = options.seed or secrets.randbelow(10**9) + 1
    reports = []
    try:
        for form in forms:
            run = Run(
                free_tables=form,
                threads=options.threads,
                tables=options.tables,
                pages=options.pages,
                seconds=options.seconds / len(forms),
                seed=seed,
                sanitize=options.sanitize,
            )
            print(f"{form} for {run.seconds:.0f} s, seed {seed} …", file=sys.stderr)
            reports.append(stress(run))
    except (NotBuilt, Died) as error:
        if reports:
            show(reports)
        print(f"stress: {error}", file=sys.stderr)
        return 2 if isinstance(error, NotBuilt) else 1
    if options.json and str(options.json) != "-":
        try:
            options.json.write_text(json.dumps(reports, indent=1) + "\n")
        except OSError as error:
            print(f"stress: {options.json}: {error.strerror}", file=sys.stderr)
            return 2
    if str(options.json) == "-":
        print(json.dumps(reports, indent=1))
    else:
        show(reports)
    return int(any(report["defects"] for report in reports))


ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "operations": lambda r: f"{r['operations']['total']:,}",
    "  a second": lambda r: f"{r['operations']['total'] / r['seconds']:,.0f}",
    "faults": lambda r: f"{r['faults']:,}",
    "flushes done for other CPUs": lambda r: f"{r['flushes_for_others']:,}",
    "grace periods": lambda r: f"{r['grace_periods']:,}",
    "words checked": lambda r: f"{r['words_checked']:,}",
    "tables allocated": lambda r: f"{r['tables_allocated']:,}",
    "tables freed": lambda r: f"{r['tables_freed']:,}",
    "lost counts": lambda r: f"{r['lost_counts']:,}",
    "looks at rest": lambda r: f"{r['rests']:,}",
    "waits for a lock": lambda r: f"{r['lock_waits']:,}",
    "longest wait, ms": lambda r: f"{r['wait_us_max'] / 1000:,.1f}",
    "threads stopped on purpose": lambda r: f"{r['stops']:,}",
    "defects": lambda r: f"{r['defects']:,}",
}


def show(reports: Sequence[dict[str, Any]]) -> None:
    """The table, a column for each policy."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"seed {reports[0]['seed']}, {reports[0]['threads']} threads")
    for report in reports:
        table.add_column(report["free_tables"], justify="right")
    for operation in reports[0]["operations"]:
        if operation != "total":
            table.add_row(operation, *(f"{r['operations'][operation]:,}" for r in reports))
    table.add_section()
    for name, cell in ROWS.items():
        table.add_row(name, *(cell(report) for report in reports))
    Console(sys.stdout).print(table)
    for report in reports:
        if report["defect"]:
            print(f"{report['free_tables']}: {report['defect']}")


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        try:
            sys.exit(main())
        except KeyboardInterrupt:
            sys.exit(130)
