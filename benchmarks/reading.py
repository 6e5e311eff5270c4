# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a file: a program that reads 256 MiB here, against the same binary run natively.

``BENCH_READ_SIZE=32M`` makes the file short.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Outcome, Skipped, compare
from cpu.fs.view import View, seen
from cpu.machine import Machine
from mmu.memory import Memory
from native.on_demand import BUILD
from ucmmu.sizes import parse_size

SOURCE = Path(__file__).with_name("read_file.c")
CALLS = {65536: ("64 KiB", ">= 0.15"), 4096: ("4 KiB", ">= 0.02")}
"""Bytes a call: their name, and the goal."""


def program_read() -> Iterator[Outcome]:
    """MiB a second, from the start of the machine to its end; the file is in the host's page
    cache.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        yield Skipped("program_read", "no gcc: apt-get install gcc")
        return
    size = parse_size(os.environ.get("BENCH_READ_SIZE", "256M"))
    program = _build(compiler)
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
        file.flush()
        for call, (name, goal) in CALLS.items():
            args = [file.name, str(call)]
            yield compare(
                f"program_read_{call >> 10}k",
                partial(_speed, _here, size, program, args),
                partial(_speed, _natively, size, program, args),
                unit="MiB/s",
                goal=goal,
                note=f"a program that reads {size >> 20} MiB, {name} a call, fast, against the same"
                " program natively: what is lost is the cost of its system calls",
                rounds=3,
            )


def _build(compiler: str) -> Path:
    """The program, static, below build/on_demand."""
    program = BUILD / "read_file"
    BUILD.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < SOURCE.stat().st_mtime:
        subprocess.run([compiler, "-O2", "-static", "-o", program, SOURCE], check=True)
    return program


def _speed(
    seconds: Callable[[Path, list[str]], float], size: int, program: Path, args: list[str]
) -> float:
    """MiB a second of a program that reads ``size`` bytes."""
    return size / seconds(program, args) / (1 << 20)


def _here(program: Path, args: list[str]) -> float:
    """Seconds that it takes as a guest."""
    started = time.perf_counter()
    memory = Memory(1 << 30)
    try:
        with Machine(memory) as machine:
            view = View(given=(*seen(str(program)), *seen(args[0])))
            machine.spawn(str(program), args=args, view=view)
            assert machine.run().exit_code == 0
    finally:
        memory.close()
    return time.perf_counter() - started


def _natively(program: Path, args: list[str]) -> float:
    """Seconds that it takes on the host."""
    started = time.perf_counter()
    subprocess.run([program, *args], check=True)
    return time.perf_counter() - started
