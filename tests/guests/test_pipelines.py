# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what processes say to each other through files arrives as on the host, on any number of
CPUs and under any schedule; a signal ends every call that waits for one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run

PARTS = (
    "ping_pong",
    "never_torn",
    "large",
    "in_order_of_time",
    "epoll_edges",
    "semaphore",
    "pipeline",
    "broken",
    "interrupted",
    "killed_while_waiting",
    "proc",
    "cloexec",
    "threads",
    "shared_memory",
)


def program() -> Path:
    return build("pipelines.c", "-static", "-O1", "-Wno-unused-result")


@cache
def host(part: str) -> str:
    return run_natively(program(), part, "proc!").decode()


def held_to_the_host(part: str, **options: object) -> None:
    ours = run(program(), part, "proc!", **options)
    assert ours.text == host(part)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("cpus", [1, 3])
def test_processes_talk_as_on_the_host(part: str, cpus: int) -> None:
    held_to_the_host(part, cpus=cpus)


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("part", ["never_torn", "epoll_edges", "semaphore"])
def test_no_schedule_changes_what_arrives(part: str, seed: int) -> None:
    held_to_the_host(part, cpus=4, seed=seed, quantum=300)


def test_an_interrupt_that_an_idle_cpu_takes_ends_a_spin() -> None:
    """Here CPU 0 spins for CPU 1, which sleeps before it takes the interrupt: no deadlock."""
    held_to_the_host("never_torn", cpus=2, seed=11, quantum=11_100)


@pytest.mark.parametrize("options", [{"fidelity": "exact"}, {"engine": "python"}], ids=str)
def test_in_each_fidelity_and_engine(options: dict[str, str]) -> None:
    held_to_the_host("ping_pong", cpus=2, **options)


@pytest.mark.parametrize("part", ["never_torn", "pipeline"])
def test_figures_are_those_of_the_seed_in_each_fidelity_and_engine(part: str) -> None:
    figures = []
    for options in ({}, {"fidelity": "exact", "check_tlb": True}, {"engine": "python"}):
        ours = run(program(), part, "proc!", cpus=3, seed=5, quantum=700, **options)
        assert not ours.result.stale_translations
        figures.append({**ours.figures, "stale_translations": None})
    assert figures[1] == figures[0] == figures[2]


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(50))
def test_many_schedules(seed: int) -> None:
    for part in PARTS:
        held_to_the_host(part, cpus=1 + seed % 5, seed=seed, quantum=100 + 1000 * seed)
