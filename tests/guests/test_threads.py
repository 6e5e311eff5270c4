# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: POSIX threads do what they do natively, under any schedule, on any number of CPUs, with
each C library.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run

FLAGS = ("-O1", "-static", "-pthread")
COMPILERS = ("gcc", "musl-gcc")
SCHEDULES = [
    {"cpus": 1},
    {"cpus": 2, "seed": 1, "quantum": 700},
    {"cpus": 4, "seed": 2, "quantum": 300},
    {"cpus": 4, "seed": 3},
]


@cache
def native_output(source: str, compiler: str) -> bytes:
    return run_natively(build(source, *FLAGS, compiler=compiler))


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_threads_are_the_native_ones(compiler: str, schedule: dict[str, Any]) -> None:
    ours = run(build("pthreads.c", *FLAGS, compiler=compiler), **schedule)
    assert ours.stdout == native_output("pthreads.c", compiler)
    assert ours.result.exit_code == 0
    (process,) = ours.result.processes
    assert process.threads == 26


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_each_fidelity_runs_the_same_schedule(fidelity: str) -> None:
    """One seed, one run: instructions, faults and system calls are equal to those of ``fast``."""
    program = build("pthreads.c", *FLAGS, compiler="musl-gcc")
    options: dict[str, Any] = {"cpus": 3, "seed": 5, "quantum": 400}
    assert run(program, fidelity=fidelity, **options).figures == run(program, **options).figures


def test_one_seed_is_one_run_and_another_seed_another() -> None:
    program = build("pthreads.c", *FLAGS, compiler="musl-gcc")
    runs = [run(program, cpus=2, seed=seed, quantum=300) for seed in (1, 1, 2)]
    assert runs[0].figures == runs[1].figures
    assert runs[0].stdout == runs[2].stdout
    assert runs[0].result.instructions != runs[2].result.instructions


LOCKED = ["mutex: 1000 of 1000", "queue: 125 items, sum 7875", "thread-local sums: 4000, main's 0"]


def race_lost(text: str) -> int:
    *right, race, _ = text.splitlines()
    assert right == LOCKED
    return int(race.split()[1])


def test_a_data_race_shows_under_some_seeds_and_the_same_in_each_fidelity() -> None:
    """What locks protect comes out right under every seed."""
    lost = {}
    for seed in range(6):
        texts = {
            fidelity: run("threads", "2", "4000", seed=seed, quantum=12000, fidelity=fidelity).text
            for fidelity in ("fast", "exact")
        }
        assert len(set(texts.values())) == 1
        lost[seed] = race_lost(texts["fast"])
    assert 0 < sum(map(bool, lost.values())) < len(lost), lost


@pytest.mark.parametrize("cpus", [1, 4])
def test_a_tree_of_processes_copies_on_write(cpus: int) -> None:
    ours = run("fork_tree", "3", "2M", cpus=cpus, quantum=5000, policy="refcount")
    assert ours.text.startswith("15 processes, each with its own memory\n")
    assert len(ours.result.processes) == 15
    assert all(process.exit_code == 0 for process in ours.result.processes)
