# SPDX-License-Identifier: GPL-2.0-or-later
"""The runs: each program on each allocator under each policy, and the figures of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
POLICIES: Final = ("never", "scan", "refcount")
UCMMU: Final = os.path.join(sysconfig.get_path("scripts"), "ucmmu")
TIMEOUT_S: Final = 900
LIBRARY_DIRECTORIES: Final = (
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
)
MADVISE_CALLS: Final = ("madvise", "process_madvise")


@dataclass(frozen=True)
class Allocator:
    """An allocator, the library that is it, and the environment that sets it up."""

    name: str
    library: str
    environment: tuple[str, ...] = ()

    def path(self) -> str | None:
        """Its library on this host; None: it is not installed."""
        for directory in LIBRARY_DIRECTORIES:
            path = os.path.join(directory, self.library)
            if os.path.exists(path):
                return path
        return None


ALLOCATORS: Final = (
    Allocator("glibc", "libc.so.6"),
    Allocator("jemalloc", "libjemalloc.so.2"),
    Allocator(
        "jemalloc, decay 0",
        "libjemalloc.so.2",
        ("MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0",),
    ),
    Allocator(
        "jemalloc, background thread",
        "libjemalloc.so.2",
        ("MALLOC_CONF=background_thread:true",),
    ),
    Allocator("tcmalloc", "libtcmalloc_minimal.so.4"),
    Allocator("mimalloc", "libmimalloc.so.2"),
)


@dataclass(frozen=True)
class Program:
    """A guest that uses memory: ``figures_of`` is the file name of the process that does."""

    name: str
    needs: tuple[str, ...]
    command: tuple[str, ...]
    figures_of: str
    environment: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Programs that this host lacks."""
        return [name for name in self.needs if shutil.which(name, path="/usr/bin:/bin") is None]


PROGRAMS: Final = (
    Program(
        "python3",
        ("python3",),
        ("/usr/bin/python3", str(HERE / "python_data.py"), "1"),
        "python3",
        ("PYTHONMALLOC=malloc",),
    ),
    Program(
        "redis-server",
        ("redis-server", "redis-cli", "dash"),
        ("/bin/dash", str(HERE / "redis_expire.sh"), "500"),
        "redis-server",
    ),
)


class RunError(Exception):
    """A run did not end as it should: one line says how."""


def run(program: Program, allocator: Allocator, policy: str) -> dict[str, Any]:
    """Run it, and return its figures: a row of the table, and its samples."""
    with tempfile.TemporaryDirectory() as folder:
        report_path = os.path.join(folder, "report.json")
        command = _command(program, allocator, policy, report_path)
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode or not os.path.exists(report_path):
            last = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:]
            raise RunError(
                f"{program.name} on {allocator.name}, {policy}: exit {ended.returncode}"
                f" {' '.join(last)}"
            )
        report = json.loads(Path(report_path).read_text(encoding="utf-8"))
    return figures(program, allocator, policy, report) | {"output": ended.stdout.splitlines()}


def _command(
    program: Program, allocator: Allocator, policy: str, report_path: str
) -> Sequence[str]:
    library = allocator.path()
    assert library is not None
    command = [UCMMU, "run", "--timeout", str(TIMEOUT_S), "--free-tables", policy]
    command += ["--json", report_path, "--preload", library, "--read", str(HERE), "--clear-env"]
    for variable in (*program.environment, *allocator.environment, "PATH=/usr/bin:/bin"):
        command += ["--env", variable]
    return [*command, "--", *program.command]


def figures(
    program: Program, allocator: Allocator, policy: str, report: dict[str, Any]
) -> dict[str, Any]:
    """The row of a report: of the process that the program is about, not of its helpers."""
    process = next(
        process
        for process in report["processes"]
        if os.path.basename(process["program"]).startswith(program.figures_of)
    )
    calls = process["calls"]
    samples = process["samples"]
    return {
        "program": program.name,
        "allocator": allocator.name,
        "policy": policy,
        "VmRSS_peak": process["VmHWM"],
        "VmRSS": process["VmRSS"],
        "VmPTE_peak": process["VmPTE_peak"],
        "VmPTE": process["VmPTE"],
        "tables_freed": process["pte_tables_freed_before_exit"],
        "tables_allocated": process["pte_tables_allocated"],
        "madvise": sum(calls.get(name, 0) for name in MADVISE_CALLS),
        "munmap": calls.get("munmap", 0),
        "page_faults": process["page_faults"],
        "instructions": process["instructions"],
        "seconds": report["seconds"],
        "samples": [[s["instructions"], s["VmRSS"], s["VmPTE"]] for s in samples],
    }


def progress(text: str) -> None:
    """Say what goes on."""
    print(text, file=sys.stderr, flush=True)
