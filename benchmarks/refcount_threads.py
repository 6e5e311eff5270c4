# SPDX-License-Identifier: GPL-2.0-or-later
"""What visiting a PTE table costs on real threads, one a core: the product's C functions built with
UCMMU_SMP (native/smp.py), under no counting, ``pmd_lock``, RCU, and with a per-CPU reference; and
the times of single steps that the model of scaling is calibrated with.

Moves of the count's cache line are counted in software: the hardware's counter of them (HITM) is
not to be had in most virtual machines.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from benchmarks import calm
from benchmarks.callgrind import Executed, executed_by
from benchmarks.calm import Round, Spread
from benchmarks.measure import BenchmarkError, Outcome, Result, Skipped
from benchmarks.priority import real_time
from mmu._native import lib
from native import smp

HERE = Path(__file__).resolve().parent
THREADS = smp.Program(
    "refcount_threads", HERE / "threads", ("refcount_threads.c",), include=(HERE,)
)
ROUND_NS = 5_000_000
"""The length of one round."""
ROUNDS = 3
"""Of one run of the program: where it lies in memory is chance, and moves some figures."""
COUNTED = 1000
"""Operations that callgrind counts."""

DESIGNS = ("none", "pmd_lock", "RCU", "per-CPU")
_POLICY = {
    "none": lib.FREE_TABLES_NEVER,
    "pmd_lock": lib.FREE_TABLES_REFCOUNT_PMDLOCK,
    "RCU": lib.FREE_TABLES_REFCOUNT,
    "per-CPU": lib.FREE_TABLES_NEVER,
}
PAIRS = ("lookup_put", "get_put", "fault")
"""Look the table up and put it; get and put of a table that is held; what a fault does to it."""
_WHAT = {
    "lookup_put": "a lookup that takes a reference, and its put,",
    "get_put": "pte_get() and pte_put() of a table that is held",
    "fault": "a fault's lookup, PTE lock, unlock and put",
}
_STEPS = {
    "atomic": "atomic",
    "lock": "lock",
    "rcu_read": "rcu_read",
    "percpu_pair": "percpu_pair",
    "free_hold": "scan",
}
"""Parameters of the model, by one thread's operation."""
_STEPS_OF_TWO = {"transfer": "turns", "lock_handoff": "lock"}
T = TypeVar("T")
MOVED = 1.5
"""A line that takes so many times as long goes to another cluster of cores."""
SETTINGS = ((1, False), (2, True), (2, False))
"""Threads, and whether each has a table of its own."""


@dataclass(frozen=True)
class Measured:
    """One measurement."""

    ns: Spread
    """Of one operation, as one thread has it."""
    transfers: float
    """Moves of the count's cache line to another core, per operation; 0 if they were not asked
    for. At least so many: those between two operations of one thread are one.
    """
    waits: float
    """Waits for a lock that was held, per operation."""


def measure(
    operation: str,
    design: str = "none",
    threads: int = 1,
    *,
    own: bool = False,
    wanted: int = 21,
    patience: float = 3.0,
    transfers: bool = False,
) -> Measured:
    """Run one operation of benchmarks/threads until so many rounds of it are calm.

    ``own``: a table for each thread, neighbours under one PMD table; else all share one.
    ``transfers``: count moves of the line, which takes time of its own. BenchmarkError if it cannot
    be built or run.
    """
    totals = {"operations": 0, "transfers": 0, "waits": 0}
    arguments = [operation, _POLICY[design], threads, int(own), ROUND_NS, ROUNDS, int(transfers)]

    def once() -> list[Round]:
        report = _run(arguments)
        for name in totals:
            totals[name] += report[name]
        return [Round((ns,), probe) for ns, probe in report["rounds"]]

    (ns,) = calm.measure(once, wanted, patience)
    operations = max(1, totals["operations"])
    return Measured(ns, totals["transfers"] / operations, totals["waits"] / operations)


