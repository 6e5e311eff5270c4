# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whoever waits for a file ends when a signal kills it, when another thread ends the process,
and when the run is stopped; each process is reported.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.guests.build import build
from tests.guests.machine import guest_machine, run

WAYS = 7


def program() -> Path:
    return build("waiting_files.c", "-static", "-O1", "-Wno-unused-result")


@pytest.mark.parametrize("cpus", [1, 3])
def test_threads_that_wait_end_with_their_process(cpus: int) -> None:
    result = run(program(), "threads", "exit", cpus=cpus).result
    assert (result.exit_code, result.ended) == (5, "exit")
    assert [process.threads for process in result.processes] == [WAYS + 1]


@pytest.mark.parametrize("cpus", [1, 3])
def test_processes_that_wait_are_killed_by_a_signal(cpus: int) -> None:
    result = run(program(), "processes", "kill", cpus=cpus).result
    assert result.exit_code == 6
    ends = [(process.ended, process.exit_code) for process in result.processes]
    assert ends == [("exit", 6), *[("signal", 128 + 15)] * WAYS]
    notes = [note.split(":")[0] for note in result.notes if "SIGTERM" in note]
    assert notes == [f"process {process.pid}" for process in result.processes[1:]]


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_stop_ends_all_that_wait(kind: str) -> None:
    reader, writer = os.pipe()
    with guest_machine(program(), kind, "never", cpus=2, streams=(reader, 2, 2)) as machine:
        threading.Timer(0.5, machine.stop).start()
        result = machine.run()
    os.close(reader)
    os.close(writer)
    assert (result.ended, result.problems) == ("stopped", [])
    assert len(result.processes) == (1 if kind == "threads" else WAYS + 1)
    assert all(process.ended == "stopped" for process in result.processes)


def test_others_go_on_while_one_reads_the_terminal() -> None:
    """The first process waits for input; the pipeline behind it goes on meanwhile."""
    reader, writer = os.pipe()
    out_reader, out_writer = os.pipe()
    pipelines = build("pipelines.c", "-static", "-O1", "-Wno-unused-result")
    with guest_machine(pipelines, "terminal", "proc!", streams=(reader, out_writer, 2)) as machine:
        thread = threading.Thread(target=machine.run)
        thread.start()
        assert os.read(out_reader, 100) == b"child done\n"
        os.write(writer, b"typed\n")
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert os.read(out_reader, 100) == b"read typed\n"
    for fd in (reader, writer, out_reader, out_writer):
        os.close(fd)


def test_the_terminal_is_polled_as_any_pipe() -> None:
    """Each answer is that of a pipe on the host; time-outs pass at once where all wait."""
    reader, writer = os.pipe()
    out_reader, out_writer = os.pipe()
    program = build("pipelines.c", "-static", "-O1", "-Wno-unused-result")
    streams = (reader, out_writer, 2)
    with guest_machine(program, "watch_terminal", "proc!", streams=streams) as machine:
        thread = threading.Thread(target=machine.run)
        thread.start()
        told = b""
        while not told.endswith(b"type\n"):
            told += os.read(out_reader, 1000)
        os.write(writer, b"typed\n")
        while not told.endswith(b"close\n"):
            told += os.read(out_reader, 1000)
        os.close(writer)
        thread.join(timeout=30)
        assert not thread.is_alive()
    os.close(out_writer)
    while part := os.read(out_reader, 1000):
        told += part
    assert told.decode().splitlines() == [
        "nothing: poll 0 0, epoll 0",
        "type",
        "typed: poll 1 0x1, epoll 1",
        "still: poll 1 0x1, epoll 1",
        "edge: poll 1 0x1, epoll 1",
        "no edge: poll 1 0x1, epoll 0",
        "read 6",
        "taken: poll 0 0, epoll 0",
        "no new edge: poll 0 0, epoll 0",
        "close",
        "closed: poll 1 0x10, epoll 1",
        "edge of closing: poll 1 0x10, epoll 1",
        "read 0",
    ]
    os.close(reader)
    os.close(out_reader)
