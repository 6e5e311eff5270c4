# SPDX-License-Identifier: GPL-2.0-or-later
"""The simulated part of the campaign: which runs, on as many processes as there are CPUs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

from benchmarks.scaling.designs import Design
from benchmarks.scaling.parameters import Parameters
from benchmarks.scaling.workloads import PAGES, Figures, Pattern, Vmas, Workload, simulate

CPUS = (1, 2, 4, 8, 16, 32, 64, 128)
SETTINGS = (
    (Pattern.AREAS, Vmas.OWN),
    (Pattern.AREAS, Vmas.ONE),
    (Pattern.LOOP, Vmas.OWN),
    (Pattern.SHARED, Vmas.ONE),
    (Pattern.PAGES, Vmas.OWN),
)
CALLS = 2
"""By which the host's areas are given back (host.CHUNK)."""
SENSITIVE_CPUS, FACTORS = 32, (0.5, 2.0)
Progress = Callable[[str], None]
Run = tuple[Workload, Parameters]


@dataclass(frozen=True)
class Scale:
    """How much of it is run."""

    cpus: Sequence[int] = CPUS
    rounds: float = 1.0
    """A factor: more are more exact."""
    pending_periods: int = 4
    """Grace periods over which tables that wait are counted."""


QUICK = Scale(cpus=(1, 2, 4), rounds=0.1, pending_periods=1)


def rounds_of(pattern: Pattern, cpus: int, scale: Scale) -> float:
    """Fewer of more CPUs: what is counted is about the same number of faults."""
    if pattern is Pattern.PAGES:
        return max(8.0 * scale.rounds, 32 / cpus * scale.rounds)
    return max(0.5, 16 / cpus * scale.rounds)


def run_all(runs: Iterable[Run], label: str, progress: Progress) -> Iterator[Figures]:
    """The figures of all, in their order."""
    todo = list(runs)
    with ProcessPoolExecutor(os.cpu_count(), initializer=_die_at_once) as pool:
        results = pool.map(simulate, *zip(*todo, strict=True))
        try:
            for number, result in enumerate(results, 1):
                progress(f"{label} {number}/{len(todo)}")
                yield result
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _die_at_once() -> None:
    """On ^C, which the command itself tells."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def row(workload: Workload, figures: Figures) -> dict[str, Any]:
    """What was run and what it came to, in one object."""
    named = {
        each.name: getattr(value, "value", value)
        for each in fields(workload)
        for value in [getattr(workload, each.name)]
    }
    return named | figures.record()


def with_change(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with ``change``: its throughput against that of no counting, in percent."""
    same = ("pattern", "vmas", "cpus", "seed")
    base = {
        tuple(each[name] for name in same): each["faults_per_s"]
        for each in rows
        if each["design"] == Design.NONE.value
    }
    return [
        each
        | {"change": 100 * (each["faults_per_s"] / base[tuple(each[name] for name in same)] - 1)}
        for each in rows
    ]


def throughput(parameters: Parameters, scale: Scale, progress: Progress) -> list[dict[str, Any]]:
    """Every pattern under every design on every number of CPUs."""
    workloads = [
        Workload(pattern, vmas, design, cpus, rounds_of(pattern, cpus, scale))
        for pattern, vmas in SETTINGS
        for cpus in sorted(scale.cpus, reverse=True)
        for design in Design
    ]
    runs = ((workload, parameters) for workload in workloads)
    figures = run_all(runs, "simulated", progress)
    rows = [row(*pair) for pair in zip(workloads, figures, strict=True)]
    rows.sort(key=lambda each: each["cpus"])
    return with_change(rows)


