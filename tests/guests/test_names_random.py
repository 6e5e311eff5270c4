# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever sequence of calls makes, takes away and moves names, each call answers as on the
host's kernel, and the same tree is left; as root and as an ordinary user.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.guests.build import build
from tests.guests.scratch import USER, assert_same, here, natively

CALLS = 400


def compare(seed: int, calls: int, uid: int, tmp_path: Path, *more: str) -> None:
    program = build("names_random.c", "-static", "-O1")
    args = str(seed), str(calls), *more
    host = natively(program, *args, uid=uid)
    ours = here(program, *args, uid=uid, tmp_path=tmp_path, writable=bool(more))
    assert_same(ours, host, f"seed {seed}, uid {uid}")


@pytest.mark.parametrize("uid", [0, USER])
@pytest.mark.parametrize("seed", range(3))
def test_a_random_sequence_answers_as_the_host(seed: int, uid: int, tmp_path: Path) -> None:
    compare(seed, CALLS, uid, tmp_path)


@pytest.mark.parametrize("seed", range(2))
def test_so_does_one_in_a_writable_directory(seed: int, tmp_path: Path) -> None:
    compare(seed, CALLS, os.geteuid(), tmp_path, "plain")


@pytest.mark.fuzz
@pytest.mark.parametrize("uid", [0, USER])
def test_many_random_sequences_answer_as_the_host(uid: int, tmp_path: Path) -> None:
    for seed in range(100, 160):
        compare(seed, 1500, uid, tmp_path)
