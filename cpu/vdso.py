# SPDX-License-Identifier: GPL-2.0-or-later
"""The vDSO: the shared object that Linux maps into every process and names in AT_SYSINFO_EHDR.

Its functions are Linux's by name, version and result, but each makes the system call that it stands
for, so that programs get virtual time.

    offset 0     ELF header | PT_LOAD | PT_DYNAMIC | dynamic section | hash | symbols | versions of
                 symbols | version definitions | strings | code

Go reads the tables of versions without asking whether they are there, so they are: "LINUX_2.6", as
in Linux's.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

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
from cpu.syscalls.numbers import SYSCALL_NUMBERS
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
_SYM = struct.Struct("<IBBHQQ")
"""struct Elf64_Sym."""
_STB_GLOBAL, _STB_WEAK, _STT_FUNC = 1, 2, 2
_TEXT_SECTION = 12
"""Index of the section that functions lie in: any but 0, which is no section."""
_CODE_ALIGN = 16
FUNCTIONS: Final = {
    b"clock_gettime": "clock_gettime",
    b"gettimeofday": "gettimeofday",
    b"time": "time",
    b"getcpu": "getcpu",
    b"clock_getres": "clock_getres",
}
"""The functions by name, each also as __vdso_NAME, and the system call that each makes. Not there:
getrandom, whose state would be the vDSO's own.
"""


def _function(call: str) -> bytes:
    """mov $nr, %eax; syscall; ret."""
    code = b"\xb8" + struct.pack("<I", SYSCALL_NUMBERS[call]) + b"\x0f\x05\xc3"
    return code.ljust(_CODE_ALIGN, b"\xcc")


class _Strings:
    """A string table that grows."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: bytes) -> int:
        """Where the string lies in the table."""
        at = len(self.data)
        self.data += text + b"\0"
        return at


@cache
def vdso_image() -> bytes:
    """The image, VDSO_PAGES pages long."""
    strings = _Strings()
    soname, version = strings.add(_SONAME), strings.add(_VERSION)
    names: list[tuple[bytes, int, int]] = []
    for number, name in enumerate(FUNCTIONS):
        names.append((name, _STB_WEAK, number))
        names.append((b"__vdso_" + name, _STB_GLOBAL, number))
    nr = 1 + len(names)
    hash_table = _hash_table([name for name, _, _ in names])
    dynamic_at = EHDR.size + 2 * PHDR.size
    dynamic_size = 10 * _DYN.size
    hash_at = dynamic_at + dynamic_size
    symbols_at = hash_at + len(hash_table)
    versions = struct.pack(f"<H{nr - 1}H", 0, *[2] * (nr - 1)).ljust(-(-2 * nr // 8) * 8, b"\0")
    versions_at = symbols_at + nr * _SYM.size
    definitions = _version_definitions(soname, version)
    definitions_at = versions_at + len(versions)
    strings_at = definitions_at + len(definitions)
    name_at = [strings.add(name) for name, _, _ in names]
    code_at = -(-(strings_at + len(strings.data)) // _CODE_ALIGN) * _CODE_ALIGN
    symbols = bytes(_SYM.size) + b"".join(
        _SYM.pack(at, bind << 4 | _STT_FUNC, 0, _TEXT_SECTION, code_at + number * _CODE_ALIGN, 8)
        for at, (_, bind, number) in zip(name_at, names, strict=True)
    )
    size = VDSO_PAGES * PAGE_SIZE
    entries = (
        (_DT_HASH, hash_at),
        (_DT_STRTAB, strings_at),
        (_DT_SYMTAB, symbols_at),
        (_DT_STRSZ, len(strings.data)),
        (_DT_SYMENT, _SYM.size),
        (_DT_SONAME, soname),
        (_DT_VERSYM, versions_at),
        (_DT_VERDEF, definitions_at),
        (_DT_VERDEFNUM, 2),
        (_DT_NULL, 0),
    )
    load = Phdr(PT_LOAD, PF_R | PF_X, 0, 0, 0, size, size, PAGE_SIZE)
    dynamic = Phdr(PT_DYNAMIC, PF_R, *(dynamic_at,) * 3, dynamic_size, dynamic_size, 8)
    tables = b"".join(
        (
            EHDR.pack(*_header()),
            PHDR.pack(*load),
            PHDR.pack(*dynamic),
            *(_DYN.pack(tag, value) for tag, value in entries),
            hash_table,
            symbols,
            versions,
            definitions,
            strings.data,
        )
    )
    code = b"".join(_function(call) for call in FUNCTIONS.values())
    return (tables.ljust(code_at, b"\0") + code).ljust(size, b"\0")


def _header() -> Ehdr:
    return Ehdr(
        e_ident=b"\x7fELF" + bytes((ELFCLASS64, ELFDATA2LSB, EV_CURRENT)) + bytes(9),
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


def _hash_table(names: list[bytes]) -> bytes:
    """DT_HASH: a bucket for each of few hash values, and the chains of symbols in it."""
    nbucket = 3
    buckets, chains = [0] * nbucket, [0] * (1 + len(names))
    for number, name in enumerate(names, 1):
        bucket = _elf_hash(name) % nbucket
        chains[number], buckets[bucket] = buckets[bucket], number
    words = [nbucket, len(chains), *buckets, *chains]
    return struct.pack(f"<{len(words)}I", *words).ljust(-(-len(words) // 2) * 8, b"\0")


def _version_definitions(soname: int, version: int) -> bytes:
    """Elf64_Verdef and its Elf64_Verdaux, twice: the object itself, and LINUX_2.6; where the
    strings lie.
    """
    names = ((_VER_FLG_BASE, _SONAME, soname), (0, _VERSION, version))
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
