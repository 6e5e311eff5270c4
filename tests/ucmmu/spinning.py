# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that runs for ever, for tests of what stops it; and stops that come when it has begun."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.children import children_of

UCMMU = [sys.executable, "-m", "ucmmu"]


def once_begun(
    run: Callable[[str], dict[str, Any]], processes: int = 1, note: str = ""
) -> dict[str, Any]:
    """The report that ``run`` gives for the first of these --timeout, seconds, that lets its guest
    begin, have so many processes, and come to what a note tells in these words.
    """
    for seconds in ("1", "5", "25", "125"):
        report = run(seconds)
        begun = (report["instructions"] or 0) > 1000 and len(report["processes"]) >= processes
        if begun and note in "\n".join(report["notes"]):
            break
    return report


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
    for _ in range(1000):
        time.sleep(0.02)
        pids = children_of(process.pid)
        if pids and "libunicorn" in Path(f"/proc/{pids[0]}/maps").read_text():
            time.sleep(0.3)
            return process, pids[0]
    raise AssertionError("no child was started")
