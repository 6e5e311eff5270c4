# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that tests build to run both natively and as guests, kept below build/on_demand until
they change.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from native.on_demand import BUILD

HERE = Path(__file__).parent


@cache
def build(source: str, *flags: str, compiler: str = "gcc") -> Path:
    """The program built from ``source``, a file beside this one; skips the test where that cannot
    be.

    ``compiler`` is ``gcc`` (glibc) or ``musl-gcc`` (Debian's musl-tools).
    """
    if platform.machine() != "x86_64":
        pytest.skip("guests run natively on x86-64 only")
    command = shutil.which(compiler)
    if command is None:
        pytest.skip(
            f"no {compiler}: apt-get install {'musl-tools' if compiler == 'musl-gcc' else compiler}"
        )
    path = HERE / source
    key = hashlib.sha256(repr((compiler, flags)).encode() + path.read_bytes()).hexdigest()[:16]
    program = BUILD / f"{path.stem}.{key}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / f"{path.stem}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            unfinished = program.with_suffix(".tmp")
            subprocess.run([command, "-o", unfinished, path, *flags], check=True)
            os.replace(unfinished, program)
    return program


def run_natively(program: Path, *args: str, env: Mapping[str, str] | None = None) -> bytes:
    """What the program writes to stdout on the host, without address randomisation; it must exit
    with 0.
    """
    command = ["setarch", "-R", str(program), *args]
    done = subprocess.run(
        command, env=dict(env or {}), cwd="/", capture_output=True, timeout=120, check=True
    )
    return done.stdout


def signal_natively(program: Path) -> int:
    """The signal that ends the program on the host; 0 if it exits."""
    return max(
        -subprocess.run([program], capture_output=True, timeout=60, check=False).returncode, 0
    )
