# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the symbol table of a file has the functions that binutils finds in it, and its lines; a
file that is damaged, or none, gives less and raises nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu.symbols.table import bias_of, loads_of, symbol_table
from cpu.vdso import FUNCTIONS, vdso_image
from mmu.linux.filemap import MappedFile
from tests.guests.machine import BUILD

HELLO = (BUILD / "hello").read_bytes()


def nm(path: Path) -> dict[int, set[str]]:
    """Names of functions by address."""
    out = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    found: dict[int, set[str]] = {}
    for line in out.splitlines():
        address, kind, name = line[:16].strip(), line[17:18], line[19:]
        if address and kind in "tTwWi":
            found.setdefault(int(address, 16), set()).add(name)
    return found


@pytest.mark.skipif(not shutil.which("nm"), reason="there is no nm")
def test_functions_are_those_of_nm() -> None:
    table, known = symbol_table(MappedFile(HELLO)), nm(BUILD / "hello")
    ours = {address: name for address, _, name in table.functions}
    assert len(ours) == len(table.functions) > 500
    assert all(name in known[address] for address, name in ours.items())
    assert "main" in ours.values()
    for (start, size, _), (following, _, _) in zip(
        table.functions, table.functions[1:], strict=False
    ):
        assert start + size <= following or size, "a label ends where the next begins"


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")
def test_lines_and_labels_of_assembly(tmp_path: Path) -> None:
    source = tmp_path / "two.S"
    source.write_text(".globl _start\n_start:\n\tnop\nagain:\n\tinc %eax\n\tjmp again\n")
    command = ["gcc", "-g", "-nostdlib", "-static", "-Wl,--build-id", "-o"]
    subprocess.run([*command, str(tmp_path / "two"), str(source)], check=True)
    table = symbol_table(MappedFile((tmp_path / "two").read_bytes()))
    (start, size, name), (again, rest, label) = table.functions
    assert (name, size, label, again - start, rest) == ("_start", 1, "again", 1, 4)
    lines = [(address - start, Path(file).name, line) for address, file, line in table.lines]
    assert lines == [(0, "two.S", 3), (1, "two.S", 5), (3, "two.S", 6), (5, "", 0)]
    assert len(table.build_id) == 40 and table.left_out == ""


def test_the_vdso_has_no_sections_but_functions() -> None:
    table = symbol_table(MappedFile(vdso_image()))
    assert [name for _, _, name in table.functions] == [name.decode() for name in FUNCTIONS]


def test_a_bias_is_that_of_the_segment_that_begins_there() -> None:
    loads = loads_of(MappedFile(HELLO))
    assert len(loads) > 2
    for load in loads:
        at = load.p_offset & -4096
        assert bias_of(loads, 0x10000000 + at, at) == 0x10000000 + load.p_offset - load.p_vaddr
    assert bias_of(loads, 0x10000000, 1 << 40) is None
    assert loads_of(MappedFile(b"no ELF file")) == loads_of(MappedFile(b"")) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2047), st.integers(0, 255)), max_size=8), st.integers(0))
def test_damage_raises_nothing(changes: list[tuple[int, int]], cut: int) -> None:
    image = bytearray(HELLO[: cut % len(HELLO)] if cut % 3 == 0 else HELLO)
    for at, value in changes:
        for place in (at, -at):
            if -len(image) < place < len(image):
                image[place] = value
    file = MappedFile(bytes(image))
    loads_of(file)
    table = symbol_table(file)
    assert table.functions == sorted(table.functions) or table.left_out
