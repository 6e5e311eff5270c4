# SPDX-License-Identifier: GPL-2.0-or-later
"""Run every case and print what came of it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.oracles.enumerate.cases import PAGE_NAMES, slices, tlb_slices
from tests.oracles.enumerate.pairs import Bench, sample
from tests.oracles.enumerate.run import SHOWN, Tally, World, run_slice
from ucmmu.terminal import Console

TLB_STRIDE = 499
"""Of the rows that go through a TLB, one of so many: a prime, so that it meets every parent and
every state.
"""

Label = tuple[str, str, int, str]
Advance = Callable[[int], None]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="make enumerate, or python -m tests.oracles.enumerate",
        description="Judge the page walk on every combination of entry bits, register bits and"
        " accesses, by tables written from the Intel SDM and the AMD APM: fault or not, error"
        " code, A and D afterwards.",
        epilog="example: python -m tests.oracles.enumerate --every 100 --json enumeration.json",
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take one row of N, not all (default 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON, too")
    options = parser.parse_args(arguments)
    if options.every < 1:
        parser.error("--every takes 1 or more")
    return options


@contextmanager
def progress_bar(total: int) -> Iterator[Advance]:
    """A bar on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda cases: None
        return
    from rich import progress

    columns = (progress.BarColumn(), progress.TaskProgressColumn(), progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=Console(sys.stderr), transient=True) as bar:
        task = bar.add_task("cases", total=total)
        yield lambda cases: bar.advance(task, cases)


def enumerate_all(every: int, advance: Advance) -> dict[Label, Tally]:
    """The C engine's walk on all slices, its TLB on a sample."""
    world, found = World(), dict[Label, Tally]()
    jobs = [(what, every, False) for what in slices()] + [
        (what, TLB_STRIDE * every, True) for what in tlb_slices()
    ]
    for what, stride, through_tlb in jobs:
        tally = run_slice(
            world, what, stride=stride, through_tlb=through_tlb, step=8, progress=advance
        )
        found.setdefault(what.label, Tally()).__iadd__(tally)
    return found


def python_sample() -> dict[Label, Tally]:
    """The Python engine on rows in which every pair of factors' values meets."""
    found = {}
    for leaf, page in PAGE_NAMES.items():
        pairs, rows = sample(leaf)
        bench, tally, started = Bench(World(engine="python")), Tally(), time.process_time()
        for number, row in enumerate(rows):
            for judged in bench.judge(row, leaf, number):
                tally.cases += 1
                tally.faults += judged.wanted[0] != 0
                if judged.wanted != judged.got:
                    tally.mismatches += 1
                    tally.shown.append(
                        f"Python engine: {judged.what}\n  oracle {judged.wanted}\n"
                        f"  engine {judged.got}"
                    )
        tally.seconds = time.process_time() - started
        found[(f"Python, {len(pairs):,} pairs", page, 0, "both")] = tally
    return found


def as_json(found: dict[Label, Tally]) -> list[dict[str, Any]]:
    """The table's rows, for programs."""
    return [
        {
            "subject": subject,
            "page": page,
            "levels": levels or None,
            "vendor": vendor,
            "cases": tally.cases,
            "page_faults": tally.faults,
            "mismatches": tally.mismatches,
            "seconds": round(tally.seconds, 3),
        }
        for (subject, page, levels, vendor), tally in found.items()
    ]


def print_table(found: dict[Label, Tally]) -> None:
    """One row per subject, page size, levels and vendor, and their sum."""
    from rich.table import Table

    table = Table("subject", "page", "levels", "vendor", box=None, pad_edge=False)
    for name in ("cases", "page faults", "M/minute", "mismatches"):
        table.add_column(name, justify="right")
    total = sum_of(found)
    for (subject, page, levels, vendor), tally in found.items():
        table.add_row(subject, page, str(levels or "both"), vendor, *_figures(tally))
    table.add_section()
    table.add_row("total", "", "", "", *_figures(total))
    Console(sys.stdout).print(table)


def _figures(tally: Tally) -> tuple[str, str, str, str]:
    rate = tally.cases / tally.seconds * 60 / 1e6 if tally.seconds else 0
    return f"{tally.cases:,}", f"{tally.faults:,}", f"{rate:,.0f}", f"{tally.mismatches:,}"


def sum_of(found: dict[Label, Tally]) -> Tally:
    """All rows together."""
    total = Tally()
    for tally in found.values():
        total += tally
    return total


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 if an engine differs from the oracle anywhere."""
    options = parse(arguments)
    started = time.monotonic()
    cases = sum(what.cases for what in slices()) // options.every
    with progress_bar(cases) as advance:
        found = enumerate_all(options.every, advance)
    walks = sum_of(found)
    found |= python_sample()
    print_table(found)
    rate = walks.cases / walks.seconds * 60 / 1e6
    print(
        f"{rate:,.0f} million cases a minute of one core's time, oracle and comparison included;",
        end=" ",
    )
    print(f"{time.monotonic() - started:.0f} s in all")
    if options.json:
        options.json.write_text(json.dumps(as_json(found), indent=1) + "\n")
    total = sum_of(found)
    for text in total.shown[:SHOWN]:
        print(f"\n{text}")
    return 1 if total.mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
