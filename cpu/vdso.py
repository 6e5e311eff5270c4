# SPDX-License-Identifier: GPL-2.0-or-later
"""The vDSO: the shared object that Linux maps into every process and names in AT_SYSINFO_EHDR.

Ours defines no function, so a C library asks by system call for what it would else read there,
and gets virtual time. It is still mapped and read as on Linux, which keeps addresses and
page tables what they are there.

    offset 0     ELF header | PT_LOAD | PT_DYNAMIC | dynamic section | hash | symbols | strings
"""

from __future__ import annotations

import struct

from mmu.units import PAGE_SIZE

VDSO_PAGES = 2
"""Pages of the image on x86-64 (v6.18)."""
VVAR_PAGES, VCLOCK_PAGES = 4, 2
"""Pages of kernel data mapped below it: [vvar] and, between the two, [vvar_vclock]."""

_DT_NULL, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = (
    0,
    4,
    5,
    6,
    10,
    11,
    14,
)
_PT_LOAD, _PT_DYNAMIC = 1, 2
_PF_X, _PF_R = 1, 4
_ET_DYN, _EM_X86_64 = 3, 62
_EHDR, _PHDR, _DYN, _SYM = (
    struct.Struct("<16sHHIQQQIHHHHHH"),
    struct.Struct("<IIQQQQQQ"),
    struct.Struct("<qQ"),
    24,
)


def vdso_image() -> bytes:
    """The image, VDSO_PAGES pages long."""
    strings = b"\0linux-vdso.so.1\0"
    hash_table = struct.pack("<4I", 1, 1, 0, 0)
    dynamic_at = _EHDR.size + 2 * _PHDR.size
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
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    image = b"".join(
        (
            _EHDR.pack(
                ident,
                _ET_DYN,
                _EM_X86_64,
                1,
                0,
                _EHDR.size,
                0,
                0,
                _EHDR.size,
                _PHDR.size,
                2,
                64,
                0,
                0,
            ),
            _PHDR.pack(_PT_LOAD, _PF_R | _PF_X, 0, 0, 0, size, size, PAGE_SIZE),
            _PHDR.pack(
                _PT_DYNAMIC,
                _PF_R,
                dynamic_at,
                dynamic_at,
                dynamic_at,
                dynamic_size,
                dynamic_size,
                8,
            ),
            *(_DYN.pack(tag, value) for tag, value in entries),
            hash_table,
            bytes(_SYM),
            strings,
        )
    )
    return image.ljust(size, b"\0")
