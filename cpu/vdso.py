# SPDX-License-Identifier: GPL-2.0-or-later
"""The vDSO: the shared object that Linux maps into every process and names in AT_SYSINFOEHDR.

Ours defines no function, so a C library asks by system call for what it would else read there,
and gets virtual time. It is still mapped and read as on Linux, which keeps addresses and
page tables what they are there.

    offset 0     ELF header | PT_LOAD | PT_DYNAMIC | dynamic section | hash | symbols | versions of
                 symbols | version definitions | strings

Go reads the tables of versions without asking whether they are there, so they are: "LINUX_2.6", as
in Linux's.
"""

from __future__ import annotations

import struct

from cpu.elf_layout import (
    EHDR,
    ELFCLASS64,
    ELFDATA2LSB,
    EM_X86_64,
    ET_DYN,
    EV_CURRENT,
    PF_R,
    PF_X,
    PHDR,
    PT_DYNAMIC,
    PT_LOAD,
    Ehdr,
    Phdr,
)
from mmu.units import PAGE_SIZE

VDSO_PAGES = 2
"""Pages of the image on x86-64 (v6.18)."""
VVAR_PAGES, VCLOCK_PAGES = 4, 2
"""Pages of kernel data mapped below it: [vvar] and, between the two, [vvar_vclock]."""

_DT_NULL, _DT_HASH, _DT_STRTAB, _DT_SYMTAB = 0, 4, 5, 6
_DT_STRSZ, _DT_SYMENT, _DT_SONAME = 10, 11, 14
_DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_VER_FLG_BASE = 1
_SONAME, _VERSION = b"linux-vdso.so.1", b"LINUX_2.6"
_DYN = struct.Struct("<qQ")
_SYM = 24
"""Bytes of an Elf64_Sym."""


def vdso_image() -> bytes:
    """The image, VDSO_PAGES pages long."""
    strings = b"\0" + _SONAME + b"\0" + _VERSION + b"\0"
    hash_table = struct.pack("<4I", 1, 1, 0, 0)
    dynamic_at = EHDR.size + 2 * PHDR.size
    dynamic_size = 10 * _DYN.size
    hash_at = dynamic_at + dynamic_size
    symbols_at = hash_at + len(hash_table)
    versions = struct.pack("<H6x", 0)  # of the one symbol, which is none
    versions_at = symbols_at + _SYM
    definitions = _version_definitions()
    definitions_at = versions_at + len(versions)
    strings_at = definitions_at + len(definitions)
    size = VDSO_PAGES * PAGE_SIZE
    entries = (
        (_DT_HASH, hash_at),
        (_DT_STRTAB, strings_at),
        (_DT_SYMTAB, symbols_at),
        (_DT_STRSZ, len(strings)),
        (_DT_SYMENT, _SYM),
        (_DT_SONAME, 1),
        (_DT_VERSYM, versions_at),
        (_DT_VERDEF, definitions_at),
        (_DT_VERDEFNUM, 2),
        (_DT_NULL, 0),
    )
    ident = b"\x7fELF" + bytes((ELFCLASS64, ELFDATA2LSB, EV_CURRENT)) + bytes(9)
    header = Ehdr(
        e_ident=ident,
        e_type=ET_DYN,
        e_machine=EM_X86_64,
        e_version=EV_CURRENT,
        e_entry=0,
        e_phoff=EHDR.size,
        e_shoff=0,
        e_flags=0,
        e_ehsize=EHDR.size,
        e_phentsize=PHDR.size,
        e_phnum=2,
        e_shentsize=64,
        e_shnum=0,
        e_shstrndx=0,
    )
    load = Phdr(PT_LOAD, PF_R | PF_X, 0, 0, 0, size, size, PAGE_SIZE)
    where = (dynamic_at,) * 3
    dynamic = Phdr(PT_DYNAMIC, PF_R, *where, dynamic_size, dynamic_size, 8)
    image = b"".join(
        (
            EHDR.pack(*header),
            PHDR.pack(*load),
            PHDR.pack(*dynamic),
            *(_DYN.pack(tag, value) for tag, value in entries),
            hash_table,
            bytes(_SYM),
            versions,
            definitions,
            strings,
        )
    )
    return image.ljust(size, b"\0")


def _version_definitions() -> bytes:
    """Elf64_Verdef and its Elf64_Verdaux, twice: the object itself, and LINUX_2.6."""
    names = ((_VER_FLG_BASE, _SONAME, 1), (0, _VERSION, 2 + len(_SONAME)))
    parts = []
    for number, (flags, name, at) in enumerate(names, 1):
        following = 28 if number < len(names) else 0
        parts.append(struct.pack("<4H3I", 1, flags, number, 1, _elf_hash(name), 20, following))
        parts.append(struct.pack("<2I", at, 0))
    return b"".join(parts)


def _elf_hash(name: bytes) -> int:
    """The hash of a symbol's name (System V ABI, ELF-64)."""
    value = 0
    for byte in name:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value
