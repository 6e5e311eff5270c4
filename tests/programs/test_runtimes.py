# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: programs of other runtimes do here what they do natively: Go and Rust with threads, C++
with exceptions across libraries, AddressSanitizer and ThreadSanitizer; Java and Node as ``stress``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.programs.harness import Scratch, require, source


def compiled(scratch: Scratch, *command: str, **sources: str) -> Path:
    """The directory in which a compiler made ``program`` on the host."""
    directory = scratch.path.parent / f"{scratch.path.name}-built"
    directory.mkdir()
    for name, text in sources.items():
        (directory / name.replace("__", ".")).write_text(text)
    subprocess.run(command, cwd=directory, check=True, timeout=300, capture_output=True)
    scratch.beside.append(directory)
    return directory


def test_rust_threads(scratch: Scratch) -> None:
    require("rustc")
    built = compiled(
        scratch, "rustc", "-o", "program", "program.rs", program__rs=source("program.rs")
    )
    scratch.same(str(built / "program"))


def test_exceptions_across_libraries(scratch: Scratch) -> None:
    require("g++")
    script = (
        "g++ -O1 -w -shared -fPIC -o libthrower.so library.cc && "
        "g++ -O1 -w -std=c++17 -o program program.cc -L. -lthrower -Wl,-rpath,'$ORIGIN'"
    )
    built = compiled(
        scratch,
        "sh",
        "-c",
        script,
        library__cc=source("library.cc"),
        program__cc=source("program.cc"),
    )
    scratch.same(str(built / "program"))


@pytest.mark.parametrize("sanitizer", ["address", "thread", "undefined"])
def test_sanitizer(sanitizer: str, scratch: Scratch) -> None:
    require("gcc")
    flags = ["-g", "-O1", "-w", f"-fsanitize={sanitizer}", "-o", "program", "program.c"]
    built = compiled(scratch, "gcc", *flags, program__c=source("program.c"))
    scratch.same(str(built / "program"), env={"ASAN_OPTIONS": "detect_leaks=0"})


@pytest.mark.stress
def test_address_sanitizer_finds_an_overflow(scratch: Scratch) -> None:
    require("gcc")
    flags = ["-g", "-O1", "-w", "-fsanitize=address", "-o", "program", "program.c"]
    built = compiled(scratch, "gcc", *flags, program__c=source("program.c"))
    here = scratch.here(str(built / "program"), "overflow", env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert here.stdout == b"150\n"
    assert here.code == 1
    assert b"heap-buffer-overflow" in here.stderr
    assert b"program.c:16" in here.stderr


@pytest.mark.stress
def test_java(scratch: Scratch) -> None:
    require("java", "javac")
    built = compiled(scratch, "javac", "Program.java", Program__java=source("Program.java"))
    scratch.same("java", "-cp", str(built), "Program")
    assert scratch.natively("java", "-version").code == scratch.here("java", "-version").code == 0


@pytest.mark.stress
def test_node(scratch: Scratch) -> None:
    require("node")
    scratch.files["script.js"] = source("script.js")
    natively, here = (run("node", "script.js") for run in (scratch.natively, scratch.here))
    report = here.stderr.decode(errors="replace")
    assert here.code == natively.code == 0, report
    assert sorted(here.text.splitlines()) == sorted(natively.text.splitlines()), report
    assert here.files == natively.files
