# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the vDSO is a shared object with a symbol version, "LINUX_2.6": Go reads it unchecked."""

from __future__ import annotations

import struct

from cpu.vdso import VDSO_PAGES, vdso_image
from mmu.units import PAGE_SIZE

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
    tags = dynamic(vdso_image())
    assert struct.unpack_from("<H", vdso_image(), tags[DT_VERSYM]) == (0,)
    assert tags[DT_SYMTAB] < tags[DT_VERSYM] < tags[DT_VERDEF] < tags[DT_STRTAB]
