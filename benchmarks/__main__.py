# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m benchmarks [--only NAME | NAME...]``: measure, write results/latest.jsonl, print a
table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import CalledProcessError

from benchmarks import (
    attach,
    cpu_speed,
    dontneed,
    endings,
    exact,
    explorer,
    fault_time,
    multi_cpu,
    programs,
    reading,
    refcount,
    refcount_threads,
    startup,
    tlb,
    trace_record,
    walk,
)
from benchmarks.measure import BenchmarkError, Outcome, Skipped

RESULTS = Path(__file__).resolve().parent / "results" / "latest.jsonl"

BENCHMARKS: dict[str, Callable[[], Iterable[Outcome]]] = {
    "fast_compute": cpu_speed.fast_compute,
    "fast_memory": cpu_speed.fast_memory,
    "four_vcpus": multi_cpu.four_vcpus,
    "exact_memory": exact.exact_memory,
    "exact_memory_private": exact.exact_memory_private,
    "trace_null": exact.trace_null,
    "exact_cachegrind": exact.exact_cachegrind,
    "exact_lackey": exact.exact_lackey,
    "walk_warm": walk.walk_warm,
    "walk_cold": walk.walk_cold,
    "tlb_hit": tlb.tlb_hit,
    "tlb_miss": tlb.tlb_miss,
    "engines": tlb.engines,
    "refcount_pair": refcount.refcount_pair,
    "refcount_fault": refcount.refcount_fault,
    "free_levels_fault": refcount.free_levels_fault,
    "refcount_fault_time": fault_time.refcount_fault_time,
    "refcount_threads": refcount_threads.refcount_threads,
    "refcount_refill": refcount.refcount_refill,
    "dontneed_loop_native": dontneed.dontneed_loop_native,
    "startup": startup.startup,
    "program_sha256": programs.program_sha256,
    "program_syscalls": programs.program_syscalls,
    "program_start": programs.program_start,
    "program_python": programs.program_python,
    "program_read": reading.program_read,
    "trace_record": trace_record.trace_record,
    "explorer_again": explorer.explorer_again,
    "explorer_bound": explorer.explorer_bound,
    "attach_cycle": attach.attach_cycle,
    "attach_runs": attach.attach_runs,
    "attach_two_ends": attach.attach_two_ends,
    "attach_count": attach.attach_count,
    "attach_watchpoint": attach.attach_watchpoint,
    "attach_fault": attach.attach_fault,
}


def main() -> int:
    """Run the benchmarks that the command line names, all by default. One that cannot be made is
    told, and the others go on.
    """
    names = _names()
    results: list[Outcome] = []
    return endings.run(
        lambda: _run(names, results),
        lambda: f"what was measured is in {RESULTS}" if results else "nothing was measured",
    )


def _run(names: list[str], results: list[Outcome]) -> int:
    failed = False
    try:
        for name in names:
            print(f"{name} …", file=sys.stderr)
            try:
                results += BENCHMARKS[name]()
            except (BenchmarkError, CalledProcessError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
    finally:
        if results:
            _write(results)
    if results:
        _print(results)
    return int(failed)


def _names() -> list[str]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", metavar="NAME", nargs="*", choices=[*BENCHMARKS, []], help=", ".join(BENCHMARKS)
    )
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], choices=list(BENCHMARKS)
    )
    arguments = parser.parse_args()
    return arguments.names + arguments.only or list(BENCHMARKS)


def _write(results: Iterable[Outcome]) -> None:
    lines = (json.dumps(result.record()) + "\n" for result in results)
    endings.write_whole(RESULTS, "".join(lines))


def _print(results: Iterable[Outcome]) -> None:
    from rich import box
    from rich.table import Table

    from ucmmu.terminal import Console

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("benchmark")
    for column in ("ours", "peer", "ratio", "lowest", "highest", "goal"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for result in results:
        if isinstance(result, Skipped):
            table.add_row(result.name, "skipped", "", "", "", "", "", result.reason)
            continue
        ratio = f"{result.ratio:.3f}"
        table.add_row(
            result.name,
            f"{result.ours:,.4g}",
            f"{result.peer:,.4g}",
            f"[green]{ratio}[/]" if result.met else f"[red]{ratio}[/]",
            *(f"{bound:.3f}" for bound in result.ratios),
            result.goal,
            result.unit,
        )
    console = Console(sys.stdout)
    console.print(table)
    console.print(f"ratio = ours / peer; medians; written to {RESULTS}")


if __name__ == "__main__":
    sys.exit(main())
