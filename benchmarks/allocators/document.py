# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/allocators.md: the tables, and what they say."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from benchmarks.allocators.plots import plot_name

LINE: Final = 100
"""Columns of a line that is no table row."""
COLUMNS: Final = (
    ("allocator", "allocator"),
    ("policy", "policy"),
    ("VmRSS_peak", "VmRSS peak, kB"),
    ("VmRSS", "end, kB"),
    ("VmPTE_peak", "VmPTE peak, kB"),
    ("VmPTE", "end, kB"),
    ("tables_freed", "tables freed"),
    ("madvise", "madvise calls"),
    ("munmap", "munmap calls"),
    ("page_faults", "page faults"),
    ("instructions", "instructions"),
)
HEAD: Final = """\
# What each policy does for programs on the usual allocators

Made by `make allocators` (`python -m benchmarks.allocators`); do not edit. The programs are the
host's own, unmodified, with the allocator by `--preload`: `benchmarks/allocators/` has what they
are asked to do. All figures are of the process named, at its end and at its peak, and they are the
same on each run. "Tables freed" counts PTE tables freed before the end, whether by the policy or by
munmap(), which frees them under each. The kernel of a guest executes none of its instructions, so
these differ only by the digits of the sizes that a program prints; what a policy costs is in
[performance.md](performance.md). Time in a guest is a nanosecond an instruction, and passes at once
where all sleep: jemalloc's decay of 10 s passes in the idle steps.

`scan` looks at what one call of madvise() covers, and frees a table if that is all of its 2 MiB. An
allocator that gives memory back at once (decay 0) does so in smaller pieces: only the count frees
tables there. Where an allocator gives nothing back (tcmalloc, most of mimalloc), or by munmap()
(glibc's large chunks), the policies do not differ.

The numbers, and the samples behind the plots, are in
[benchmarks/results/allocators.json](../benchmarks/results/allocators.json).
"""
WHAT: Final = {
    "python3": """\
python3 (`PYTHONMALLOC=malloc`) builds records (a dictionary of byte strings, lists of lists) and
buffers of 100 to 600 kB, and drops them, three times over; 1 % of the records of each round are
kept.""",
    "redis-server": """\
redis-server takes keys with values of 300 to 40,000 bytes by its socket from redis-cli in the same
machine. 98 % of them expire; `MEMORY PURGE`; the same again; then `FLUSHALL`.""",
}


def write_document(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write it whole."""
    path.write_text("\n".join(_lines(rows)) + "\n", encoding="utf-8")


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield HEAD
    for program, group in groupby(rows, key=lambda row: row["program"]):
        its_rows = list(group)
        yield f"## {program}\n"
        yield WHAT[program] + "\n"
        yield from _table(its_rows)
        yield ""
        yield from _findings(its_rows)
        yield f"\n![VmPTE over instructions, {program}](allocators/{plot_name(program)})\n"


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| " + " | ".join(title for _, title in COLUMNS) + " |"
    yield "|---|---|" + "--:|" * (len(COLUMNS) - 2)
    for row in rows:
        yield "| " + " | ".join(_cell(row[name]) for name, _ in COLUMNS) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _findings(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each allocator: what is left of VmPTE under each policy."""
    for allocator, its_rows in groupby(rows, key=lambda row: row["allocator"]):
        by_policy = {row["policy"]: row for row in its_rows}
        if len(by_policy) < 3:
            continue
        never, scan, refcount = (by_policy[p] for p in ("never", "scan", "refcount"))
        text = f"- **{allocator}**: {_verdict(never, scan, refcount)}"
        yield textwrap.fill(text, LINE, subsequent_indent="  ", break_long_words=False)


def _verdict(never: dict[str, Any], scan: dict[str, Any], refcount: dict[str, Any]) -> str:
    if never["VmPTE"] == scan["VmPTE"] == refcount["VmPTE"]:
        return f"no difference: VmPTE ends at {_cell(never['VmPTE'])} kB under all three."
    return (
        f"VmPTE ends at {_cell(never['VmPTE'])} kB under `never`, {_cell(scan['VmPTE'])} kB under"
        f" `scan`, {_cell(refcount['VmPTE'])} kB under `refcount`."
    )
