# SPDX-License-Identifier: GPL-2.0-or-later
"""What visiting a PTE table costs on real threads, one a core: the product's C functions built with
UCMMU_SMP (native/smp.py), under no counting, ``pmd_lock``, RCU, and with a per-CPU reference.

refcount_threads.py has the bare atomics beside it, and what the simulation is calibrated with.
Moves of the count's cache line are counted in software: the hardware's counter of them (HITM) is
not to be had in most virtual machines.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.callgrind import Executed, executed_by
from benchmarks.measure import BenchmarkError, Outcome, Result, Skipped
from benchmarks.priority import real_time
from mmu._native import lib
from native import smp

THREADS = smp.Program(
    "pte_ref_threads", Path(__file__).resolve().parent / "threads", ("pte_ref_threads.c",)
)
ROUND_NS = 20_000_000
"""The length of one round; the figure is the median of the rounds."""
COUNTED = 1000
"""Operations that callgrind counts."""

DESIGNS = ("none", "pmdlock", "rcu", "percpu")
_POLICY = {
    "none": lib.FREE_TABLES_NEVER,
    "pmdlock": lib.FREE_TABLES_REFCOUNT_PMDLOCK,
    "rcu": lib.FREE_TABLES_REFCOUNT,
    "percpu": lib.FREE_TABLES_NEVER,
}
PAIRS = ("lookup_put", "get_put", "fault")
"""Look the table up and put it; get and put of a table that is held; what a fault does to it."""
_WHAT = {
    "lookup_put": "a lookup that takes a reference, and its put,",
    "get_put": "pte_get() and pte_put() of a table that is held",
    "fault": "a fault's lookup, PTE lock, unlock and put",
}


@dataclass(frozen=True)
class Measured:
    """One measurement: nanoseconds of one operation as one thread has it, by round."""

    ns: tuple[float, ...]
    transfers: float
    """Moves of the count's cache line to another core, per operation; 0 if they were not asked
    for. At least so many: those between two operations of one thread are one.
    """

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.ns)


def measure(
    operation: str,
    design: str = "none",
    threads: int = 1,
    *,
    own: bool = False,
    seconds: float = 0.2,
    transfers: bool = False,
) -> Measured:
    """Run one operation of benchmarks/threads for about ``seconds``.

    ``own``: a table for each thread, neighbours under one PMD table; else all share one.
    ``transfers``: count moves of the line, which takes time of its own. BenchmarkError if it cannot
    be built or run.
    """
    rounds = max(3, round(seconds * 1e9 / ROUND_NS))
    arguments = [operation, _POLICY[design], threads, int(own), ROUND_NS, rounds, int(transfers)]
    with real_time():
        done = subprocess.run(
            [str(_program()), *map(str, arguments)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise BenchmarkError(f"pte_ref_threads {operation}: {done.stderr.strip() or 'it failed'}")
    report = json.loads(done.stdout)
    moved = report["transfers"] / max(1, report["operations"] // rounds)
    return Measured(tuple(report["ns"]), moved)


@cache
def _program() -> Path:
    try:
        return smp.build(THREADS)
    except smp.NotBuilt as error:
        raise BenchmarkError(f"pte_ref_threads cannot be built: {error}") from error


def name_of(pair: str, design: str) -> str:
    """The operation of benchmarks/threads for a pair of a design."""
    if pair == "get_put":
        return {"none": "atomic", "percpu": "percpu_pair"}.get(design, pair)
    return f"{pair}_percpu" if design == "percpu" else pair


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _counts(operation: str, design: str) -> Executed | None:
    """What one operation executes, by callgrind; None without valgrind."""
    command = [str(_program()), operation, str(_POLICY[design]), "1", "0", "0", str(COUNTED), "0"]
    try:
        with TemporaryDirectory() as scratch:
            return executed_by(command, ["counted"], module=_program(), scratch=Path(scratch))
    except BenchmarkError:
        return None


def pte_ref_threads() -> Iterator[Outcome]:
    """Each pair of each design on one core and on two, against the same pair without counting."""
    for pair in PAIRS:
        for design in DESIGNS[1:]:
            operation = name_of(pair, design)
            counts = _counts(operation, design)
            for threads, own in ((1, False), (2, False), (2, True)):
                where = f"{threads}{'_own' if own else ''}"
                name = f"pte_ref_threads_{pair}_{design}_{where}"
                if threads > cores():
                    yield Skipped(name, "this process may use one core")
                    continue
                yield _result(name, pair, design, operation, threads, own, counts)


def _result(
    name: str, pair: str, design: str, operation: str, threads: int, own: bool, counts: Any
) -> Result:
    base = name_of(pair, "none")
    mine, peer = (
        measure(what, which, threads, own=own, seconds=0.1)
        for what, which in ((operation, design), (base, "none"))
    )
    writes = pair == "fault" or design in ("pmdlock", "rcu")
    moved = (
        measure(operation, design, threads, own=own, seconds=0.1, transfers=True).transfers
        if writes
        else 0.0  # nothing writes that line; to look would
    )
    ratios = [a / b for a, b in zip(mine.ns, peer.ns, strict=True)]
    tables = "a table each" if own else "one table"
    return Result(
        name,
        mine.median,
        peer.median,
        "ns",
        "<= 3" if threads == 1 else "<= 1.5" if own else "<= 10",
        (min(ratios), max(ratios)),
        f"{_WHAT[pair]} under {design}, {threads} {'threads' if threads > 1 else 'thread'} on"
        f" {tables}, as one thread has it; the peer is {base} where nothing is counted",
        {
            "threads": threads,
            "own_tables": own,
            "operations_per_second": threads * 1e9 / mine.median,
            "line_transfers": moved,
            "line_transfers_by": "a last-owner word in the count's cache line",
            "instructions": counts and counts.instructions / COUNTED,
            "atomics": counts and counts.atomics / COUNTED,
        },
    )
