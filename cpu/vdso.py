# SPDX-License-Identifier: GPL-2.0-or-later
"""The vDSO: the shared object that Linux maps into every process and names in AT_SYSINFOEHDR.

Ours defines no function, so a C library asks by system call for what it would else read there,
and gets virtual time. It is still mapped and read as on Linux, which keeps addresses and
page tables what they are there.

    offset 0     ELF header | PT_LOAD | PT_DYNAMIC | dynamic section | hash | symbols | strings
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
_DYN = struct.Struct("<qQ")
_SYM = 24
"""Bytes of an Elf64_Sym."""


def vdso_image() -> bytes:
    """The image, VDSO_PAGES pages long."""
    strings = b"\0linux-vdso.so.1\0"
    hash_table = struct.pack("<4I", 1, 1, 0, 0)
    dynamic_at = EHDR.size + 2 * PHDR.size
    dynamic_size = 7 * _DYN.size
    hash_at = dynamic_at + dynamic_size
    symbols_at = hash_at + len(hash_table)
    strings_at = symbols_at + _SYM
    size = VDSO_PAGES * PAGE_SIZE
    entries = (
        (_DT_HASH, hash_at),
        (_DT_STRTAB, strings_at),
        (_DT_SYMTAB, symbols_at),
        (_DT_STRSZ, len(strings)),
        (_DT_SYMENT, _SYM),
        (_DT_SONAME, 1),
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
            strings,
        )
    )
    return image.ljust(size, b"\0")
