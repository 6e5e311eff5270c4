# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each futex operation answers, wakes and hands over as natively: errors, bitsets,
requeueing, FUTEX_WAKE_OP, PI and robust mutexes, futex_waitv().
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import run

FLAGS = ("-O1", "-static", "-pthread")


@cache
def native_output() -> bytes:
    """What two runs in a row write: on a busy host a thread may be late where the program gives it
    some milliseconds.
    """
    program = build("futexes.c", *FLAGS)
    before = b""
    for _ in range(10):
        output = run_natively(program)
        if output == before:
            break
        before = output
    return before


@pytest.mark.parametrize(
    "options",
    [
        {"cpus": 1},
        {"cpus": 2, "seed": 1, "quantum": 500},
        {"cpus": 4, "seed": 2, "quantum": 200, "fidelity": "exact"},
        {"cpus": 2, "engine": "python", "fast_faults": False},
        {"cpus": 2, "count": False},
    ],
    ids=str,
)
def test_futexes_are_the_native_ones(options: dict[str, Any]) -> None:
    ours = run(build("futexes.c", *FLAGS), **options)
    assert ours.stdout == native_output()
    assert ours.result.exit_code == 0
