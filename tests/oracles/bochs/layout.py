# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things lie in guest-physical memory, in Bochs and in ours.

::

    0x0000_0000     the guest's own pages: IDT, GDT, TSS, stacks, code, and tables that map them
    0x0010_0000     16 frames for tables
    0x4020_0000     6 MiB of data, in the second GiB
    0x1_7fe0_0000   6 MiB of data, across the end of a GiB
    0x7_ffff_0000   16 frames for tables
    0x1f_fffe_0000  16 frames for tables

A state's or kernel's tables lead to its own pages by one entry of the PML4 table, CODE_SLOT, which
its random addresses do not use.

Each byte of data is what ``background()`` says until something is stored there.
"""

from __future__ import annotations

import functools
import mmap
import random
import struct
from typing import Final

from mmu.x86.entries import X86_A, X86_D, X86_P, X86_RW, X86_US, entry_offset

PAGE: Final = 0x1000
BLOCK: Final = 2 << 20
MAXPHYADDR: Final = 40
"""Of Bochs; bits 51:40 of an entry are reserved."""

OWN: Final = (0, 0x20000)
TABLES: Final = ((0x10_0000, 0x10000), (0x7_FFFF_0000, 0x10000), (0x1F_FFFE_0000, 0x10000))
DATA: Final = ((0x4020_0000, 3 * BLOCK), (0x1_7FE0_0000, 3 * BLOCK))
REGIONS: Final = (OWN, *TABLES, *DATA)
"""(base, size), all the memory there is."""
TOP: Final = 1 << 37
"""Above everything."""

FRAMES: Final = tuple(pa for base, size in TABLES for pa in range(base, base + size, PAGE))
BLOCKS: Final = tuple(pa for base, size in DATA for pa in range(base, base + size, BLOCK))
GIB_OF: Final = {0: 6, 1: 1, 2: 1, 3: 1, 511: 5}
"""By va[29:21]: the GiB that has data there, and in the page after it."""

CODE_SLOT: Final = 0xAA
CODE: Final = CODE_SLOT << 39
"""Where the guest's own pages are mapped."""
IDT: Final = 0x1000
GDT: Final = 0x2000
TSS: Final = 0x2100
HANDLERS: Final = 0x3000
STACK: Final = 0x5000
"""The end of the stack of exceptions."""
OWN_TABLES: Final = {3: 0x6000, 2: 0x7000, 1: 0x8000}
CODE_CPL0: Final = 0x9000
CODE_CPL3: Final = 0xA000
USER_STACK: Final = 0xC000
KERNEL_STACK: Final = 0xE000

RET: Final = 0x7F0
"""In each page of data there is a RET here."""
NOPS: Final = 0x800
NOPS_END: Final = 0x810
"""In each page of data there are NOPs here, and a NOP of two bytes goes from its end into the next
page; UD2 follows both.
"""

HLT: Final = 0xF4
UD2: Final = b"\x0f\x0b"
VECTORS: Final = 32
KERNEL_CS: Final = 0x08
KERNEL_DS: Final = 0x10
USER_DS: Final = 0x1B
USER_CS: Final = 0x23
TSS_SELECTOR: Final = 0x28
GDT_LIMIT: Final = 7 * 8 - 1
IDT_LIMIT: Final = 256 * 16 - 1
TSS_LIMIT: Final = 0x67
_IST1: Final = 1
_INTERRUPT_GATE: Final = 0x8E
READ_DESCRIPTOR: Final = 0x00CF_F300_0000_FFFF
"""Of a data segment that CPL 3 may read."""

_ACCESSED: Final = X86_P | X86_RW | X86_A | X86_D


def gate(handler: int, *, ist: int = _IST1, dpl: int = 0) -> bytes:
    """An interrupt gate (SDM figure 6-8)."""
    return struct.pack(
        "<HHBBHII",
        handler & 0xFFFF,
        KERNEL_CS,
        ist,
        _INTERRUPT_GATE | dpl << 5,
        handler >> 16 & 0xFFFF,
        handler >> 32,
        0,
    )


