# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a program's signal handlers run as on the host's kernel: the same frames, masks, order,
stacks, restarts, timers and ends.
"""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.guests.build import build, run_natively
from tests.guests.machine import FIDELITIES, run

FLAGS = ("-O1", "-static")
RULES = (
    "order", "nesting", "ignoring", "stacks", "overflow", "write_barrier", "restarts", "waiting",
    "timers", "errors",
)  # fmt: skip
ENDS = {
    # mode: words of the report
    "in_handler": "write where nothing is mapped",
    "blocked_fault": "its handler at",
    "ignored_fault": "write where nothing is mapped",
    "bad_sp": "the frame of the handler of SIGUSR1 cannot be made at RSP 0x1000",
    "segv_bad_sp": "the frame of the handler of SIGSEGV cannot be made at RSP 0x1000",
    "bad_return": "the frame at 0xff8 of rt_sigreturn() cannot be read",
    "no_restorer": "the frame of the handler of SIGUSR1 cannot be made",
    "bad_mxcsr": "has MXCSR 0x11f80",
    "bad_fpstate": "is not at a multiple of 16",
    "full_altstack": "the frame of the handler of SIGUSR1 cannot be made",
}


@pytest.mark.parametrize("part", ["registers", "faults"])
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_frames_are_the_host_s(part: str, fidelity: str) -> None:
    """Registers, flags, FPU state, siginfo, error code, CR2 of each kind of fault; what a handler
    edits comes back.
    """
    program = build("signal_frame.c", *FLAGS)
    assert run(program, part, fidelity=fidelity).stdout == run_natively(program, part)


@pytest.mark.parametrize("mode", RULES)
def test_handlers_run_as_on_the_host(mode: str) -> None:
    program = build("signal_rules.c", *FLAGS)
    assert run(program, mode).stdout == run_natively(program, mode)


@pytest.mark.parametrize(
    ("mode", "fidelity", "engine"),
    [
        ("nesting", "exact", "c"),
        ("nesting", "trace", "c"),
        ("nesting", "fast", "python"),
        ("stacks", "fast", "python"),
        ("overflow", "exact", "c"),
        ("write_barrier", "exact", "c"),
        ("restarts", "trace", "c"),
        ("restarts", "fast", "python"),
    ],
)
def test_every_way_runs_them_alike(mode: str, fidelity: str, engine: str) -> None:
    program = build("signal_rules.c", *FLAGS)
    ours = run(program, mode, fidelity=fidelity, engine=engine)
    assert ours.figures == run(program, mode).figures


@pytest.mark.parametrize("mode", ["order", "nesting", "stacks", "write_barrier"])
def test_without_counting_too(mode: str) -> None:
    program = build("signal_rules.c", *FLAGS)
    assert run(program, mode, count=False).stdout == run_natively(program, mode)


@pytest.mark.parametrize("mode", ENDS)
def test_ends_are_the_host_s_and_say_why(mode: str) -> None:
    """SIGSEGV in its own handler, while blocked or ignored; frames that cannot be made or read."""
    program = build("signal_rules.c", *FLAGS)
    host = subprocess.run([program, mode], capture_output=True, timeout=60, check=False)
    ours = run(program, mode)
    report = ours.result.report
    assert report is not None
    assert (host.returncode, host.stdout) == (-signal.SIGSEGV, ours.stdout)
    assert report.signo == signal.SIGSEGV
    assert ENDS[mode] in str(report)
    assert ours.result.exit_code == 128 + signal.SIGSEGV


def test_as_many_wait_as_the_limit_says() -> None:
    """RLIMIT_SIGPENDING: sigqueue() gets EAGAIN, kill() comes through without its siginfo. Of the
    host's user other processes count too, so it is not asked.
    """
    text = run(build("signal_rules.c", *FLAGS), "limit").text
    assert text.count("sigqueue 0 errno 0") == 3
    assert text.count("sigqueue -1 errno 11") == 2
    assert "kill 0\nsignal 41: code 0 self 0" in text
    assert text.endswith("4 came\n")
