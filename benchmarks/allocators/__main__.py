# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m benchmarks.allocators [--only TEXT]``: every program on every allocator under every
policy, into benchmarks/results/allocators.json, docs/allocators.md and its plots.

With ``--report`` the documents are made anew from the results that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.allocators.document import write_document
from benchmarks.allocators.plots import write_plots
from benchmarks.allocators.runs import (
    ALLOCATORS,
    POLICIES,
    PROGRAMS,
    Allocator,
    Program,
    RunError,
    progress,
    run,
)

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "allocators.json"


def main() -> int:
    """Make the runs that are asked for, and write what is known after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.allocators", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", default="", help="in 'PROGRAM on ALLOCATOR'")
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    rows = read_results()
    failed = False if arguments.report else make_runs(rows, arguments.only)
    write_document(rows, ROOT / "docs" / "allocators.md")
    write_plots(rows, ROOT / "docs" / "allocators")
    return int(failed)


def make_runs(rows: list[dict[str, Any]], only: str) -> bool:
    """Make the runs, each into ``rows``; whether any failed."""
    failed = False
    for program in PROGRAMS:
        for allocator in ALLOCATORS:
            if only not in f"{program.name} on {allocator.name}" or not _is_here(
                program, allocator
            ):
                continue
            for policy in POLICIES:
                progress(f"{program.name} on {allocator.name}, {policy} …")
                try:
                    keep(rows, run(program, allocator, policy))
                except RunError as error:
                    progress(f"  {error}")
                    failed = True
    return failed


def _is_here(program: Program, allocator: Allocator) -> bool:
    missing = program.missing()
    if allocator.path() is None:
        missing.append(allocator.library)
    if missing:
        progress(f"{program.name} on {allocator.name}: skipped, not here: {', '.join(missing)}")
    return not missing


def read_results() -> list[dict[str, Any]]:
    """The rows of the last runs; none if there are none."""
    if not RESULTS.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return rows


def keep(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Put a row in the place of the one of the same run, and write all."""
    key = ("program", "allocator", "policy")
    rows[:] = [old for old in rows if any(old[name] != row[name] for name in key)]
    rows.append(row)
    order = {
        "program": [program.name for program in PROGRAMS],
        "allocator": [allocator.name for allocator in ALLOCATORS],
        "policy": list(POLICIES),
    }
    rows.sort(key=lambda row: [order[name].index(row[name]) for name in key])
    RESULTS.parent.mkdir(exist_ok=True)
    temporary = RESULTS.with_suffix(".tmp")
    text = ",\n".join(json.dumps(row) for row in rows)
    temporary.write_text(f"[\n{text}\n]\n", encoding="utf-8")
    os.replace(temporary, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
