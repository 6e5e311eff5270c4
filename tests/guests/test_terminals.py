# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a pseudo-terminal edits, echoes, signals and hangs up as on the host, byte by byte; a
background group is stopped, or told, as there.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run

PARTS = (
    "opening",
    "editing",
    "output",
    "raw",
    "keys",
    "groups",
    "orphan",
    "hung_up",
    "leader_ends",
    "ends",
)


def program() -> Path:
    return build("terminals.c", "-static", "-O1", "-Wno-unused-result")


@cache
def host(part: str) -> str:
    return run_natively(program(), part).decode()


@pytest.mark.parametrize("part", PARTS)
def test_terminals_behave_as_on_the_host(part: str) -> None:
    ours = run(program(), part)
    assert ours.text == host(part)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])


@pytest.mark.parametrize("part", ["groups", "raw"])
def test_on_several_cpus(part: str) -> None:
    assert run(program(), part, cpus=3, seed=5, quantum=3000).text == host(part)
