# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: exec() runs what the guest may see and a kernel would run, "#!" lines included, and says
why it does not run anything else; RLIMIT_NPROC bounds the tasks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cpu.cred import Cred
from cpu.fs.view import View, seen
from tests.guests.build import build
from tests.guests.machine import Run, run

PROGRAM = ("run_program.c", "-O1", "-static")


def program() -> Path:
    return build(*PROGRAM)


def executed(directory: Path, name: str, *args: str) -> Run:
    path = str(directory / name)
    return run(program(), path, *args, view=View(given=seen(str(directory)), cwd=str(directory)))


def natively(directory: Path, name: str, *args: str) -> str:
    path = str(directory / name)
    done = subprocess.run(
        [program(), path, *args], env={}, cwd=directory, capture_output=True, check=True, timeout=60
    )
    return done.stdout.decode()


def script(directory: Path, name: str, text: bytes, mode: int = 0o755) -> None:
    path = directory / name
    path.write_bytes(text)
    path.chmod(mode)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Scripts and programs, good and bad; ``other`` is a copy of the program itself."""
    shutil.copy(program(), tmp_path / "other")
    other = os.fsencode(tmp_path / "other")
    script(tmp_path, "script", b"#!" + other + b" one argument \nexit 1\n")
    script(tmp_path, "blanks", b"#! \t" + other + b"\t\n")
    script(tmp_path, "nested", b"#!" + os.fsencode(tmp_path / "script") + b" x\n")
    script(tmp_path, "loop", b"#!" + os.fsencode(tmp_path / "loop") + b"\n")
    script(tmp_path, "nothing", b"#!   \n")
    script(tmp_path, "no-interpreter", b"#!/no/such/file\n")
    script(tmp_path, "long-line", b"#!/" + b"x" * 300 + b"\n")
    script(tmp_path, "no-newline", b"#!" + other)
    script(tmp_path, "text", b"echo hello\n")
    script(tmp_path, "empty", b"")
    script(tmp_path, "cut-off", program().read_bytes()[:100])
    script(tmp_path, "not-executable", b"#!" + other + b"\n", 0o644)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("script")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        *("other", "script", "blanks", "nested", "loop", "nothing", "no-interpreter", "long-line"),
        *("no-newline", "text", "empty", "cut-off", "not-executable", "folder", "link", "absent"),
    ],
)
def test_what_is_executed_is_what_the_host_executes(directory: Path, name: str) -> None:
    ours = executed(directory, name, "first", "second")
    assert ours.text == natively(directory, name, "first", "second")
    assert ours.result.exit_code == 0


def test_a_dynamic_program_without_its_loader_is_refused_with_a_note(directory: Path) -> None:
    dynamic = build("run_program.c", "-O1")
    shutil.copy(dynamic, directory / "dynamic")
    ours = executed(directory, "dynamic")
    assert ours.text == "ENOENT\nstatus 0x6400\n"
    assert any("asks for the interpreter '/lib64/ld-" in note for note in ours.result.notes)


def test_what_the_guest_may_not_see_is_not_there() -> None:
    assert run(program(), "/bin/true").text == "ENOENT\nstatus 0x6400\n"


def test_a_host_file_s_pages_are_given_back(directory: Path) -> None:
    """The run() of every test checks that no frame is left; here the last user is a child."""
    ours = executed(directory, "other", "x")
    child = ours.result.processes[1]
    assert child.program.endswith("/other")
    assert child.args == ["x"]
    assert child.exit_code == 3


def test_rlimit_nproc_bounds_the_tasks() -> None:
    ours = run(program(), "5", cred=Cred.of(1000, 1000))
    assert ours.text == "4 processes, then EAGAIN\n"
    assert len(ours.result.processes) == 5


def test_a_fork_without_memory_fails_and_leaves_nothing() -> None:
    """Some children of a big process fit into RAM, the next one does not."""
    ours = run("fork_tree", "6", "4M", ram=24 << 20, cpus=2)
    assert "fork failed" in ours.stderr.decode() or ours.result.ended == "signal"
    assert ours.result.problems == []
