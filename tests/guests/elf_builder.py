# SPDX-License-Identifier: GPL-2.0-or-later
"""A small valid ELF program, as bytes, and ways to spoil it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
PT_LOAD, PT_INTERP, PT_NOTE, PT_GNU_STACK = 1, 3, 4, 0x6474E551
ET_REL, ET_EXEC, ET_DYN, ET_CORE = 1, 2, 3, 4
R, W, X = 4, 2, 1
EXIT_7 = b"\xb8\x3c\x00\x00\x00\xbf\x07\x00\x00\x00\x0f\x05"
"""mov $60, %eax; mov $7, %edi; syscall."""


@dataclass
class Load:
    """A program header; ``kind`` is its type."""

    vaddr: int = 0x400000
    offset: int = 0
    filesz: int = 0x1000
    memsz: int = 0x1000
    flags: int = R | X
    align: int = 0x1000
    kind: int = PT_LOAD


@dataclass
class Elf:
    """An ELF file in parts; ``build()`` puts it together. As it is, it exits with 7."""

    loads: list[Load] = field(default_factory=lambda: [Load()])
    ident: bytes = b"\x7fELF\x02\x01\x01" + bytes(9)
    kind: int = ET_EXEC
    machine: int = 62
    entry: int = 0x400800
    phoff: int = 64
    phentsize: int = 56
    phnum: int | None = None
    size: int = 0x1000
    extra: dict[int, bytes] = field(default_factory=dict)
    """More contents, by offset."""

    def build(self) -> bytes:
        """The file's bytes."""
        phnum = len(self.loads) if self.phnum is None else self.phnum
        header = EHDR.pack(
            self.ident,
            self.kind,
            self.machine,
            1,
            self.entry,
            self.phoff,
            0,
            0,
            64,
            self.phentsize,
            phnum,
            64,
            0,
            0,
        )
        table = b"".join(
            PHDR.pack(
                load.kind,
                load.flags,
                load.offset,
                load.vaddr,
                load.vaddr,
                load.filesz,
                load.memsz,
                load.align,
            )
            for load in self.loads
        )
        image = bytearray(max(self.size, 0x1000))
        image[: len(header)] = header
        image[64 : 64 + len(table)] = table
        image[0x800 : 0x800 + len(EXIT_7)] = EXIT_7
        for offset, data in self.extra.items():
            image[offset : offset + len(data)] = data
        return bytes(image[: self.size])
