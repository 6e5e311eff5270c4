# SPDX-License-Identifier: GPL-2.0-or-later
"""The published loop, 50 GiB long, on our machine against the same binary run natively on this
host.

``BENCH_DONTNEED_SIZE=1G`` makes it short; ``BENCH_DONTNEED_ROUNDS`` sets the pairs (3).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.measure import Result, compare
from ucmmu.options import find_program

CHUNK = "2M"
HOST_RSS_GOAL = 400 << 10
"""kB of host memory that the run may need."""


def dontneed_loop_native() -> Iterator[Result]:
    """Whole commands, from start to exit: ``ucmmu run`` with its supervision, and the program
    itself.
    """
    size = os.environ.get("BENCH_DONTNEED_SIZE", "50G")
    rounds = int(os.environ.get("BENCH_DONTNEED_ROUNDS", "3"))
    program = str(find_program("dontneed_loop"))
    rss: list[int] = []

    def ours() -> float:
        command = [
            sys.executable,
            "-m",
            "ucmmu",
            "run",
            "--free-tables",
            "refcount",
            "--fidelity",
            "fast",
        ]
        seconds, output = _timed([*command, "--json", "-", program, size, CHUNK])
        rss.append(json.loads(output)["host_rss_peak"])
        return seconds

    result = compare(
        "dontneed_loop_native",
        ours,
        lambda: _timed([program, size, CHUNK])[0],
        unit="s",
        goal="<= 0.2",
        note=f"dontneed_loop {size} {CHUNK}, refcount, fast, counting; wall clock of the whole"
        " command",
        rounds=rounds,
        warm_up=False,
    )
    result.more.update(host_rss_peak=max(rss), host_rss_goal=HOST_RSS_GOAL, host_rss_unit="kB")
    yield result


def _timed(command: list[str]) -> tuple[float, str]:
    """Seconds that a command took, and what it printed; it must succeed."""
    started = time.perf_counter()
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return time.perf_counter() - started, done.stdout
