# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m benchmarks.scaling``: how counting scales, measured and simulated.

Writes benchmarks/results/scaling.json, the tables and plots of docs/performance/, and the tables in
docs/performance.md. With ``--report`` the documents are made anew from the results that are there.
With ``--quick`` nothing of that is touched: it writes below build/scaling.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import endings
from benchmarks.measure import BenchmarkError
from benchmarks.scaling.document import write_document, write_tables
from benchmarks.scaling.plots import write_plots
from ucmmu.exit_codes import ExitCode

ROOT = Path(__file__).resolve().parent.parent.parent
NO_EXTRA = int(ExitCode.NO_EXTRA)
Results = dict[str, Any]


def main() -> int:
    """Run the parts that are asked for, and write what is known after each."""
    arguments = _arguments()
    results_path = arguments.output / "benchmarks" / "results" / "scaling.json"
    return endings.run(
        lambda: _run(arguments, results_path),
        lambda: f"the parts that ended are in {results_path}",
    )


def _run(arguments: argparse.Namespace, results_path: Path) -> int:
    try:
        results = _read(results_path)
    except ValueError:
        progress(f"{results_path} is damaged: move it away", end="\n")
        return int(ExitCode.USAGE)
    parts = [] if arguments.report else arguments.only or list(PARTS)
    if SIMULATED & set(parts) and find_spec("simpy") is None:
        progress("simpy is not installed: pip install 'ucmmu[simulation]'", end="\n")
        return NO_EXTRA
    for name in parts:
        started = time.monotonic()
        try:
            results[name] = PARTS[name](results, arguments.quick)
        except BenchmarkError as error:
            progress(f"{name}: {error}", end="\n")
            return 1
        progress(f"{name}: {time.monotonic() - started:.0f} s", end="\n")
        endings.write_whole(results_path, json.dumps(results, indent=1) + "\n")
    folder = arguments.output / "docs" / "performance"
    write_tables(results, folder)
    write_document(results, arguments.output / "docs" / "performance.md")
    if find_spec("matplotlib") is None:
        progress("no plots: matplotlib is not installed: pip install 'ucmmu[plots]'", end="\n")
        return NO_EXTRA
    write_plots(results, folder)
    return 0


def _read(path: Path) -> Results:
    results: Results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument(
        "--only", metavar="PART", action="append", choices=list(PARTS), help=", ".join(PARTS)
    )
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--quick", action="store_true", help="a small run, not for the record")
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="write below it (default: here; with --quick build/scaling)",
    )
    arguments = parser.parse_args()
    if arguments.output is None:
        arguments.output = ROOT / "build" / "scaling" if arguments.quick else ROOT
    return arguments


def progress(text: str, *, end: str = "") -> None:
    """Say how far it is: one line that changes on a terminal, only what ends elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end=end, file=sys.stderr, flush=True)
    elif end:
        print(text, file=sys.stderr, flush=True)


def _host(_results: Results, quick: bool) -> Any:
    from benchmarks.scaling import host

    progress("host: the kernel's own faults")
    return host.measure(quick)


def _threads(results: Results, quick: bool) -> Any:
    from benchmarks.scaling import threads

    progress("threads: atomics, lines and locks")
    return threads.measure(results.get("threads", {}), quick)


def _fault(_results: Results, quick: bool) -> Any:
    from benchmarks.fault_time import refcount_fault_time
    from benchmarks.refcount import refcount_fault

    progress("fault: time of the count")
    found = [result.record() for result in refcount_fault_time(*((5, 0.5) if quick else ()))]
    if not quick:
        progress("fault: instructions and atomics")
        found += [result.record() for result in refcount_fault()]
    return found


def _guest(_results: Results, quick: bool) -> Any:
    from benchmarks.scaling import guest

    return guest.scaling(progress, (1, 2), 2) if quick else guest.scaling(progress)


def _refill(_results: Results, quick: bool) -> Any:
    from benchmarks.callgrind import compiler
    from benchmarks.refcount import refcount_refill
    from benchmarks.scaling import guest

    rows = guest.refill(progress, 20 if quick else 400)
    if quick:
        return {"guest": rows, "instructions": []}
    progress("refill: instructions")
    counted = [each.record() for each in refcount_refill()]
    return {"guest": rows, "instructions": counted, "compiler": compiler()}


def _simulation(function: str) -> Callable[[Results, bool], Any]:
    def run(results: Results, quick: bool) -> Any:
        from benchmarks.scaling import campaign, published
        from benchmarks.scaling.parameters import calibrated, described

        measured = {
            **results.get("host", {}).get("parameters", {}),
            **results.get("threads", {}).get("parameters", {}),
        }
        parameters = calibrated(measured)
        if function == "published":
            rounds = {"seeds": 2, "rounds": 0.5} if quick else {}
            rows: Any = published.compare(parameters, progress, **rounds)  # type: ignore[arg-type]
        elif function == "agreement":
            rows = campaign.agreement(parameters, results.get("host", {}), 2.0 if quick else 64.0)
        else:
            scale = campaign.QUICK if quick else campaign.Scale()
            rows = getattr(campaign, function)(parameters, scale, progress)
        return {"parameters": described(parameters, measured), "rows": rows}

    return run


PARTS: dict[str, Callable[[Results, bool], Any]] = {
    "host": _host,
    "threads": _threads,
    "fault": _fault,
    "guest": _guest,
    "refill": _refill,
    "agreement": _simulation("agreement"),
    "simulated": _simulation("throughput"),
    "published": _simulation("published"),
    "sensitivity": _simulation("sensitivity"),
    "pending": _simulation("pending"),
}
SIMULATED = {"agreement", "simulated", "published", "sensitivity", "pending"}


if __name__ == "__main__":
    sys.exit(main())
