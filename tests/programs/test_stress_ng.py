# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: stress-ng's stressors of memory and processes find nothing wrong with ``--verify``."""

from __future__ import annotations

import re

import pytest

from tests.programs.harness import Scratch, require

SMALL = ("--mmap-bytes", "1m", "--mremap-bytes", "1m", "--malloc-bytes", "1m", "--vm-bytes", "1m")
QUICK = {"pipe": 4, "futex": 4, "signal": 4, "malloc": 4, "fork": 2, "mremap": 1}
"""Stressors, and how many of its operations each does."""
MORE = {
    "brk": 2,
    "mincore": 2,
    "mlock": 2,
    "mprotect": 2,
    "msync": 2,
    "munmap": 2,
    "vm": 1,
    "msg": 5,
    "sem-sysv": 5,
    "shm": 1,
    "shm-sysv": 1,
}


def stress(scratch: Scratch, stressors: dict[str, int], *options: str) -> None:
    """One instance of each, side by side on one machine."""
    require("stress-ng")
    words = [
        word
        for name, count in stressors.items()
        for word in (f"--{name}", "1", f"--{name}-ops", str(count))
    ]
    command = ("stress-ng", *words, *SMALL, "--verify", "--temp-path", "/tmp")
    done = scratch.here(*command, options=options)
    said = done.stdout + done.stderr
    assert done.code == 0, said
    assert b"successful run completed" in said, said
    assert not re.search(rb"fail:|error:|unsuccessful", said), said


def test_side_by_side(scratch: Scratch) -> None:
    stress(scratch, QUICK)


def test_mmap_alone(scratch: Scratch) -> None:
    """Beside others it takes a hundred times as long: what it does is random."""
    stress(scratch, {"mmap": 1})


@pytest.mark.stress
@pytest.mark.parametrize("name", list(MORE))
def test_one_by_one(scratch: Scratch, name: str) -> None:
    stress(scratch, {name: MORE[name]})


@pytest.mark.stress
@pytest.mark.parametrize("policy", ["never", "scan", "refcount"])
def test_advice_under_each_policy(scratch: Scratch, policy: str) -> None:
    """The longest: each thread reads smaps of thousands of mappings."""
    stress(scratch, {"madvise": 1}, "--free-tables", policy)
