# SPDX-License-Identifier: GPL-2.0-or-later
"""Measured on our own machine: multi_fault on 1 to 8 vCPUs, and a range refilled at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.multi_fault import CPUS, Row, measure
from benchmarks.scaling.campaign import Progress
from benchmarks.scaling.host import percentiles
from ucmmu.options import POLICIES

DEFERRING = Path("docs/policies/deferring.py")
"""A policy of a user's own, if it is there: frees only what stays empty for a while."""


def record(row: Row) -> dict[str, Any]:
    """A row with its figures per fault, and the latencies of frees as percentiles."""
    free_ns = [float(ns) for ns in row.free_ns]
    figures = {name: value for name, value in asdict(row).items() if name != "free_ns"}
    return figures | {
        "virtual_ns_per_fault": row.per_fault(row.virtual_ns),
        "interrupts_per_fault": row.per_fault(row.interrupts),
        "flushes_per_fault": row.per_fault(row.full_flushes + row.page_flushes),
        "full_flushes_per_fault": row.per_fault(row.full_flushes),
        "lock_waits_per_fault": row.per_fault(row.lock_waits),
        "free_ns": percentiles(free_ns) if free_ns else None,
    }


MOST_OF_PYTHON = 1
"""vCPUs on which multi_fault is run under it: a policy in Python takes minutes on more."""


def policies() -> tuple[str, ...]:
    """Ours, and the one that defers."""
    return (*POLICIES, *([f"{DEFERRING}:Deferring"] if DEFERRING.exists() else []))


def scaling(
    progress: Progress, cpus: Sequence[int] = CPUS, rounds: int = 8
) -> list[dict[str, Any]]:
    """multi_fault by policy and number of vCPUs, areas given back by 1 MiB."""
    rows = []
    for number in cpus:
        for policy in policies() if number <= MOST_OF_PYTHON else POLICIES:
            progress(f"guest: multi_fault on {number} vCPUs, {policy}")
            rows.append(record(measure(policy, number, 64, rounds, "own", times=True)))
    return rows


def refill(progress: Progress, rounds: int = 400) -> list[dict[str, Any]]:
    """One page of an area touched and given back with the whole area, over and over: the table is
    empty each time, and needed at once.
    """
    rows = []
    for policy in policies():
        progress(f"guest: refill, {policy}")
        rows.append(record(measure(policy, 1, 1, rounds, "own", "2M", times=True)))
    return rows
