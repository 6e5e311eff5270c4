# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that runs for ever, for tests of what stops it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

UCMMU = [sys.executable, "-m", "ucmmu"]


def start_spinning(*options: str) -> tuple[subprocess.Popen[str], int]:
    """Start an endless guest; returns the process and its supervised child's pid once that has its
    engine.
    """
    process = subprocess.Popen(
        [*UCMMU, "run", *options, "faults", "spin"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(1000):
        time.sleep(0.02)
        pids = children.read_text().split()
        if pids and "libunicorn" in Path(f"/proc/{pids[0]}/maps").read_text():
            time.sleep(0.3)
            return process, int(pids[0])
    raise AssertionError("no child was started")
