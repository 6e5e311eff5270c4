# SPDX-License-Identifier: GPL-2.0-or-later
"""From command to exit: ``ucmmu run hello``, against the least that any program on Unicorn does.

The peer is a Python process that imports unicorn and cffi, maps a page, and ends. Python's bytecode
is cached, as it is from the second run on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence

from benchmarks.measure import Result, compare

ROUNDS = 15
_COMMAND = (os.path.join(sysconfig.get_path("scripts"), "ucmmu"), "run", "hello")
_PEER = (
    sys.executable,
    "-c",
    "import cffi, unicorn; uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64);"
    " uc.mem_map(0x1000, 0x1000)",
)


def startup() -> Iterator[Result]:
    """Milliseconds of wall clock, a process each time."""
    yield compare(
        "startup",
        lambda: _milliseconds(_COMMAND),
        lambda: _milliseconds(_PEER),
        unit="ms",
        goal="<= 1.7",
        rounds=ROUNDS,
        note="ucmmu run hello from command to exit, table included, against a Python process that"
        " imports unicorn and cffi, maps a page and exits; 200 ms where the peer takes 120",
    )


def _milliseconds(command: Sequence[str]) -> float:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return 1e3 * (time.perf_counter() - started)
