# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a run imports what it needs, and nothing that takes time for a report it does not make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

UNNEEDED = {"capstone", "elftools", "pdb", "secrets", "traceback", "mmu.x86.toml_lines"}
SCRIPT = """
import os, sys
sys.path[:] = {path!r}

def tell():
    os.write(0, (" ".join(sys.modules) + "\\n").encode())

def leave(code, leave=os._exit):
    tell()
    leave(code)

os._exit = leave
from ucmmu.__main__ import main
code = main()
tell()
sys.exit(code)
"""


def imported(tmp_path: Path, *arguments: str) -> tuple[set[str], set[str], int]:
    """What the child and its parent import in a run, and the exit code.

    They write it to stdin: the child may open no file.
    """
    place = tmp_path / "modules"
    script = SCRIPT.format(path=sys.path)
    command = [sys.executable, "-S", "-c", script, *arguments]
    with open(place, "a") as told:
        done = subprocess.run(command, capture_output=True, stdin=told, check=False)
    child, parent = (set(line.split()) for line in place.read_text().splitlines())
    return child, parent, done.returncode


def test_a_run_that_ends_well_imports_no_disassembler(tmp_path: Path) -> None:
    child, parent, code = imported(tmp_path, "run", "hello")
    assert code == 0
    assert {"unicorn", "cpu.machine"} <= child and "rich.table" in parent
    assert not child & {*UNNEEDED, "rich"}
    assert not parent & {"unicorn", "cpu", "mmu"}


def test_a_run_with_json_alone_imports_no_tables(tmp_path: Path) -> None:
    child, parent, code = imported(tmp_path, "run", "--json", "-", "hello")
    assert code == 0
    assert "unicorn" in child
    assert not parent & {*UNNEEDED, "rich", "unicorn", "cpu", "mmu"}


def test_what_a_report_needs_is_imported_for_it(tmp_path: Path) -> None:
    child, _, code = imported(tmp_path, "run", "faults", "null")
    assert code > 128
    assert "capstone" in child and "elftools.dwarf.dwarfinfo" in child
