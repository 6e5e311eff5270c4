# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whatever sequence of calls makes, takes away and moves names, each call answers as on the
host's kernel, and the same tree is left; as root and as an ordinary user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from cpu.cred import Cred
from cpu.fs.view import View, seen
from tests.guests.build import build
from tests.guests.machine import run

CALLS = 400
TMPFS = Path("/dev/shm")
USER = 1000


def program() -> Path:
    return build("names_random.c", "-static", "-O1")


def natively(seed: int, calls: int, uid: int) -> list[str]:
    """In a new directory of a tmpfs."""
    if not os.access(TMPFS, os.W_OK):
        pytest.skip(f"{TMPFS} cannot be written")
    if uid != os.geteuid() and os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(dir=TMPFS) as scratch:
        copy = Path(scratch) / "program"
        shutil.copy(program(), copy)
        place = Path(scratch) / "empty"
        place.mkdir()
        for path in (Path(scratch), copy, place):
            os.chmod(path, 0o755)
            os.chown(path, uid, uid)
        command = [str(copy), str(seed), str(calls)]
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": uid, "group": uid, "extra_groups": []}
        done = subprocess.run(
            command, cwd=place, capture_output=True, check=True, timeout=60, text=True, **who
        )
        return str(done.stdout).splitlines()


def here(seed: int, calls: int, uid: int, tmp_path: Path) -> list[str]:
    """In a fresh directory of the upper layer."""
    upper = tmp_path / f"upper{seed}"
    upper.mkdir()
    path = str(program())
    view = View(given=seen(path), home="/home/guest", upper=str(upper), cwd="/home/guest")
    cred = Cred.of(uid, uid)
    ours = run(path, str(seed), str(calls), view=view, cred=cred)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    return ours.text.splitlines()


def assert_same(seed: int, calls: int, uid: int, tmp_path: Path) -> None:
    host, ours = natively(seed, calls, uid), here(seed, calls, uid, tmp_path)
    for number, (one, other) in enumerate(zip(host, ours, strict=False)):
        before = "\n".join(host[max(number - 12, 0) : number])
        assert other == one, f"line {number}, seed {seed}, uid {uid}, after\n{before}"
    assert len(ours) == len(host)


@pytest.mark.parametrize("uid", [0, USER])
@pytest.mark.parametrize("seed", range(4))
def test_a_random_sequence_answers_as_the_host(seed: int, uid: int, tmp_path: Path) -> None:
    assert_same(seed, CALLS, uid, tmp_path)


@pytest.mark.fuzz
@pytest.mark.parametrize("uid", [0, USER])
def test_many_random_sequences_answer_as_the_host(uid: int, tmp_path: Path) -> None:
    for seed in range(100, 200):
        assert_same(seed, 1500, uid, tmp_path)
