# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: --strace writes a program's calls, signals and ends as strace does, natively and here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cpu.fs.view import View, seen
from cpu.strace.calls import signatures
from cpu.strace.flags import sigset
from cpu.strace.text import DEFAULT_STRLEN, flags, limit, octal, quoted
from cpu.syscalls.numbers import SYSCALL_NUMBERS, syscall_name
from cpu.syscalls.table import TABLE
from tests.guests.build import build
from tests.guests.machine import Run, guest_machine, run
from ucmmu.strace import Strace


def traced(directory: Path, *command: str) -> list[str]:
    """The lines of a run here."""
    path = directory / "ours"
    given = tuple(one for place in ("/usr", "/lib64", "/lib", "/etc") for one in seen(place))
    options: dict[str, Any] = {"streams": (0, 2, 2), "env": {}, "view": View(given=given)}
    with path.open("wb") as out, guest_machine(*command, **options) as machine:
        strace = Strace(machine, out.fileno())
        result = machine.run()
        strace._tracer.close()
    assert result.problems == []
    return path.read_text().splitlines()


def natively(directory: Path, *command: str) -> list[str]:
    """The lines of strace on the host, from the program's own execve() on."""
    strace, setarch = shutil.which("strace"), shutil.which("setarch")
    if strace is None or setarch is None:
        pytest.skip("no strace: apt-get install strace")
    path = directory / "native"
    words = [strace, "-f", "-o", path, setarch, "-R", *command]
    done = subprocess.run(
        words,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    lines = path.read_text().splitlines() if path.exists() else []
    begun = [n for n, line in enumerate(lines) if f'execve("{command[0]}"' in line]
    if not begun:
        pytest.skip(f"strace does not work here: exit code {done.returncode}")
    return [line.split(" ", 1)[1].lstrip() for line in lines[begun[-1] :]]


NOT_COMPARED = (
    (r"0x7ff[0-9a-f]{9}", "STACK"),
    (r"0x5555[0-9a-f]{8}", "PROGRAM"),
    (r"^\[pid +\d+\] ", ""),
    (r"\b(si_pid=|tgkill\(|kill\()\d{4,}, ", r"\1PID, "),
    (r"(?<=PID, )\d{4,}, ", "TID, "),
    (r"^getrandom\(.*?, ", "getrandom(BYTES, "),
    (r"(child_tidptr=.*= |wait4\(|wait4\(-1.*= )\d{4,}", r"\1PID"),
    (r"\bset_tid_address\((.*)\) += \d+", r"set_tid_address(\1) = PID"),
    (r"\bgetpgid\(0\) += \d+", "getpgid(0) = PID"),
    (r"\b(getpid|gettid|getppid)\(\) += \d+", r"\1() = PID"),
    (r" +=", " ="),
)
"""What differs from run to run, and addresses that the length of the program's name moves."""


def normal(lines: Sequence[str]) -> list[str]:
    texts = []
    for line in lines:
        if line.startswith(("rseq(", "strace: ")):
            continue  # is not offered here
        for pattern, text in NOT_COMPARED:
            line = re.sub(pattern, text, line)
        texts.append(line)
    return texts


@pytest.mark.parametrize("command", [["/bin/true"], ["/bin/echo", 'a "b"\n\x01' + "long" * 20]])
def test_a_dynamic_program_looks_as_under_strace(tmp_path: Path, command: list[str]) -> None:
    if not Path(command[0]).exists():
        pytest.skip(f"no {command[0]}")
    assert normal(traced(tmp_path, *command)) == normal(natively(tmp_path, *command))


def test_a_hundred_calls_look_as_under_strace(tmp_path: Path) -> None:
    """Flags, structs, strings, errors, signals."""
    program = str(build("strace_calls.c", "-O1", "-static"))
    ours, native = traced(tmp_path, program), natively(tmp_path, program)
    assert normal(ours) == normal(native)
    assert len({line.split("(")[0] for line in ours}) > 80


def run_traced(directory: Path, *command: str) -> tuple[Run, list[str]]:
    return run(*command), traced(directory, *command)


def test_the_table_is_of_calls_that_there_are_and_lacks_few() -> None:
    assert signatures().keys() <= SYSCALL_NUMBERS.keys()
    here = {syscall_name(nr) for nr, handler in enumerate(TABLE) if handler is not None}
    assert len(here & signatures().keys()) > 0.93 * len(here)


def test_the_tasks_are_told_apart_and_calls_resumed(tmp_path: Path) -> None:
    lines = traced(tmp_path, "fork_tree", "3", "64K")
    text = "\n".join(lines)
    assert "[pid  1001] +++ exited with 0 +++" in lines
    assert re.search(r"^\[pid  1000\] wait4\(.* <unfinished \.\.\.>$", text, re.MULTILINE)
    assert re.search(r"<\.\.\. wait4 resumed>\[\{WIFEXITED\(s\)", text)
    assert lines[-1] == "+++ exited with 0 +++"


def test_it_changes_no_figure(tmp_path: Path) -> None:
    untraced = run("hello").result.as_dict()
    with (tmp_path / "out").open("wb") as out, guest_machine("hello", streams=(0, 2, 2)) as machine:
        Strace(machine, out.fileno())
        figures = machine.run().as_dict()
    for both in (untraced, figures):
        del both["seconds"]
    assert figures == untraced


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", '"plain"'),
        (b'"\\\t\n\v\f\r', r'"\"\\\t\n\v\f\r"'),
        (b"\0\x01\x7f\xff", r'"\0\1\177\377"'),
        (b"\x001", r'"\0001"'),
    ],
)
def test_quoting(data: bytes, text: str) -> None:
    assert quoted(data) == text
    assert quoted(data, more=True) == text + "..."


def test_sets_flags_and_limits() -> None:
    assert sigset(0) == "[]"
    assert sigset(1 << 14 | 1) == "[HUP TERM]"
    assert sigset((1 << 64) - 1) == "~[]"
    assert sigset((1 << 64) - 1 & ~(3 << 31)) == "~[RTMIN RT_1]"
    assert flags(0, ((1, "A"),), "X") == "0"
    assert flags(7, ((1, "A"), (2, "B")), "X") == "A|B|0x4"
    assert flags(4, ((1, "A"),), "X") == "0x4 /* X_??? */"
    assert (limit(1024), limit(2048), limit((1 << 64) - 1)) == ("1024", "2*1024", "RLIM64_INFINITY")
    assert (octal(0), octal(0o644), octal(7)) == ("000", "0644", "007")
    assert DEFAULT_STRLEN == 32
