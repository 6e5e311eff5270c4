# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the report of a crash says in which function and source line it was, and who called it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cpu.fs.view import View, seen
from cpu.symbols.lines import Lines
from cpu.task import MAX_BACKTRACES
from tests.guests.build import HERE, build
from tests.guests.machine import run

SOURCE = HERE / "crash.c"
PLAIN = ("crash.c", "-g", "-O1", "-fno-inline", "-fno-optimize-sibling-calls")
SYSTEM = tuple(one for path in ("/usr", "/lib", "/lib64", "/etc") for one in seen(path))


def line(what: str) -> str:
    (number,) = [
        n for n, text in enumerate(SOURCE.read_text().splitlines(), 1) if f"LINE: {what} " in text
    ]
    return f"{SOURCE}:{number}"


def frames(program: Path, *args: str) -> list[str]:
    ours = run(program, *args, view=View(given=SYSTEM))
    assert ours.result.report is not None
    return [re.sub(r"^#\d+ 0x[0-9a-f]+ ", "", frame) for frame in ours.result.report.backtrace]


@pytest.mark.parametrize("link", [("-static",), ("-static-pie",), ()])
@pytest.mark.parametrize("dwarf", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("frame", ["-fomit-frame-pointer", "-fno-omit-frame-pointer"])
def test_functions_and_lines_of_the_program(link: tuple[str, ...], dwarf: str, frame: str) -> None:
    told = frames(build(*PLAIN, dwarf, frame, *link))
    assert told[:3] == [
        f"in crash() at {line('crash')}",
        f"in crash() at {SOURCE}:{int(line('crash').rsplit(':')[-1]) + 1}",
        f"in main() at {line('main')}",
    ]
    assert told[-1].startswith("in _start()")


@pytest.mark.parametrize("link", [("-static",), ()])
def test_through_a_library(link: tuple[str, ...]) -> None:
    told = frames(build(*PLAIN, *link), "q")
    assert f"in compare() at {line('compare')}" in told
    at = told.index(f"in main() at {line('qsort')}")
    assert told[at - 1].startswith("in qsort")


def test_through_a_signal_s_frame() -> None:
    told = frames(build(*PLAIN, "-static"), "s")
    assert told[:2] == [f"in crash() at {line('crash')}", f"in handler() at {line('handler')}"]
    assert f"in main() at {line('raise')}" in told


def test_of_abort_too() -> None:
    told = frames(build(*PLAIN, "-static"), "a")
    assert "in abort()" in told[-5] or any("in abort()" in frame for frame in told)
    assert f"in main() at {line('abort')}" in told


def test_without_debug_information_the_functions_are_named(tmp_path: Path) -> None:
    program = build("crash.c", "-O1", "-fno-inline", "-static")
    told = frames(program)
    assert told[0] == f"in crash() ({program})"
    stripped = tmp_path / "stripped"
    shutil.copy(program, stripped)
    strip = shutil.which("strip")
    if strip is None:
        pytest.skip("no strip: apt-get install binutils")
    subprocess.run([strip, stripped], check=True)
    assert frames(stripped)[0] == f"({stripped})"


def test_the_lines_are_in_a_separate_file_found_by_its_link(tmp_path: Path) -> None:
    objcopy = shutil.which("objcopy")
    if objcopy is None:
        pytest.skip("no objcopy: apt-get install binutils")
    whole = build(*PLAIN, "-static", "-Wl,--build-id=none")
    program, debug = tmp_path / "program", tmp_path / ".debug" / "program.debug"
    debug.parent.mkdir()
    subprocess.run([objcopy, "--only-keep-debug", whole, debug], check=True)
    subprocess.run(
        [objcopy, "--strip-all", f"--add-gnu-debuglink={debug}", whole, program], check=True
    )
    view = View(given=seen(str(tmp_path)))
    report = run(program, view=view).result.report
    assert report is not None
    assert f"in crash() at {line('crash')}" in report.backtrace[0]


def test_it_is_in_the_text_of_the_report() -> None:
    ours = run(build(*PLAIN, "-static"))
    (note,) = [note for note in ours.result.notes if "SIGSEGV" in note]
    assert f"in crash() at {line('crash')}" in note


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x02\x01\x01" + b"\xff" * 500])
def test_a_damaged_file_says_nothing(data: bytes) -> None:
    from cpu.fs.regular_files import DataFile

    lines = Lines("file", lambda path: DataFile(data) if path == "file" else None)
    assert (lines.function(0), lines.line(0), lines.section(".eh_frame")) == (None, None, None)
    lines.close()


def test_of_many_crashes_the_first_are_told_in_full() -> None:
    ours = run(build("crashes.c", "-O1", "-static"))
    told = [process.report for process in ours.result.processes if process.report is not None]
    assert len(told) == MAX_BACKTRACES + 4
    assert sum(bool(report.backtrace) for report in told) == MAX_BACKTRACES
