# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: sockets of AF_UNIX, TCP and UDP say, inside the machine, what they say on the host: each
result and errno, what poll() tells in each state, what fits in, and how connections end.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from cpu.fs.view import View
from tests.guests.build import build, run_natively
from tests.guests.machine import run

PARTS = (
    "names",
    "listening",
    "rights",
    "credentials",
    "datagrams",
    "full",
    "tcp_connecting",
    "tcp_ends",
    "ports",
    "udp",
    "six",
    "options",
    "edges",
)
SEVERAL_PROCESSES = ("blocking_connect", "tcp", "tcp_data")


def program() -> Path:
    return build("sockets.c", "-static", "-O1", "-Wno-unused-result")


@cache
def host(part: str) -> str:
    return run_natively(program(), part).decode()


def held_to_the_host(part: str, **options: object) -> None:
    ours = run(program(), part, **options)
    assert ours.text == host(part)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])


@pytest.mark.parametrize("part", PARTS)
def test_calls_as_on_the_host(part: str) -> None:
    held_to_the_host(part)


@pytest.mark.parametrize("part", SEVERAL_PROCESSES)
@pytest.mark.parametrize("cpus", [1, 3])
def test_processes_talk_as_on_the_host(part: str, cpus: int) -> None:
    held_to_the_host(part, cpus=cpus, seed=cpus, quantum=2000)


def test_names_in_directories(tmp_path: Path) -> None:
    (tmp_path / "native").mkdir()
    (tmp_path / "upper").mkdir()
    native = run_natively(program(), "paths", str(tmp_path / "native")).decode()
    ours = run(program(), "paths", view=View(upper=str(tmp_path / "upper"), fresh=("/tmp",)))
    assert ours.text == native
