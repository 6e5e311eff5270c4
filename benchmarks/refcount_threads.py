# SPDX-License-Identifier: GPL-2.0-or-later
"""What counting costs on real threads on 1 and 2 CPUs, and the times that the model of scaling is
calibrated with.

The four designs are bare C11 here, with the atomics of native/mm in their order. Cache-line traffic
is counted in software: beside the count, in its line, stands who wrote it last. That counts each
time the line went to the other CPU and was written there; lines that are only read are not seen
(hardware counters of it, HITM, are not to be had in most virtual machines).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import BenchmarkError, Outcome, Result, Skipped
from benchmarks.priority import real_time
from native import on_demand

HERE = Path(__file__).resolve().parent
ROUNDS, OPERATIONS = 21, 50_000
DESIGNS = {
    "none": "WORK_PAIR_NONE",
    "pmd_lock": "WORK_PAIR_PMD_LOCK",
    "RCU": "WORK_PAIR_RCU",
    "per-CPU": "WORK_PAIR_PER_CPU",
}


@functools.cache
def load() -> Any:
    """The compiled module, with ``ffi`` and ``lib``."""
    return on_demand.load(
        "ucmmu_benchmark_refcount_threads",
        [HERE / "refcount_threads.h"],
        [HERE / "refcount_threads.c"],
    )


@dataclass(frozen=True)
class Times:
    """Medians over rounds."""

    ns: float
    """An operation of one thread."""
    transfers: float
    """How often an operation found the line of the count last written by the other thread."""


def measure(work: str, threads: int = 1, *, shared: bool = True, rounds: int = ROUNDS) -> Times:
    """Have threads do one kind of work (an enumerator of refcount_threads.h), on one table or each
    on its own. BenchmarkError if there are fewer CPUs.
    """
    module = load()
    found = []
    for _ in range(rounds):
        times = module.ffi.new("struct thread_times *")
        with real_time():
            error = module.lib.time_threads(
                threads, getattr(module.lib, work), shared, OPERATIONS, times
            )
        if error:
            raise BenchmarkError(f"{work} on {threads} threads: {os.strerror(error)}")
        found.append((times.ns, times.transfers))
    return Times(*(median(column) for column in zip(*found, strict=True)))


def cpus() -> int:
    """Those that this process may run on."""
    return len(os.sched_getaffinity(0))


def calibration(rounds: int = ROUNDS) -> dict[str, float]:
    """Parameters of the model, ns, that this host's CPUs give; with one CPU, those of one."""
    one = functools.partial(measure, rounds=rounds)
    found = {
        "atomic": one("WORK_ATOMIC").ns,
        "lock": one("WORK_LOCK").ns,
        "rcu_read": one("WORK_RCU_READ").ns,
        "percpu_pair": one("WORK_PAIR_PER_CPU").ns,
        "free_hold": one("WORK_SCAN").ns,
    }
    if cpus() > 1:
        found["transfer"] = one("WORK_TURNS", 2).ns
        found["lock_handoff"] = one("WORK_LOCK", 2).ns / 2
    return found


def pairs(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """A lookup and its put by design: on one CPU, on two with a table each, on two with one."""
    settings = [(1, True)] + ([(2, False), (2, True)] if cpus() > 1 else [])
    rows = []
    for design, work in DESIGNS.items():
        for threads, shared in settings:
            times = measure(work, threads, shared=shared, rounds=rounds)
            rows.append(
                {
                    "design": design,
                    "threads": threads,
                    "shared": shared,
                    "ns": times.ns,
                    "operations_per_s": threads / times.ns * 1e9,
                    "transfers": times.transfers,
                }
            )
    return rows


def refcount_threads() -> Iterator[Outcome]:
    """A pair on two CPUs that share a table, against the same on one."""
    if cpus() < 2:
        yield Skipped("refcount_threads", "this host has one CPU")
        return
    for design, work in DESIGNS.items():
        one, two = measure(work), measure(work, 2)
        yield Result(
            f"refcount_threads_{design}",
            two.ns,
            one.ns,
            "ns",
            "<= 1.5" if design in ("none", "per-CPU") else "<= 100",
            (two.ns / one.ns, two.ns / one.ns),
            f"a lookup and its put, {design}, on two CPUs that share a table, against one CPU",
            {"transfers": two.transfers, "rounds": ROUNDS},
        )
