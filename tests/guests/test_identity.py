# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: who a task is and may become follows Linux's rules: user and group IDs, supplementary
groups, capabilities, through exec() too.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cpu.cred import CAP_FULL_SET, Cred, setfsuid, setresuid, setuid
from mmu.errors import LinuxError
from tests.guests.build import build
from tests.guests.machine import run

SEQUENCES = "60"


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """It lies where every user can run it."""
    directory = Path("/tmp") / f"identity.{os.getpid()}"
    directory.mkdir(mode=0o755)
    path = directory / "identity"
    shutil.copy(build("identity.c", "-O1", "-static"), path)
    path.chmod(path.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH | stat.S_IROTH)
    yield path
    shutil.rmtree(directory)


@pytest.mark.parametrize("uid", [0, 1000])
def test_random_sequences_end_as_on_the_host(program: Path, uid: int) -> None:
    if os.geteuid() != 0 and uid != os.geteuid():
        pytest.skip(f"only root can run the host's side as user {uid}")
    ids = {"user": uid, "group": uid, "extra_groups": [4, 24]} if os.geteuid() == 0 else {}
    command = [str(program), str(7 * uid + 1), SEQUENCES]
    host = subprocess.run(
        command, env={}, cwd="/", capture_output=True, timeout=60, check=True, **ids
    ).stdout.decode()
    ours = run(*command, cred=_like_here(Cred.of(uid, uid, (4, 24))))
    assert ours.text.splitlines() == host.splitlines()
    assert host.count("\n") > 12 * int(SEQUENCES)


def _like_here(cred: Cred) -> Cred:
    """With as few capabilities as the host's user can have: a container's root lacks some."""
    status = Path("/proc/self/status").read_text()
    (bset,) = [int(line.split()[1], 16) for line in status.splitlines() if "CapBnd" in line]
    has = cred.cap_permitted & bset
    return replace(cred, cap_permitted=has, cap_effective=has, cap_bset=bset)


def test_a_user_cannot_become_another() -> None:
    user = Cred.of(1000, 1000)
    for change in (setuid, setfsuid):
        if change is setfsuid:
            assert setfsuid(user, 0) is user
        else:
            with pytest.raises(LinuxError):
                change(user, 0)
    assert user.cap_effective == 0


def test_root_that_becomes_a_user_has_nothing_left() -> None:
    root = Cred.of(0, 0)
    assert root.cap_effective == CAP_FULL_SET
    user = setresuid(root, 1000, 1000, 1000)
    assert (user.cap_permitted, user.cap_effective) == (0, 0)
    back = setresuid(setresuid(root, -1 & 0xFFFFFFFF, 1000, -1 & 0xFFFFFFFF), 0, 0, 0)
    assert back.cap_effective == CAP_FULL_SET


def test_set_user_id_bits_count_for_nothing(program: Path) -> None:
    copy = program.with_name("setuid")
    shutil.copy(program, copy)
    copy.chmod(0o4755)
    ours = run(copy, "0", "0", "again", cred=Cred.of(1000, 1000))
    assert ours.text.startswith("secure 0 exec = 0 ; uid 1000 1000 1000 1000")
