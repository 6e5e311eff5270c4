# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a right guest gives the same results under every schedule: any seed, quantum, number of
CPUs and policy; every table is counted right at each exit, and nothing is left.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.guests.build import build
from tests.guests.machine import POLICIES, run
from tests.guests.test_threads import LOCKED

FLAGS = ("-O1", "-static", "-pthread")
SOME = 2
MANY = 1000


def schedule(seed: int) -> dict[str, Any]:
    """The options of a run; the same for the same seed."""
    chance = random.Random(f"schedule {seed}")
    return {
        "seed": seed,
        "cpus": chance.choice((1, 2, 3, 4, 8)),
        "quantum": chance.choice((50, 200, 1000, 5000, 100_000)),
        "policy": chance.choice((*POLICIES, "refcount-pmdlock")),
        "fidelity": chance.choice(("fast", "fast", "fast", "exact")),
    }


def programs() -> dict[str, tuple[str | Path, ...]]:
    return {
        "pthreads": (build("pthreads.c", *FLAGS, compiler="musl-gcc"),),
        "threads": ("threads", "2", "4000"),
        "fork_tree": ("fork_tree", "2", "128K"),
        "exec": (build("exec.c", *FLAGS),),
    }


def result(name: str, text: str) -> list[str]:
    """What must be equal under every schedule: all but the data race and what is mapped then."""
    lines = text.splitlines()
    if name == "threads":
        assert lines[: len(LOCKED)] == LOCKED
        return lines[: len(LOCKED)]
    return lines[:1] if name == "fork_tree" else lines


def check(seeds: range) -> None:
    for name, (program, *args) in programs().items():
        first = run(program, *map(str, args))
        assert first.result.exit_code == 0
        for seed in seeds:
            options = schedule(seed)
            ours = run(program, *map(str, args), **options)
            assert ours.result.exit_code == 0, (name, options)
            assert result(name, ours.text) == result(name, first.text), (name, options)
            assert len(ours.result.processes) == len(first.result.processes), (name, options)


def test_some_schedules() -> None:
    check(range(SOME))


@pytest.mark.stress
def test_a_thousand_schedules() -> None:
    check(range(SOME, MANY))