def _tss_descriptor(base: int) -> tuple[int, int]:
    low = TSS_LIMIT | (base & 0xFFFFFF) << 16 | 0x8B << 40 | (base >> 24 & 0xFF) << 56
    return low, base >> 32


def descriptors() -> bytes:
    """The GDT: code and data of CPL 0, data and code of CPL 3, the TSS."""
    return struct.pack(
        "<7Q",
        0,
        0x00AF_9B00_0000_FFFF,
        0x00CF_9300_0000_FFFF,
        0x00CF_F300_0000_FFFF,
        0x00AF_FB00_0000_FFFF,
        *_tss_descriptor(CODE + TSS),
    )


def task_state() -> bytes:
    """The TSS: RSP0 and IST1."""
    return struct.pack("<I4Q2Q", 0, CODE + KERNEL_STACK, 0, 0, 0, CODE + STACK, 0)


def own_tables(user_pages: frozenset[int]) -> list[tuple[int, int]]:
    """(address, entry) of the tables that map the guest's own pages, A and D set everywhere."""
    words = [
        (OWN_TABLES[level] + entry_offset(CODE, level), OWN_TABLES[level - 1] | _ACCESSED | X86_US)
        for level in (3, 2)
    ]
    for page in range(IDT, OWN[1], PAGE):
        user = X86_US if page in user_pages else 0
        words.append((OWN_TABLES[1] + entry_offset(CODE + page, 1), page | _ACCESSED | user))
    return words


ROOT_ENTRY: Final = OWN_TABLES[3] | _ACCESSED | X86_US
"""What a PML4 table has at CODE_SLOT."""


@functools.cache
def _noise() -> int:
    return int.from_bytes(random.Random(PAGE).randbytes(PAGE), "little")


@functools.cache
def background(pa: int) -> bytes:
    """The bytes of the page of data at pa, each page's other ones."""
    own = int.from_bytes((pa >> 12).to_bytes(8, "little") * (PAGE // 8), "little")
    page = bytearray((_noise() ^ own).to_bytes(PAGE, "little"))
    page[RET] = 0xC3
    page[NOPS:NOPS_END] = b"\x90" * (NOPS_END - NOPS)
    page[NOPS_END : NOPS_END + 2] = UD2
    page[:3] = b"\x90" + UD2
    page[-1] = 0x66
    return bytes(page)


_CHUNK: Final = 0x10000
"""What every region is a multiple of."""


class Arena:
    """Bytes for all regions, by guest-physical address; a region's come from ``mmap``."""

    def __init__(self) -> None:
        self.maps = {base: mmap.mmap(-1, size) for base, size in REGIONS}
        self._chunks = {
            pa // _CHUNK: (self.maps[base], base)
            for base, size in REGIONS
            for pa in range(base, base + size, _CHUNK)
        }
        for base, size in DATA:
            for pa in range(base, base + size, PAGE):
                self.maps[base][pa - base : pa - base + PAGE] = background(pa)

    def place(self, pa: int) -> tuple[mmap.mmap, int]:
        """The mapping and the offset of an address; KeyError if there is no memory."""
        where, base = self._chunks[pa // _CHUNK]
        return where, pa - base

    def read(self, pa: int, n: int) -> bytes:
        where, offset = self.place(pa)
        return where[offset : offset + n]

    def write(self, pa: int, data: bytes) -> None:
        where, offset = self.place(pa)
        where[offset : offset + len(data)] = data

    def read_u64(self, pa: int) -> int:
        return int.from_bytes(self.read(pa, 8), "little")

    def write_u64(self, pa: int, value: int) -> None:
        self.write(pa, value.to_bytes(8, "little"))


def is_data(pa: int) -> bool:
    """Whether an address lies in the data."""
    return any(base <= pa < base + size for base, size in DATA)
