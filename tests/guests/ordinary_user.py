# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a guest program on the host as an ordinary user without privileges, as it is here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.guests.machine import BUILD

UID = 1000
KERNEL = (6, 18)
COLD = Path(__file__).resolve().parents[2] / "build" / "small_folios"


def require_linux_6_18() -> None:
    """Skip where the host is no oracle for what is compared: another kernel, or swap to page out
    to.
    """
    version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if version != KERNEL:
        pytest.skip(f"Linux {KERNEL[0]}.{KERNEL[1]} is modelled, the host has {os.uname().release}")
    if len(Path("/proc/swaps").read_text().splitlines()) > 1:
        pytest.skip("the host has swap, the guest has none")


def require_no_protection_keys() -> None:
    """Skip where the host's processor has protection keys (CPUID.7.ECX.OSPKE), which the guest's
    has not: pkey_alloc(), execute-only pages and smaps differ.
    """
    if re.search(r"^flags\b.*\bospke\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
        pytest.skip("the host's processor has protection keys, the guest's has none")


@cache
def with_small_folios(name: str) -> Path:
    """A copy of a guest whose page cache is in single pages: of larger folios a fault maps more
    than 16 pages.
    """
    COLD.mkdir(parents=True, exist_ok=True)
    path = COLD / f"{name}.{os.getpid()}"
    shutil.copy(BUILD / name, path)
    path.chmod(0o755)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        for offset in range(0, os.fstat(fd).st_size, 4096):
            os.pread(fd, 1, offset)
    finally:
        os.close(fd)
    return path


def native(program: Path, *args: str) -> str:
    """What it prints, run without address randomisation by a user who owns neither files nor
    capabilities.

    It is started through an open descriptor, since that user may have no way to its folder.
    """
    fd = os.open(program, os.O_RDONLY)
    as_user: dict[str, Any] = (
        {"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    command = ["setarch", "-R", f"/proc/self/fd/{fd}", *args]
    try:
        done = subprocess.run(
            command,
            env={},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            pass_fds=[fd],
            **as_user,
        )
    finally:
        os.close(fd)
    if done.returncode == 1 and done.stderr:
        pytest.skip(f"the host cannot be compared with: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout
