# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a program in an empty directory that is its own: on the host, in a tmpfs, and here, in the
upper layer.
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
from cpu.fs.view import Given, View, seen
from tests.guests.machine import run

TMPFS = Path("/dev/shm")
USER = 1000


def natively(program: Path, *args: str, uid: int) -> list[str]:
    """The lines that it writes as this user, in a new directory of a tmpfs."""
    if not os.access(TMPFS, os.W_OK):
        pytest.skip(f"{TMPFS} cannot be written")
    if uid != os.geteuid() and os.geteuid():
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory(dir=TMPFS) as scratch:
        copy, place = Path(scratch) / "program", Path(scratch) / "empty"
        shutil.copy(program, copy)
        place.mkdir()
        for path in (Path(scratch), copy, place):
            os.chmod(path, 0o755)
            os.chown(path, uid, uid)
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            who = {"user": uid, "group": uid, "extra_groups": []}
        done = subprocess.run(
            [str(copy), *args],
            cwd=place,
            env={},
            capture_output=True,
            check=True,
            timeout=60,
            text=True,
            **who,
        )
        return str(done.stdout).splitlines()


def here(
    program: Path, *args: str, uid: int, tmp_path: Path, writable: bool = False, **options: Any
) -> list[str]:
    """The same in a fresh directory of the upper layer, or in a writable one of the host's."""
    upper, out = tmp_path / "upper", tmp_path / "out"
    for path in (upper, out):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    given, cwd = seen(str(program)), "/out" if writable else "/home/guest"
    if writable:
        given = (*given, Given("/out", str(out), writable=True))
    view = View(given=given, home="/home/guest", upper=str(upper), cwd=cwd)
    ours = run(str(program), *args, view=view, cred=Cred.of(uid, uid), **options)
    assert (ours.result.exit_code, ours.result.unknown_syscalls) == (0, [])
    return ours.text.splitlines()


def assert_same(ours: list[str], host: list[str], what: str) -> None:
    """Every line is the same."""
    for number, (one, other) in enumerate(zip(host, ours, strict=False)):
        before = "\n".join(host[max(number - 12, 0) : number])
        assert other == one, f"line {number}, {what}, after\n{before}"
    assert len(ours) == len(host)
