# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what waits for another task is ended by its process's end, by a fatal signal, and by the
end of the run; where all wait for each other, the report says who waits for what.
"""

from __future__ import annotations

import re
import threading

import pytest

from cpu.result import RunResult
from tests.guests.build import build
from tests.guests.machine import guest_machine, run

FLAGS = ("-O1", "-static", "-pthread")
WHERE = ["futex", "timed", "pi", "requeue_pi", "waitv", "wait4", "waitid", "vfork"]


def waits(*args: str, **options: int) -> RunResult:
    return run(build("waits.c", *FLAGS), *args, **options).result


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("cpus", [1, 3])
def test_the_end_of_the_process_ends_a_wait(where: str, cpus: int) -> None:
    """exit_group() by another thread; children that still wait are then a deadlock of their own."""
    result = waits("exit", where, cpus=cpus)
    first, *children = result.processes
    assert (first.ended, first.exit_code) == ("exit", 5)
    assert all(child.report is not None for child in children)
    assert result.problems == []


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("cpus", [1, 3])
def test_a_fatal_signal_ends_a_wait(where: str, cpus: int) -> None:
    ours = run(build("waits.c", *FLAGS), "kill", where, cpus=cpus)
    assert ours.text == "status 0x9\n"
    assert ours.result.processes[1].ended == "signal"


@pytest.mark.parametrize("where", WHERE)
def test_the_end_of_the_run_ends_a_wait(where: str) -> None:
    """As by ^C and --timeout: every process has its report, and nothing is left."""
    with guest_machine(build("waits.c", *FLAGS), "stop", where, cpus=2) as machine:
        timer = threading.Timer(0.2, machine.stop)
        timer.start()
        result = machine.run()
        timer.join()
    assert result.problems == []
    assert {process.ended for process in result.processes} == {"stopped"}


def test_threads_that_wait_for_each_other_are_reported() -> None:
    result = waits("mutexes", cpus=2)
    assert result.ended == "signal" and result.report is not None
    reason = result.report.reason
    assert reason.startswith("deadlock: ")
    found = re.findall(r"task (\d+) \(waits[^)]*\) waits for the futex at (0x[0-9a-f]+)", reason)
    assert [task for task, _ in found] == ["1000", "1001"]
    assert len({address for _, address in found}) == 2
    assert result.report.rip


def test_processes_that_wait_for_each_other_are_reported() -> None:
    result = waits("pipe")
    parent, child = result.processes
    for process in (parent, child):
        assert process.report is not None
        assert "task 1000 (waits" in process.report.reason
        assert "waits for a child" in process.report.reason
        assert "task 1001 (waits" in process.report.reason
        assert "pipe" in process.report.reason
