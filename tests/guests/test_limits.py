# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: no argument of a guest's makes the host keep more, wait longer or count further than it
can.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from cpu.notes import MAX_NOTES, MAX_UNKNOWN
from tests.guests.machine import FIDELITIES, guest_machine, native, run


def test_the_clocks_end_where_their_fields_do() -> None:
    assert run("faults", "long_sleep").text == "slept\n"


def test_a_flood_of_unknown_calls_is_told_in_short() -> None:
    result = run("faults", "flood").result
    assert result.exit_code == 0
    assert len(result.unknown_syscalls) == MAX_UNKNOWN
    assert any(f"{2000 - MAX_UNKNOWN} more unknown system calls" in note for note in result.notes)
    assert len(result.notes) <= MAX_NOTES + 2


def test_a_read_ends_where_the_memory_does() -> None:
    """As on the host: short, and what was not delivered is read next."""
    ours = run("faults", "short_read")
    assert ours.text == "read 4096, position 4096, then -1\n"
    assert ours.text == native("faults", "short_read")[1]


def test_a_pipe_is_asked_once(tmp_path: Path) -> None:
    """What it holds is the answer, also where the buffer straddles two pieces; the writer keeps it
    open.
    """
    reader, writer = os.pipe()
    os.write(writer, b"abcd")
    late = threading.Timer(20, os.close, [writer])
    late.start()
    started = time.monotonic()
    with (tmp_path / "out").open("w+b") as out:
        with guest_machine(
            "faults", "pipe_read", streams=(reader, out.fileno(), out.fileno())
        ) as machine:
            machine.run()
        out.seek(0)
        assert out.read() == b"read 4\n"
    assert time.monotonic() - started < 15, "it waited for the writer"
    late.cancel()
    os.close(reader)


def test_shared_memory_is_not_brought_in_ahead() -> None:
    with guest_machine("faults", "will_need") as machine:
        assert machine.run().exit_code == 0
        assert machine.memory.c.nr_free_min > machine.memory.c.nr_pages - 4096


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("mode", ["code:0f34", "code:cd00", "code:ec880555000000"])
def test_forbidden_ways_into_the_kernel_in_every_fidelity(mode: str, fidelity: str) -> None:
    assert run("faults", mode, fidelity=fidelity).figures == run("faults", mode).figures
