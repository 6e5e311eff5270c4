# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: pipes, sockets, eventfd, timerfd, poll(), select(), epoll, devices and directories answer
as the host's kernel does, call by call.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run


def program() -> Path:
    return build("file_calls.c", "-static", "-O1")


@cache
def host() -> list[str]:
    return run_natively(program()).decode().splitlines()


@pytest.mark.parametrize("options", [{}, {"cpus": 2, "seed": 3, "quantum": 700}], ids=str)
def test_every_call_answers_as_the_host_s(options: dict[str, int]) -> None:
    ours = run(program(), **options)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    assert ours.text.splitlines() == host()
