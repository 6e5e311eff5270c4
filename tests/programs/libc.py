# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the checks of libc's behaviour, ``libc_*.c``, with the C library of a compiler."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from native.on_demand import BUILD

HERE = Path(__file__).parent
SOURCES = sorted(HERE.glob("libc_*.c"))
FLAGS = {
    "gcc": ("-lm", "-pthread", "-lrt", "-lutil"),
    "musl-gcc": ("-static",),
}
"""Flags that each compiler is given after the sources."""


@cache
def libc_checks(compiler: str) -> Path:
    """The program with all checks, ``gcc``: dynamic with glibc, ``musl-gcc``: static with musl.

    Skips the test where the compiler is missing.
    """
    command = shutil.which(compiler)
    if command is None:
        package = {"musl-gcc": "musl-tools"}.get(compiler, compiler)
        pytest.skip(f"no {compiler}: apt-get install {package}")
    build = [command, "-O1", "-w", *map(str, SOURCES), *FLAGS[compiler]]
    key = hashlib.sha256(repr(build).encode())
    for path in [*SOURCES, HERE / "libc_check.h"]:
        key.update(path.read_bytes())
    program = BUILD / f"libc_checks.{key.hexdigest()[:16]}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / f"libc_checks.{compiler}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            unfinished = program.with_suffix(".tmp")
            subprocess.run([*build, "-o", str(unfinished)], check=True, timeout=300)
            os.replace(unfinished, program)
    return program


def names_of_checks() -> list[str]:
    """The names of all checks, in the order of the sources."""
    found = (re.findall(r"^CHECK\((\w+)\)", path.read_text(), re.MULTILINE) for path in SOURCES)
    return [name for names in found for name in names]