def sensitivity(parameters: Parameters, scale: Scale, progress: Progress) -> list[dict[str, Any]]:
    """What half and twice of each parameter makes of the change on 32 CPUs, of those that count
    atomically.
    """
    cpus = min(SENSITIVE_CPUS, max(scale.cpus))
    changed = [("", 1.0, parameters)] + [
        (each.name, factor, parameters.replace(**{each.name: factor * value}))
        for each in fields(parameters)
        for value in [getattr(parameters, each.name)]
        for factor in FACTORS
    ]
    designs = (Design.NONE, Design.PMD_LOCK, Design.RCU)
    rounds = 1.5 * scale.rounds
    workloads = [Workload(Pattern.AREAS, Vmas.OWN, design, cpus, rounds) for design in designs]
    runs = [(workload, them) for _, _, them in changed for workload in workloads]
    figures = run_all(runs, "sensitivity", progress)
    rows = []
    for name, factor, _ in changed:
        none, pmd_lock, rcu = (next(figures).faults_per_s for _ in designs)
        rows.append(
            {
                "parameter": name,
                "factor": factor,
                "cpus": cpus,
                "pmd_lock": 100 * (pmd_lock / none - 1),
                "RCU": 100 * (rcu / none - 1),
            }
        )
    return rows


def pending(parameters: Parameters, scale: Scale, progress: Progress) -> list[dict[str, Any]]:
    """Table memory that waits for grace periods, where each fault's table is freed: kB, on average
    and most. The average is, by Little's law, 4 kB times the tables freed a second times the wait
    of each since it left its PMD.
    """
    workloads = [
        Workload(Pattern.PAGES, Vmas.OWN, design, cpus, 0.0, periods=scale.pending_periods)
        for cpus in scale.cpus
        if cpus <= 16
        for design in (Design.RCU, Design.PER_CPU)
    ]
    runs = ((workload, parameters) for workload in workloads)
    return [
        row(workload, figures)
        | {
            "pending_mean_kB": 4 * figures.pending_mean,
            "pending_max_kB": 4 * figures.pending_max,
            "grace_period": parameters.grace_period,
        }
        for workload, figures in zip(workloads, run_all(runs, "pending", progress), strict=True)
    ]


def agreement(parameters: Parameters, host: dict[str, Any], rounds: float) -> list[dict[str, Any]]:
    """What two threads take on the host's kernel, and what the model says they should, with the
    host's interrupts and the distance of its CPUs then; ns a page, touched and given back.
    """
    alone = [row for row in host.get("rates", []) if row["threads"] == 1]
    return [_agreement(row, alone, parameters, host, rounds) for row in host.get("rates", [])]


def _agreement(
    row: dict[str, Any],
    alone: Sequence[dict[str, Any]],
    parameters: Parameters,
    host: dict[str, Any],
    rounds: float,
) -> dict[str, Any]:
    """Two processes take what one thread does: the mean of one on each CPU.

    ``model`` has the fault and the page given back of those rows, ``model_as_calibrated`` those of
    the parameters.
    """
    threads = 1 if row["shares"] == "nothing" else row["threads"]
    told = host.get("interrupt") or {"wait": 0.0, "receive": 0.0}
    fault, a_page = (
        sum(each[name] for each in alone) / len(alone) for name in ("fault_ns", "zap_ns")
    )
    calibrated = parameters.replace(
        transfer=row["distance"] or parameters.transfer,
        far=1.0,
        ipi_wait=told["wait"],
        ipi_each=0.0,
        ipi_receive=told["receive"],
    )
    here = calibrated.replace(
        fault=fault, zap_page=max(0.0, a_page - parameters.zap_call * CALLS / PAGES)
    )
    vmas = Vmas.ONE if row["shares"] == "a VMA" else Vmas.OWN

    def ns(them: Parameters) -> float:
        workload = Workload(Pattern.AREAS, vmas, Design.NONE, threads, rounds, calls=CALLS)
        return simulate(workload, them).ns_per_fault

    return row | {
        "model": ns(here),
        "model_as_calibrated": ns(calibrated),
        "model_without_interrupts": ns(here.replace(ipi_wait=0, ipi_receive=0)),
    }
