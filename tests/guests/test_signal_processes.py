# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: signals between processes and among threads go where Linux sends them, on any number of
CPUs and under any schedule: what a right program prints is what it prints on the host.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.guests.build import build
from tests.guests.machine import guest_machine, run

JOBS = (
    "endings", "stopping", "not_asked", "inheriting", "groups", "pipes", "interrupting",
    "signal_file",
)  # fmt: skip
THREADS = {
    "directed": 0, "undirected": 0, "waited_for": 0, "faults": 0, "stop": 0, "timers": 0,
    "leave": -5, "fatal": signal.SIGSEGV, "fatal_sent": signal.SIGTERM,
}  # fmt: skip


@cache
def host(program: Path, mode: str) -> tuple[int, bytes]:
    """The host's exit status and output; its own end alone: threads may not have been heard."""
    command = ["setarch", "-R", str(program), mode]
    done = subprocess.run(command, env={}, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("cpus", [1, 3])
@pytest.mark.parametrize("mode", JOBS)
def test_between_processes(mode: str, cpus: int) -> None:
    """SIGCHLD, stop and continue, groups, SIGPIPE, interrupted calls, signalfd."""
    program = build("signal_jobs.c", "-O1", "-static")
    ours = run(program, mode, cpus=cpus, seed=cpus)
    assert (0, ours.stdout) == host(program, mode)


@pytest.mark.parametrize("cpus", [1, 3])
@pytest.mark.parametrize("mode", THREADS)
def test_among_threads(mode: str, cpus: int) -> None:
    """Who takes a signal; one thread's fault, stop or end is that of all."""
    program = build("signal_threads.c", "-O1", "-static", "-pthread")
    ours = run(program, mode, cpus=cpus, seed=cpus, quantum=3000)
    assert (-THREADS[mode], ours.stdout) == host(program, mode)
    signo = int(THREADS[mode])
    assert ours.result.exit_code == (128 + signo if signo > 0 else -signo)
    assert ours.result.processes[0].threads >= 2 or mode == "stop"


@pytest.mark.parametrize("mode", ["directed", "faults", "timers"])
def test_among_threads_of_musl(mode: str) -> None:
    """Another C library's restorer, masks and threads."""
    program = build("signal_threads.c", "-O1", "-static", "-pthread", compiler="musl-gcc")
    ours = run(program, mode, cpus=2, seed=1, quantum=3000)
    assert (0, ours.stdout) == host(program, mode)


@pytest.mark.parametrize("cpus", [1, 2])
def test_nothing_outlives_the_order_to_stop(cpus: int) -> None:
    """All signals blocked and ignored, one thread that computes, one in each call that waits."""
    program = build("signal_threads.c", "-O1", "-static", "-pthread")
    with guest_machine(program, "stay", cpus=cpus, streams=(0, 2, 2)) as machine:
        timer = threading.Timer(0.2, machine.stop)
        timer.start()
        result = machine.run()
        timer.join()
    assert (result.ended, result.exit_code, result.problems) == ("stopped", 130, [])


@pytest.mark.parametrize(("fidelity", "engine"), [("exact", "c"), ("fast", "python")])
def test_one_seed_is_one_run_in_every_way(fidelity: str, engine: str) -> None:
    program = build("signal_threads.c", "-O1", "-static", "-pthread")

    def figures(fidelity: str, engine: str) -> Any:
        return run(
            program, "directed", cpus=2, seed=7, quantum=2000, fidelity=fidelity, engine=engine
        ).figures

    assert figures(fidelity, engine) == figures("fast", "c")


@pytest.mark.parametrize("seed", range(2))
def test_slices_may_end_anywhere_in_a_handler(seed: int) -> None:
    """Slices of some instructions: on the way into a handler, in it, and on the way back."""
    program = build("signal_threads.c", "-O1", "-static", "-pthread")
    ours = run(program, "faults", cpus=2, seed=seed, quantum=40)
    assert ours.stdout == host(program, "faults")[1]


@pytest.mark.stress
@pytest.mark.parametrize("mode", ["directed", "undirected", "waited_for", "faults", "stop"])
def test_any_schedule(mode: str) -> None:
    program = build("signal_threads.c", "-O1", "-static", "-pthread")
    for seed in range(100):
        ours = run(program, mode, cpus=1 + seed % 4, seed=seed, quantum=50 + 97 * seed)
        assert ours.stdout == host(program, mode)[1], seed
