# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: ptrace() attaches, reads and lets go as Linux's; LeakSanitizer, which stops all threads
with it, finds the leaks that it finds natively, and none where there is none.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from cpu.fs.view import View, seen
from tests.guests.build import build, run_natively
from tests.guests.machine import run

SYSTEM = tuple(one for path in ("/usr", "/lib", "/lib64", "/etc") for one in seen(path))


@pytest.mark.parametrize("cpus", [1, 2])
def test_what_may_be_asked_of_a_tracee_is_answered_as_on_the_host(cpus: int) -> None:
    program = build("ptrace_calls.c", "-O1", "-static")
    assert run(program, cpus=cpus).text.splitlines() == run_natively(program).decode().splitlines()


def test_what_is_not_here_is_refused_and_told_with_what_to_do_instead() -> None:
    ours = run(build("ptrace_refused.c", "-O1", "-static"))
    assert ours.text.splitlines() == [
        *("seize: EIO", "options: EIO", "step: EIO"),
        *("go on: ok", "exit 3"),
    ]
    notes = [line for line in ours.result.notes if line.startswith("ptrace(")]
    asked = ("PTRACE_SEIZE", "PTRACE_SETOPTIONS", "PTRACE_SINGLESTEP")
    assert [line.split(")")[0] for line in notes] == [f"ptrace({name}" for name in asked]
    assert all("--strace" in line for line in notes)


@pytest.mark.parametrize("args", [(), ("leak",)])
def test_leaks_are_found_as_natively(args: tuple[str, ...]) -> None:
    try:
        program = build("leak.c", "-g", "-fsanitize=address", "-pthread")
    except subprocess.CalledProcessError:
        pytest.skip("no AddressSanitizer: apt-get install libasan8")
    env = {"ASAN_OPTIONS": "symbolize=0"}
    host = subprocess.run([program, *args], env=env, capture_output=True, timeout=60, check=False)
    if b"fatal error" in host.stderr:
        pytest.skip("LeakSanitizer does not work on this host")
    ours = run(program, *args, ram=16 << 30, view=View(given=SYSTEM), env=env)
    assert ours.result.exit_code == host.returncode
    assert ours.stdout == host.stdout
    assert told(ours.stderr) == told(host.stderr)
    assert (b"77 byte(s) leaked" in ours.stderr) == bool(args)


def told(text: bytes) -> str:
    """Without process numbers and addresses."""
    words = re.sub(r"==\d+==|0x[0-9a-f]+", "", text.decode())
    return re.sub(r"\(BuildId.*\)", "", words)
