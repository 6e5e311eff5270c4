# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: shared memory with keys, semaphores in sets and queues of messages answer as the host's
kernel does, and leave no memory behind.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from cpu.cred import Cred
from tests.guests.build import build
from tests.guests.machine import run
from tests.guests.ordinary_user import UID, native

SCHEDULES = [{}, {"cpus": 2, "seed": 5, "quantum": 900}, {"engine": "python"}]


def program() -> Path:
    return build("sysv_ipc.c", "-static", "-O1", "-w")


@cache
def host(part: str) -> list[str]:
    return native(program(), part).splitlines()


@pytest.mark.parametrize("options", SCHEDULES, ids=str)
@pytest.mark.parametrize("part", ["shm", "sem", "msg"])
def test_every_call_answers_as_the_host_s(part: str, options: dict[str, object]) -> None:
    ours = run(program(), part, cred=Cred.of(UID, UID), **options)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    assert ours.text.splitlines() == host(part)


def test_what_is_left_is_given_back_and_listed() -> None:
    """A segment that nobody removed: its pages go with the machine (run() looks for leaks)."""
    list_program = build("sysv_leave.c", "-static", "-O1", "-w")
    done = run(list_program)
    assert done.result.exit_code == 0
    header, line = done.text.splitlines()
    assert header.split()[:3] == ["key", "shmid", "perms"]
    fields = line.split()
    assert fields[:4] == [str(0x1234), "0", "600", "8192"]
    assert fields[6] == "1" and fields[-2] == "8192"