def _run(arguments: list[Any]) -> dict[str, Any]:
    with real_time():
        done = subprocess.run(
            [str(_program()), *map(str, arguments)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise BenchmarkError(
            f"refcount_threads {arguments[0]}: {done.stderr.strip() or 'it failed'}"
        )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@cache
def _program() -> Path:
    try:
        return smp.build(THREADS)
    except smp.NotBuilt as error:
        raise BenchmarkError(f"refcount_threads cannot be built: {error}") from error


def name_of(pair: str, design: str) -> str:
    """The operation of benchmarks/threads for a pair of a design."""
    if pair == "get_put":
        return {"none": "atomic", "per-CPU": "percpu_pair"}.get(design, pair)
    return f"{pair}_percpu" if design == "per-CPU" else pair


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def settings() -> list[tuple[int, bool]]:
    """Those of SETTINGS that this process has the cores for."""
    return [each for each in SETTINGS if each[0] <= cores()]


def distance() -> float:
    """How long a modified line takes from one of two cores to the other now, ns: the owner of a
    virtual machine may move its CPUs from one cluster of cores to another. BenchmarkError for one
    core.
    """
    if cores() < 2:
        raise BenchmarkError("this process may use one core: no line goes anywhere")
    return measure("turns", threads=2, wanted=5, patience=0.5).ns.median / 2


def at_one_distance(measured: Callable[[], T], tries: int = 3) -> tuple[T, float]:
    """What ``measured()`` gives, and distance() meanwhile: again if the cores moved."""
    for _ in range(tries):
        before = distance()
        found = measured()
        after = distance()
        if max(before, after) < MOVED * min(before, after):
            break
    return found, (before + after) / 2


def calibration(quick: bool = False, only: Collection[str] = ()) -> dict[str, Spread]:
    """Parameters of the model, ns, that this host's cores give, all or ``only`` some; with one
    core, those of one.
    """
    wanted, patience = (5, 0.3) if quick else (41, 8.0)

    def of(operation: str, threads: int) -> Spread:
        return measure(operation, threads=threads, wanted=wanted, patience=patience).ns

    def wanted_of(steps: dict[str, str]) -> list[tuple[str, str]]:
        return [each for each in steps.items() if not only or each[0] in only]

    found = {name: of(operation, 1) for name, operation in wanted_of(_STEPS)}
    if cores() > 1:
        found |= {name: _half(of(each, 2)) for name, each in wanted_of(_STEPS_OF_TWO)}
    return found


def _half(spread: Spread) -> Spread:
    return Spread(
        spread.median / 2, spread.low / 2, spread.high / 2, spread.rounds, spread.of, spread.calm
    )


def pairs(quick: bool = False) -> list[dict[str, Any]]:
    """A lookup with its put, and what a fault does to a table, by design: on one core, on two with
    a table each, on two with one. Beside them the limit of this host: an atomic that shares
    nothing.
    """
    how = {"wanted": 5, "patience": 0.3} if quick else {"wanted": 21, "patience": 4.0}
    rows = [_row("atomic", "", number, True, **how) for number in range(1, min(2, cores()) + 1)]
    for pair in ("lookup_put", "fault"):
        for design in DESIGNS:
            for threads, own in settings():
                rows.append(_row(pair, design, threads, own, **how))
    return rows


def _row(pair: str, design: str, threads: int, own: bool, **how: Any) -> dict[str, Any]:
    operation, which = (name_of(pair, design), design) if design else (pair, "none")
    one = functools.partial(measure, operation, which, threads, own=own)
    its, apart = at_one_distance(lambda: one(**how)) if threads > 1 else (one(**how), None)
    row = {
        "pair": pair,
        "design": design,
        "threads": threads,
        "own_tables": own,
        "ns": its.ns.median,
        "operations_per_s": threads / its.ns.median * 1e9,
        "distance": apart,
        "transfers": 0.0,
        "waits": its.waits,
        **its.ns.record(),
    }
    if _writes(pair, design) and threads > 1:
        row["transfers"] = one(transfers=True, wanted=5, patience=1.0).transfers
    return row


def _writes(pair: str, design: str) -> bool:
    """Whether the operation writes the line of the count: to look where nothing does would."""
    return pair == "fault" or design in ("pmd_lock", "RCU")


def _counts(operation: str, design: str) -> Executed | None:
    """What one operation executes, by callgrind; None without valgrind."""
    command = [str(_program()), operation, str(_POLICY[design]), "1", "0", "0", str(COUNTED), "0"]
    try:
        with TemporaryDirectory() as scratch:
            return executed_by(command, ["counted"], module=_program(), scratch=Path(scratch))
    except BenchmarkError:
        return None


def refcount_threads() -> Iterator[Outcome]:
    """Each pair of each design on one core and on two, against the same pair without counting."""
    for pair in PAIRS:
        for design in DESIGNS[1:]:
            operation = name_of(pair, design)
            counts = _counts(operation, design)
            for threads, own in SETTINGS:
                where = f"{threads}{'_own' if threads > 1 and own else ''}"
                name = f"refcount_threads_{pair}_{design}_{where}"
                if threads > cores():
                    yield Skipped(name, "this process may use one core")
                    continue
                yield _result(name, pair, design, threads, own, counts)


def _result(
    name: str, pair: str, design: str, threads: int, own: bool, counts: Executed | None
) -> Result:
    mine = _row(pair, design, threads, own, wanted=9, patience=1.0)
    base = name_of(pair, "none")
    peer = measure(base, "none", threads, own=own, wanted=9, patience=1.0).ns
    half = mine["ns"] * mine["spread"]
    tables = "a table each" if own else "one table"
    goal = "<= 3" if threads == 1 else "<= 1.5" if own else "<= 10"
    return Result(
        name,
        mine["ns"],
        peer.median,
        "ns",
        goal,
        ((mine["ns"] - half) / peer.high, (mine["ns"] + half) / peer.low),
        f"{_WHAT[pair]} under {design}, {threads} {'threads' if threads > 1 else 'thread'} on"
        f" {tables}, as one thread has it; the peer is {base} where nothing is counted",
        {
            "threads": threads,
            "own_tables": own,
            "operations_per_second": mine["operations_per_s"],
            "distance": mine["distance"],
            "line_transfers": mine["transfers"],
            "line_transfers_by": "a last-owner word in the count's cache line",
            "lock_waits": mine["waits"],
            "instructions": counts and counts.instructions / COUNTED,
            "atomics": counts and counts.atomics / COUNTED,
            "noisy": mine["noisy"] or peer.noisy,
        },
    )
