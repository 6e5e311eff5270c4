# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: recording changes nothing. With a trace a guest has the results and the machine the
counters that ``exact`` has, for every policy and any number of CPUs; each event carries the task
that ran, and its CPU's instructions and virtual time, which never go back.
"""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest

from mmu.trace.reader import TraceFile
from mmu.trace.where import Where
from mmu.trace.writer import TraceWriter
from tests.guests.machine import POLICIES, guest_machine

GUESTS = [("fork_tree", "1", "64K"), ("threads", "2", "6"), ("multi_fault", "2", "3", "1")]


def recorded(*program: str, **options: Any) -> tuple[dict[str, Any], TraceFile]:
    """What a run came to, and its trace."""
    file = io.BytesIO()
    writer = TraceWriter(file, {})
    figures = figures_of(*program, writer=writer, **options)
    writer.close(figures)
    file.seek(0)
    return figures, TraceFile("memory", file)


def figures_of(*program: str, writer: TraceWriter | None = None, **options: Any) -> dict[str, Any]:
    null = os.open(os.devnull, os.O_RDWR)
    ring = None if writer is None else writer.ring
    with guest_machine(*program, ring=ring, streams=(null, null, null), **options) as machine:
        if writer is not None:
            machine.record(writer)
        result = machine.run()
    os.close(null)
    assert result.problems == []
    figures = result.as_dict()
    del figures["seconds"]
    return figures


@pytest.mark.parametrize("program", GUESTS, ids=lambda words: words[0])
def test_trace_comes_to_what_exact_comes_to(program: tuple[str, ...]) -> None:
    for cpus, policy in enumerate(POLICIES, start=1):
        options = {"cpus": cpus, "policy": policy, "seed": 3, "quantum": 400}
        figures, _ = recorded(*program, fidelity="trace", **options)
        assert figures == figures_of(*program, fidelity="exact", **options)
        assert figures["counters"]["dTLB-loads"] > 1000


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_each_event_says_whose_it_is_and_when(fidelity: str) -> None:
    figures, trace = recorded("fork_tree", "1", "64K", cpus=2, quantum=300, fidelity=fidelity)
    records = np.concatenate([batch.records for batch in trace.batches()])
    assert len(records) > 1000
    known = {note.fields["pid"] for note in trace.notes if note.kind == "process"}
    assert known == {process["pid"] for process in figures["processes"]}
    assert {int(pid) for pid in records["task"]} <= known | {0}
    for cpu in range(2):
        mine = records[records["cpu"] == cpu]
        assert np.all(np.diff(mine["instruction"].astype(np.int64)) >= 0)
        assert np.all(np.diff(mine["time"].astype(np.int64)) >= 0)
        assert np.all(mine["time"] >= mine["instruction"])
    total = sum(int(records["instruction"][records["cpu"] == cpu].max()) for cpu in range(2))
    assert total == figures["instructions"]


def test_a_switch_of_tasks_is_where_events_change_their_task() -> None:
    _, trace = recorded("fork_tree", "1", "64K", cpus=2, quantum=300, fidelity="fast")
    task, switches = {0: 0, 1: 0}, 0
    for one in trace.events():
        event = one.event
        assert event.task == task[event.cpu], one
        if event.name == "sched_switch":
            assert event["prev_pid"] == event.task
            task[event.cpu], switches = event["next_pid"], switches + 1
    assert switches > 5
    assert task == {0: 0, 1: 0}, "all CPUs are idle at the end"


def test_system_calls_are_at_the_instruction_that_made_them() -> None:
    """In fast, where only the kernel is seen, as in trace, where every instruction is."""
    calls = {}
    for fidelity in ("fast", "trace"):
        _, trace = recorded("hello", fidelity=fidelity)
        where = Where(events=frozenset({"sys_enter", "sys_exit"}))
        calls[fidelity] = [
            (one.event.name, one.event["nr"], one.event.instruction) for one in trace.events(where)
        ]
    assert calls["fast"] == calls["trace"]
    assert calls["fast"][0][2] > 0


def test_faults_are_at_the_same_instruction_in_every_fidelity() -> None:
    faults = {}
    for fidelity in ("fast", "exact", "trace"):
        _, trace = recorded("hello", fidelity=fidelity)
        where = Where(events=frozenset({"page_fault_user"}))
        faults[fidelity] = [
            (one.event["address"], one.event.instruction) for one in trace.events(where)
        ]
    assert faults["exact"] == faults["trace"]
    assert faults["fast"] == faults["trace"]
    assert len(faults["fast"]) > 10
