# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of the campaign that real threads measure.

A virtual machine's CPUs stand now in one cluster of cores, now in two, as its owner moves them: a
line takes four or five times as long from one to the other then. So both are waited for, and kept
from run to run: the one is what the model takes within a cluster, the other between clusters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import refcount_threads
from benchmarks.calm import Spread

OF_TWO = ("transfer", "lock_handoff")
CLUSTER = 60.0
"""No line takes so long within a cluster, ns; none so short between two."""
PATIENCE = 150.0
"""How long the CPUs are given to move, s."""
Distance = dict[str, float]
"""The parameters OF_TWO, and their ``spread``, the wider one."""

Row = dict[str, Any]


def measure(before: dict[str, Any], quick: bool = False) -> dict[str, Any]:
    """``parameters`` for the model with their ``spreads``, and the pairs of each design.

    ``before`` are the results of the last run, or nothing.
    """
    found = refcount_threads.calibration(quick)
    parameters = {name: each.median for name, each in found.items()}
    spreads = {name: each.share for name, each in found.items()}
    before = before if before.get("core") == core() else {}
    distances = list(before.get("distances", []))
    if "transfer" in found:
        distances = ends([*distances, _distance(found)])
        distances += _others(distances, 0.0 if quick else PATIENCE)
        parameters |= of_distances(distances)
        spreads |= dict.fromkeys(OF_TWO, ends(distances)[0]["spread"])
    return {
        "core": core(),
        "cpus": refcount_threads.cores(),
        "parameters": parameters,
        "spreads": spreads,
        "distances": ends(distances),
        "pairs": both_ways(before.get("pairs", []), refcount_threads.pairs(quick)),
    }


def both_ways(before: Sequence[Row], pairs: Sequence[Row]) -> list[Row]:
    """The rows of this run, and after each of two CPUs the last run's that found them the other
    distance apart, so that both are there.
    """
    rows = []
    for row in pairs:
        rows.append(row)
        key = [row[name] for name in ("pair", "design", "threads", "own_tables")]
        if row["distance"] is not None:
            rows += [
                old
                for old in before
                if key == [old[name] for name in ("pair", "design", "threads", "own_tables")]
                and not old["noisy"]
                and (old["distance"] < CLUSTER) != (row["distance"] < CLUSTER)
            ]
    return rows


def _distance(found: Mapping[str, Spread]) -> Distance:
    medians = {name: found[name].median for name in OF_TWO}
    return medians | {"spread": max(found[name].share for name in OF_TWO)}


def _others(known: Sequence[Distance], patience: float) -> list[Distance]:
    """The distance that is not known yet, if the CPUs come to it in time."""
    end = time.monotonic() + patience
    while len(known) < 2 and time.monotonic() < end:
        if (refcount_threads.distance() < CLUSTER) != (known[0]["transfer"] < CLUSTER):
            return [_distance(refcount_threads.calibration(only=OF_TWO))]
        time.sleep(2.0)
    return []


def ends(distances: Sequence[Distance]) -> list[Distance]:
    """The nearest within a cluster, and the nearest between two, of those that were seen."""
    ordered = sorted(distances, key=lambda each: each["transfer"])
    near = [each for each in ordered if each["transfer"] < CLUSTER]
    far = [each for each in ordered if each["transfer"] >= CLUSTER]
    return near[:1] + far[:1]


def of_distances(distances: Sequence[Distance]) -> dict[str, float]:
    """The parameters that they give. If only that between clusters was seen, it is taken for all;
    if only that within one, ``far`` stays what is assumed.
    """
    found = ends(distances)
    parameters = {name: found[0][name] for name in OF_TWO}
    if len(found) == 2:
        parameters["far"] = found[1]["transfer"] / found[0]["transfer"]
    elif found[0]["transfer"] >= CLUSTER:
        parameters["far"] = 1.0
    return parameters


def core() -> str:
    """What core this is, as the kernel names it."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    named = {name.strip(): value.strip() for name, value in lines.items()}
    return " ".join(named.get(name, "?") for name in ("model name", "cpu family", "model"))
