# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: processes are made, end, and are waited for as natively: fork(), vfork(), clone(), wait4(),
waitid(), groups, sessions, reparenting, and exec().
"""

from __future__ import annotations

import tempfile
from functools import cache
from typing import Any

import pytest

from cpu.syscalls.numbers import SYSCALL_NUMBERS
from mmu.events import EventRing
from tests.guests.build import build, run_natively
from tests.guests.machine import guest_machine, run

FLAGS = ("-O1", "-static", "-pthread")
SCHEDULES: list[dict[str, Any]] = [
    {"cpus": 1},
    {"cpus": 2, "seed": 1, "quantum": 500},
    {"cpus": 4, "seed": 2, "policy": "refcount-pmdlock"},
]


@cache
def native_output(source: str) -> bytes:
    return run_natively(build(source, *FLAGS))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("source", ["processes.c", "exec.c", "sched.c"])
def test_processes_are_the_native_ones(source: str, schedule: dict[str, Any]) -> None:
    ours = run(build(source, *FLAGS), **schedule)
    assert ours.stdout == native_output(source)
    assert ours.result.exit_code == 0


@pytest.mark.parametrize("fidelity", ["exact"])
def test_each_fidelity_runs_the_same_schedule(fidelity: str) -> None:
    program = build("exec.c", *FLAGS)
    options: dict[str, Any] = {"cpus": 2, "seed": 5, "quantum": 400}
    assert run(program, fidelity=fidelity, **options).figures == run(program, **options).figures


def test_each_process_has_its_report() -> None:
    """The exit status of each, who made it, and whose memory it used."""
    result = run(build("exec.c", *FLAGS)).result
    first, *others = result.processes
    assert first.ppid == 0 and first.exit_code == 0
    assert [process.exit_code for process in others] == [4, 4, 2, 2, 2, 2]
    assert {process.ppid for process in others} == {first.pid}
    assert [process.threads for process in others] == [1, 1, 1, 3, 4, 1]
    assert not any(process.shares_mm for process in result.processes)
    assert others[0].args == ["one", "two", ""]
    assert sum(process.instructions or 0 for process in result.processes) == result.instructions


def test_a_process_in_another_s_memory_is_counted_once() -> None:
    result = run(build("processes.c", *FLAGS)).result
    assert sum(process.shares_mm for process in result.processes) == 3
    own = [process for process in result.processes if not process.shares_mm]
    total = sum(process.mm_counters["pte_tables_allocated"] for process in own)
    assert total == result.pte_tables_allocated


def interrupts_of_membarrier(cpus: int) -> int:
    """Interrupts that one CPU sent another inside membarrier()."""
    counted, inside = 0, False

    def drain(ring: EventRing) -> None:
        nonlocal counted, inside
        for event in ring.read():
            if event.name == "sys_enter":
                inside = event["nr"] == SYSCALL_NUMBERS["membarrier"]
            counted += inside and event.name == "ipi_send_cpu"

    ring = EventRing(1 << 16, on_full=drain)
    ring.enable()
    with tempfile.TemporaryFile() as out:
        streams = (0, out.fileno(), out.fileno())
        program = build("sched.c", *FLAGS)
        with guest_machine(program, cpus=cpus, ring=ring, streams=streams) as machine:
            machine.run()
    drain(ring)
    assert not ring.lost
    return counted


def test_membarrier_interrupts_the_cpus_that_run_the_process() -> None:
    """One interrupt a call while the other thread has a CPU, none without another CPU."""
    assert interrupts_of_membarrier(1) == 0
    assert interrupts_of_membarrier(2) >= 19
