# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of an ELF file that a loader reads and the vDSO consists of (System V gABI, chapters 4
and 5): 64 bits, little-endian.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

EI_CLASS, EI_DATA, EI_VERSION, EI_NIDENT = 4, 5, 6, 16
ELFCLASS32, ELFCLASS64 = 1, 2
ELFDATA2LSB, ELFDATA2MSB = 1, 2
EV_CURRENT = 1
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
EM_X86_64 = 62
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
PT_GNU_STACK = 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4

EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
"""Elf64_Ehdr, 64 bytes."""
PHDR: Final = struct.Struct("<IIQQQQQQ")
"""Elf64_Phdr, 56 bytes."""


class Ehdr(NamedTuple):
    """The file header's fields, in the order of EHDR."""

    e_ident: bytes
    e_type: int
    e_machine: int
    e_version: int
    e_entry: int
    e_phoff: int
    e_shoff: int
    e_flags: int
    e_ehsize: int
    e_phentsize: int
    e_phnum: int
    e_shentsize: int
    e_shnum: int
    e_shstrndx: int


class Phdr(NamedTuple):
    """A program header's fields, in the order of PHDR."""

    p_type: int
    p_flags: int
    p_offset: int
    p_vaddr: int
    p_paddr: int
    p_filesz: int
    p_memsz: int
    p_align: int
