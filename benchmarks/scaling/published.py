# SPDX-License-Identifier: GPL-2.0-or-later
"""The model beside the figures that the patch series published: multi-fault, page faults a minute.

The publication's machine is not known. Two readings of what slowed its kernel down from 1 to 16
threads, before any counting, bound what it can have been:

- **queue**: faults queue for one line, that of the mmap_lock (there were no locks of VMAs before
  6.4). The transfer is fitted so that the model without counting gives the published figure;
- **stretch**: nothing queues, and every time of a thread is longer in the same measure (shared
  cores, memory bandwidth, clock). The local time of a fault is fitted, and the costs of the count
  are stretched alike.

A lookup without a count was no RCU read section then: only designs that count pay for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.scaling.campaign import Progress, run_all
from benchmarks.scaling.designs import Design
from benchmarks.scaling.parameters import Parameters
from benchmarks.scaling.workloads import PAGES, Pattern, Vmas, Workload, simulate

PUBLISHED = (
    (1, 32_085_255, 31_880_833),
    (8, 101_674_967, 100_588_311),
    (16, 113_207_000, 112_801_832),
)
"""Threads; page faults a minute without and with the count."""
MINUTE = 60e9
STRETCHED = (
    "atomic",
    "lock",
    "rcu_read",
    "percpu_pair",
    "fault",
    "zap_page",
    "zap_call",
    "table_alloc",
    "table_free",
    "free_hold",
)
READINGS = ("queue", "stretch")


def ns_per_fault(threads: int, a_minute: float) -> float:
    """Of one thread, what it gives back included."""
    return MINUTE * threads / a_minute


def change(without: float, with_count: float) -> float:
    """In percent."""
    return 100 * (with_count / without - 1)


def fit(low: float, high: float, wanted: float, measure: Callable[[float], float]) -> float:
    """The argument at which the rising ``measure`` gives ``wanted``, to a thousandth of it.

    ValueError if it does not lie between.
    """
    if not measure(low) <= wanted <= measure(high):
        raise ValueError(f"{wanted} is not reached between {low} and {high}")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if measure(middle) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def of_one_thread(parameters: Parameters) -> Parameters:
    """Those of a machine on which one thread takes the published time of a fault."""
    per_page = parameters.zap_page + parameters.zap_call / PAGES
    whole = ns_per_fault(*PUBLISHED[0][:2])
    if per_page >= whole:
        raise ValueError("this host gives a page back slower than the publication's faults one")
    return parameters.replace(fault=whole - per_page, ipi_receive=0, ipi_wait=0, ipi_each=0)


def fitted(
    reading: str, threads: int, a_minute: float, parameters: Parameters, rounds: float
) -> Parameters:
    """Those with which ``threads`` fault as fast as published without counting."""
    if threads == 1:
        return parameters
    wanted = ns_per_fault(threads, a_minute)
    if reading == "stretch":
        factor = wanted / ns_per_fault(*PUBLISHED[0][:2])
        return parameters.replace(
            **{name: factor * getattr(parameters, name) for name in STRETCHED}
        )
    workload = Workload(Pattern.AREAS, Vmas.ONE, Design.NONE, threads, rounds, sections=False)

    def with_transfer(transfer: float) -> Parameters:
        return parameters.replace(transfer=transfer, lock_handoff=transfer, far=1.0)

    return with_transfer(
        fit(
            1.0,
            2000.0,
            wanted,
            lambda transfer: simulate(workload, with_transfer(transfer)).ns_per_fault,
        )
    )


def compare(
    parameters: Parameters, progress: Progress, *, seeds: int = 3, rounds: float = 1.0
) -> list[dict[str, Any]]:
    """A row for each reading, number of threads and design: the simulated change in percent, its
    lowest and highest of the seeds, and the published one.
    """
    base = of_one_thread(parameters)
    rows = []
    for reading in READINGS:
        for threads, without, with_count in PUBLISHED:
            progress(f"published: fit of {threads} threads, {reading}")
            vmas = Vmas.ONE if reading == "queue" else Vmas.OWN
            them = fitted(reading, threads, without, base, min(rounds, 0.25))
            runs = [
                (Workload(Pattern.AREAS, vmas, design, threads, rounds, seed, sections=False), them)
                for design in Design
                for seed in range(seeds)
            ]
            done = [figures.faults_per_s for figures in run_all(runs, "published", progress)]
            none = done[:seeds]
            for number, design in enumerate(Design):
                its = done[number * seeds : (number + 1) * seeds]
                changes = [change(*pair) for pair in zip(none, its, strict=True)]
                rows.append(
                    {
                        "reading": reading,
                        "threads": threads,
                        "design": design.value,
                        "faults_per_minute": 60 * sum(its) / seeds,
                        "published_without": without,
                        "transfer": them.transfer,
                        "fault": them.fault,
                        "change": sum(changes) / seeds,
                        "lowest": min(changes),
                        "highest": max(changes),
                        "published": change(without, with_count),
                    }
                )
    return rows
