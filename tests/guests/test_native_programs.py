# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: programs as people have them, with threads and processes, print what they print natively:
OpenMP, Go, and cases from the trackers of allocators and databases.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from native.on_demand import BUILD
from tests.guests.build import HERE, build, run_natively
from tests.guests.machine import run
from tests.linux.native import kernel_is_like_ours

SCHEDULES = [(1, 0, 100_000), (2, 1, 500), (4, 2, 3000)]
"""CPUs, seed, quantum."""


@cache
def go_program() -> Path:
    """The Go program, statically linked; skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go: apt-get install golang-go")
    program = BUILD / "goroutines"
    BUILD.mkdir(parents=True, exist_ok=True)
    environment = {"CGO_ENABLED": "0", "HOME": str(BUILD), "PATH": "/usr/bin:/bin"}
    command = [go, "build", "-o", str(program), str(HERE / "goroutines.go")]
    subprocess.run(command, check=True, env=environment, timeout=300)
    return program


@pytest.mark.parametrize(("cpus", "seed", "quantum"), SCHEDULES)
def test_openmp(cpus: int, seed: int, quantum: int) -> None:
    program = build("openmp.c", "-O1", "-static", "-fopenmp", "-w")
    ours = run(program, cpus=cpus, seed=seed, quantum=quantum)
    assert ours.stdout == run_natively(program)


@pytest.mark.parametrize(("cpus", "seed", "quantum"), SCHEDULES)
def test_go(cpus: int, seed: int, quantum: int) -> None:
    program = go_program()
    ours = run(program, cpus=cpus, seed=seed, quantum=quantum)
    assert ours.stdout == run_natively(program)


def figures(text: bytes) -> list[str]:
    """The lines, without VmRSS and the anonymous pages that vary on the host from run to run: what
    the kernel maps around a fault depends on its page cache.
    """
    return sorted(
        re.sub(r"rss +[+-]\d+ \(anon +[+-]\d+", "", line) for line in text.decode().split("\n")
    )


@pytest.mark.parametrize(
    ("case", "cpus"),
    [
        *((case, cpus) for case in ("a11_pg_backends", "a16_thread_stacks") for cpus in (1, 4)),
        *((case, 4) for case in ("a19_process_madvise", "a23_barrier")),
        *((case, 1) for case in ("a05_realloc", "a06_mremap", "a09_muzzy", "a13_zgc_multimap")),
        *((case, 1) for case in ("a21_mincore", "a23_barrier")),
    ],
)
def test_cases_have_the_hosts_figures(case: str, cpus: int) -> None:
    """Sizes, VmPTE, shared pages and the number of mappings, of every process, under ``scan``."""
    if not kernel_is_like_ours():
        pytest.skip("the host's kernel places mappings otherwise than Linux 6.18")
    program = build(f"cases/{case}.c", "-O1", "-static", "-pthread", "-w")
    ours = run(program, cpus=cpus, policy="scan")
    assert figures(ours.stdout) == figures(run_natively(program))


def test_a_case_whose_huge_pages_are_small_here() -> None:
    """Go's scavenger asks for huge pages, of which there are none: all but what they bring is the
    host's: the first and the last lines, sizes, VmPTE.
    """
    if not kernel_is_like_ours():
        pytest.skip("the host's kernel places mappings otherwise than Linux 6.18")
    program = build("cases/a08_go_scavenger.c", "-O1", "-static", "-pthread", "-w")
    ours = run(program, policy="scan").text.splitlines()
    host = run_natively(program).decode().splitlines()
    assert [ours[i] for i in (0, 3, 4)] == [host[i] for i in (0, 3, 4)]
    assert "madvise(COLLAPSE): Invalid argument" in ours[5]
