# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the vDSO is a shared object with Linux's functions and their version, "LINUX_2.6", which Go
reads unchecked; each does what its system call does.
"""

from __future__ import annotations

import struct

import pytest

from cpu.vdso import FUNCTIONS, VDSO_PAGES, vdso_image
from mmu.units import PAGE_SIZE
from tests.guests.build import build, run_natively
from tests.guests.machine import run

DT_HASH = 4
DT_STRTAB, DT_SYMTAB, DT_VERSYM, DT_VERDEF, DT_VERDEFNUM = 5, 6, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD


def dynamic(image: bytes) -> dict[int, int]:
    """The dynamic section, found by the second program header as a loader finds it."""
    (at,) = struct.unpack_from("<Q", image, 64 + 56 + 8)
    tags = {}
    while True:
        tag, value = struct.unpack_from("<qQ", image, at)
        if not tag:
            return tags
        tags[tag] = value
        at += 16


def text(image: bytes, at: int) -> bytes:
    return image[at : image.index(b"\0", at)]


def elf_hash(name: bytes) -> int:
    """The System V hash, another way: with the high nibble folded in arithmetic of 64 bits."""
    value = 0
    for byte in name:
        value = value * 16 + byte
        value ^= (value >> 24) & 0xF0
        value &= 0x0FFFFFFF
    return value


def test_the_version_definitions_are_a_chain_of_two() -> None:
    image = vdso_image()
    tags = dynamic(image)
    assert len(image) == VDSO_PAGES * PAGE_SIZE
    names, at = [], tags[DT_VERDEF]
    for number in range(1, tags[DT_VERDEFNUM] + 1):
        version, flags, index, nr_aux, value, aux, following = struct.unpack_from(
            "<4H3I", image, at
        )
        (name, _) = struct.unpack_from("<2I", image, at + aux)
        names.append(text(image, tags[DT_STRTAB] + name))
        assert (version, index, nr_aux) == (1, number, 1)
        assert flags == (1 if number == 1 else 0)
        assert value == elf_hash(names[-1])
        at += following
    assert names == [b"linux-vdso.so.1", b"LINUX_2.6"]


def test_the_hash_of_the_version_is_the_one_that_go_looks_for() -> None:
    """runtime/vdso_linux_amd64.go has it as a constant."""
    assert elf_hash(b"LINUX_2.6") == 0x3AE75F6


def test_each_symbol_has_a_version() -> None:
    image = vdso_image()
    tags = dynamic(image)
    (_, nchain) = struct.unpack_from("<2I", image, tags[DT_HASH])
    assert nchain == 1 + 2 * len(FUNCTIONS)
    assert struct.unpack_from(f"<{nchain}H", image, tags[DT_VERSYM]) == (0, *[2] * (nchain - 1))
    assert tags[DT_SYMTAB] < tags[DT_VERSYM] < tags[DT_VERDEF] < tags[DT_STRTAB]


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_a_program_that_looks_for_the_functions_finds_and_calls_them(compiler: str) -> None:
    program = build("vdso_calls.c", "-O1", "-static", compiler=compiler)
    assert run(program).text == run_natively(program).decode()
    assert "WRONG" not in run(program, engine="python").text


def test_getrandom_is_not_there_for_its_state_would_be_the_vdso_s() -> None:
    assert b"getrandom" not in vdso_image()
