# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether Bochs can be had here, and the environment of a process that loads it."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from native import on_demand

PACKAGE: Final = "bochscpu"
REQUIREMENT: Final = "bochscpu-python==0.4.0"
NEEDS_GLIBC: Final = (2, 38)
_SHIM: Final = Path(__file__).with_name("isoc23_shim.c")


@functools.cache
def why_not() -> str | None:
    """Why Bochs cannot be had; None if it can."""
    if importlib.util.find_spec(PACKAGE) is None:
        return f"Bochs is not installed: pip install {REQUIREMENT}"
    try:
        command = [sys.executable, "-c", f"import os, {PACKAGE}; os._exit(0)"]
        ended = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False
        )
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the shim for glibc {platform.libc_ver()[1]} cannot be built: {error}"
    if ended.returncode:
        return f"Bochs cannot be loaded: {ended.stderr.strip().splitlines()[-1:]}"
    return None


@functools.cache
def environment() -> dict[str, str]:
    """The environment of a process that loads Bochs."""
    found = dict(os.environ)
    name, version = platform.libc_ver()
    if name == "glibc" and tuple(map(int, version.split("."))) < NEEDS_GLIBC:
        found["LD_PRELOAD"] = str(_shim())
    return found


def _shim() -> Path:
    """The shim's library, built anew if its source has changed. One process builds, others wait."""
    on_demand.BUILD.mkdir(parents=True, exist_ok=True)
    target = on_demand.BUILD / "isoc23_shim.so"
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists() or target.stat().st_mtime < _SHIM.stat().st_mtime:
            compiler = os.environ.get("CC", "gcc")
            subprocess.run(
                [compiler, "-std=gnu11", "-O2", "-shared", "-fPIC", "-o", target, _SHIM],
                check=True,
                capture_output=True,
            )
    return target
