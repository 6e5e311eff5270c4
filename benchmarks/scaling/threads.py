# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of the campaign that real threads measure."""

from __future__ import annotations

from typing import Any

from benchmarks import refcount_threads


def measure(quick: bool = False) -> dict[str, Any]:
    """``parameters`` for the model, and the pairs of each design."""
    rounds = 3 if quick else refcount_threads.ROUNDS
    return {
        "cpus": refcount_threads.cpus(),
        "parameters": refcount_threads.calibration(rounds),
        "pairs": refcount_threads.pairs(rounds),
    }
