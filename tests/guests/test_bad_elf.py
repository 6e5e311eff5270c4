# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a file that cannot run is refused by one ElfError that says what, where and what to do;
never otherwise.
"""

from __future__ import annotations

import os
import struct
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpu.elf import ElfError, Executable, parse
from cpu.fs.view import View, seen
from cpu.machine import Machine
from mmu.linux.layout import TASK_SIZE
from mmu.memory import Memory
from tests.guests.elf_builder import ET_CORE, ET_DYN, ET_REL, PT_INTERP, PT_NOTE, Elf, Load, R, W, X

BUILD = Path(__file__).resolve().parents[2] / "guest_programs" / "build"

BASE = 0x400000

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "no ELF file"),
    "text": (b"hello\n", "no ELF file"),
    "script": (b"#!/bin/sh\nexit 0\n", "script"),
    "magic alone": (b"\x7fELF", "incomplete"),
    "half a header": (Elf(size=40).build(), "truncated"),
    "32-bit": (Elf(ident=b"\x7fELF\x01\x01\x01" + bytes(9)).build(), "32-bit"),
    "32-bit, cut off": (b"\x7fELF\x01\x01\x01" + bytes(10), "32-bit"),
    "class 9": (Elf(ident=b"\x7fELF\x09\x01\x01" + bytes(9)).build(), "class 9"),
    "big-endian": (Elf(ident=b"\x7fELF\x02\x02\x01" + bytes(9)).build(), "big-endian"),
    "arm": (Elf(machine=183).build(), "EM_AARCH64"),
    "machine unheard of": (Elf(machine=0xFFF0).build(), "65520"),
    "object file": (Elf(kind=ET_REL).build(), "ET_REL"),
    "core": (Elf(kind=ET_CORE).build(), "ET_CORE"),
    "type unheard of": (Elf(kind=77).build(), "77"),
    "no headers": (Elf(phnum=0).build(), "0 program headers"),
    "too many headers": (Elf(phnum=0xFFFF).build(), "65535 program headers"),
    "header size": (Elf(phentsize=32).build(), "32 bytes"),
    "headers past the end": (Elf(phoff=0x1000 - 8).build(), "truncated"),
    "headers far past the end": (Elf(phoff=(1 << 64) - 56).build(), "truncated"),
    "nothing to load": (Elf([Load(kind=PT_NOTE)]).build(), "nothing to load"),
    "truncated segment": (Elf([Load(filesz=0x2000, memsz=0x2000)]).build(), "truncated"),
    "offset past the end": (Elf([Load(offset=0x10000)]).build(), "truncated"),
    "offset wraps": (Elf([Load(offset=(1 << 64) - 0x1000)]).build(), "truncated"),
    "more in file than in memory": (Elf([Load(memsz=0x10)]).build(), "in the file but"),
    "misaligned": (Elf([Load(vaddr=BASE + 0x10)]).build(), "same place in its page"),
    "overlap": (
        Elf([Load(), Load(vaddr=BASE + 0x800, offset=0x800, filesz=8)]).build(),
        "overlaps",
    ),
    "out of order": (Elf([Load(), Load(vaddr=BASE - 0x10000)]).build(), "order"),
    "too low": (Elf([Load(vaddr=0)], entry=0x800).build(), "nothing below"),
    "kernel address": (
        Elf([Load(vaddr=0xFFFFFFFF80000000)], entry=0xFFFFFFFF80000800).build(),
        "no room",
    ),
    "address wraps": (Elf([Load(), Load(vaddr=(1 << 64) - 0x1000)]).build(), "no room"),
    "onto the stack": (Elf([Load(), Load(vaddr=TASK_SIZE - 0x2000)]).build(), "no room"),
    "huge": (
        Elf([Load(), Load(vaddr=0x500000, filesz=0, memsz=1 << 47, flags=R | W)]).build(),
        "no room",
    ),
    "huge pie": (Elf([Load(vaddr=0, memsz=1 << 46)], kind=ET_DYN, entry=0x800).build(), "no room"),
    "entry nowhere": (Elf(entry=0).build(), "entry point"),
    "entry past the segment": (Elf(entry=BASE + 0x1000).build(), "entry point"),
    "entry in data": (Elf([Load(flags=R | W)]).build(), "entry point"),
    "interpreter outside": (
        Elf([Load(), Load(kind=PT_INTERP, offset=0xFFF, filesz=99)]).build(),
        "interpreter's name",
    ),
    "interpreter empty": (
        Elf([Load(), Load(kind=PT_INTERP, filesz=0)]).build(),
        "interpreter's name",
    ),
}


def refusal(data: bytes) -> str:
    with pytest.raises(ElfError) as caught:
        parse(data, "file")
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused(name: str) -> None:
    data, words = BAD[name]
    line = refusal(data)
    assert words in line
    assert line.startswith("file: ")
    assert "\n" not in line


def test_the_small_program_itself_is_good() -> None:
    exe = parse(Elf().build())
    assert (exe.entry, exe.pie, exe.stack_executable) == (BASE + 0x800, False, False)
    assert exe.phdr_addr == BASE + 64


def with_interpreter(name: bytes) -> bytes:
    header = Load(kind=PT_INTERP, offset=0x900, filesz=len(name))
    return Elf([Load(), header], extra={0x900: name}).build()


def test_the_interpreter_of_a_dynamic_program() -> None:
    name = "/lib64/ld-linux-x86-64.so.2"
    assert parse(with_interpreter(name.encode() + b"\0")).interpreter == name
    assert "does not end" in refusal(with_interpreter(name.encode()))


def test_every_truncation_of_a_real_program() -> None:
    data = (BUILD / "hello").read_bytes()
    end = max(s.offset + s.filesz for s in parse(data).segments)
    for size in [*range(0, 700, 7), end // 2, end - 1]:
        refusal(data[:size])
    assert parse(data[:end]).segments


def refused(path: Path | str, given: Path | None = None) -> str:
    """Why a machine whose guests see ``given``, else ``path``, does not start the program."""
    view = View(given=seen(str(given or path)))
    with (
        closing(Memory(1 << 24)) as memory,
        Machine(memory) as machine,
        pytest.raises(ElfError) as caught,
    ):
        machine.spawn(str(path), view=view)
    return str(caught.value)


def program(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o755)
    return path


def test_no_such_file(tmp_path: Path) -> None:
    assert "nothing: no such file" in refused(tmp_path / "nothing", tmp_path)


def test_directory(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in refused(tmp_path / "pipe", tmp_path)


def test_file_that_is_not_executable(tmp_path: Path) -> None:
    path = program(tmp_path / "plain", Elf().build())
    path.chmod(0o644)
    assert f"is not executable: chmod +x {path}" in refused(path)


def test_huge_file_without_a_header(tmp_path: Path) -> None:
    path = program(tmp_path / "huge", b"")
    os.truncate(path, 1 << 40)
    assert "is no ELF file" in refused(path)


@pytest.mark.parametrize(
    ("interpreter", "why"),
    [
        (None, "No such file or directory"),
        (b"", "is empty"),
        (b"text\n", "is no ELF file"),
        (Elf(machine=183).build(), "is for EM_AARCH64"),
        (Elf().build()[:0x700], "is truncated"),
    ],
)
def test_bad_interpreter_is_named_beside_its_program(
    tmp_path: Path, interpreter: bytes | None, why: str
) -> None:
    loader = tmp_path / "loader"
    if interpreter is not None:
        program(loader, interpreter)
    path = program(tmp_path / "program", with_interpreter(os.fsencode(loader) + b"\0"))
    line = refused(path, tmp_path)
    assert line.startswith(f"{path}: asks for the interpreter '{loader}'")
    assert why in line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"#!/nowhere/sh\n", "'/nowhere/sh': No such file or directory"),
        (b"#!\n", "cannot be started (Exec format error)"),
    ],
)
def test_script_without_an_interpreter(tmp_path: Path, text: bytes, why: str) -> None:
    assert why in refused(program(tmp_path / "script", text))


def parses_or_refuses(data: bytes) -> Executable | None:
    try:
        return parse(data)
    except ElfError as error:
        assert "\n" not in str(error)
        return None


@given(st.binary(max_size=4096))
def test_random_bytes(data: bytes) -> None:
    assert parses_or_refuses(data) is None


@given(st.binary(max_size=512))
def test_random_bytes_behind_a_good_start(data: bytes) -> None:
    parses_or_refuses(Elf().build()[:16] + data)


@given(
    st.lists(
        st.tuples(st.integers(0, 64 + 2 * 56 - 1), st.integers(0, 255)), min_size=1, max_size=8
    )
)
def test_changed_headers(changes: list[tuple[int, int]]) -> None:
    """Whatever the headers say, what is accepted is sound."""
    data = bytearray(
        Elf([Load(), Load(vaddr=0x500000, flags=R | W, filesz=0, memsz=0x3000)]).build()
    )
    for place, value in changes:
        data[place] = value
    exe = parses_or_refuses(bytes(data))
    if exe is None:
        return
    for segment in exe.segments:
        assert segment.offset + segment.filesz <= len(data)
        assert segment.filesz <= segment.memsz
        assert segment.end < TASK_SIZE
    assert any(s.flags & X and s.vaddr <= exe.entry < s.end for s in exe.segments)


MULTIBOOT = struct.pack("<III", 0x1BADB002, 3, -(0x1BADB002 + 3) & 0xFFFFFFFF)
MULTIBOOT2 = struct.pack("<IIII", 0xE85250D6, 0, 16, -(0xE85250D6 + 16) & 0xFFFFFFFF)


def elf32(machine: int, more: bytes = b"") -> bytes:
    """The start of a 32-bit little-endian executable."""
    return (b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHI", 2, machine, 1)).ljust(
        0x1000, b"\0"
    ) + more


@pytest.mark.parametrize(
    ("data", "what", "advice"),
    [
        (elf32(3, MULTIBOOT), "multiboot image", "qemu-system"),
        (elf32(3, MULTIBOOT2), "multiboot image", "qemu-system"),
        (Elf([Load()]).build().ljust(0x1100, b"\0") + MULTIBOOT, "multiboot image", "qemu-system"),
        (bytes(64) + MULTIBOOT, "multiboot image", "qemu-system"),
        (elf32(3, MULTIBOOT[:8] + b"\1\2\3\4"), "EM_386", "gcc -m64"),
        (elf32(3), "EM_386", "gcc -m64"),
        (elf32(62), "x32", "gcc -m64"),
        (elf32(40), "EM_ARM", "build it for x86-64"),
        (elf32(4711), "machine 4711", "build it for x86-64"),
        (b"MZ".ljust(0x202, b"\0") + b"HdrS", "kernel image", "boot loader"),
        (b"MZ" + bytes(100), "Windows", "Linux"),
        (b"!<arch>\n", "archive", "link"),
        (b"\x1f\x8b\x08", "gzip", "unpack"),
        (
            Elf([Load(vaddr=0xFFFFFFFF80000000)], entry=0xFFFFFFFF80000800).build(),
            "is a kernel",
            "x86-64 Linux program",
        ),
    ],
)
def test_a_refusal_says_what_the_file_is(data: bytes, what: str, advice: str) -> None:
    line = refusal(data)
    assert what in line
    assert advice in line
