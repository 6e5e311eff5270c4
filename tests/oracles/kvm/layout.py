# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things lie in the guest.

Guest-physical memory::

    0x0000_1000  IDT
    0x0000_2000  GDT, TSS
    0x0000_3000  code of CPL 0
    0x0000_4000  code of CPL 3
    0x0000_6000  end of the stack, which grows down
    0x0000_7000  page tables that map the pages above
    0x0020_0000  2 MiB of data: each leaf points here
    0x0040_0000  windows of 32 KiB up to the end of memory, each with one state's tables

The lowest pages are mapped, at CODE on, by tables of their own below one entry of the PML4 (or
PML5) table that the address under test does not use: nothing of a state touches them.

A leaf of any size leads to the same byte of data: DATA + va[20:0], which wants va[29:21] = 1 of a
1-GiB leaf.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mmu.x86.entries import (
    X86_A,
    X86_D,
    X86_P,
    X86_PS,
    X86_RW,
    X86_US,
    entry_offset,
    is_leaf,
    level_size,
)
from tests.oracles.kvm.access import State

RAM: Final = 24 << 20
DATA: Final = 2 << 20
WINDOWS: Final = 4 << 20
WINDOW: Final = 32 << 10

CODE_SLOT: Final = 0xAA
CODE: Final = CODE_SLOT << 39
IDT: Final = 0x1000
GDT: Final = 0x2000
TSS: Final = 0x2100
HANDLERS: Final = 0x3000
CODE_CPL0: Final = 0x3800
CODE_CPL3: Final = 0x4000
STACK: Final = 0x6000
"""The end of the stack that exceptions use."""
_TABLES: Final = {4: 0xA000, 3: 0x7000, 2: 0x8000, 1: 0x9000}

HLT: Final = 0xF4
_SELECTOR_CPL0: Final = 0x08
_INTERRUPT_GATE: Final = 0x8E
_VECTORS: Final = 32

DESCRIPTOR: Final = 0x00CF_F300_0000_FFFF
"""Of a data segment for CPL 3, present and already accessed: loading it writes nothing."""
LDT_SELECTOR: Final = 0x0F
"""The second descriptor of the LDT, for CPL 3."""

_ACCESSED: Final = X86_P | X86_RW | X86_A | X86_D


def fixed_bytes() -> Iterator[tuple[int, bytes]]:
    """What lies in memory before any state: (guest-physical address, bytes)."""
    yield IDT, b"".join(_gate(CODE + HANDLERS + 16 * vector) for vector in range(_VECTORS))
    yield (
        GDT,
        struct.pack("<4Q", 0, 0x00AF_9B00_0000_FFFF, 0x00CF_F300_0000_FFFF, 0x00AF_FB00_0000_FFFF),
    )
    yield TSS, struct.pack("<I4Q", 0, CODE + STACK, 0, 0, 0) + struct.pack("<Q", CODE + STACK)
    yield HANDLERS, bytes([HLT]) * (_VECTORS * 16)
    yield DATA, bytes([HLT]) * (2 << 20)
    for level, table in _TABLES.items():
        if level > 1:
            entry = _TABLES[level - 1] | _ACCESSED | X86_US
            yield table + entry_offset(CODE, level), struct.pack("<Q", entry)
    for page in range(IDT, STACK + 0x1000, 0x1000):
        user = X86_US if page == CODE_CPL3 else 0
        yield _TABLES[1] + entry_offset(CODE + page, 1), struct.pack("<Q", page | _ACCESSED | user)


def _gate(handler: int) -> bytes:
    """An interrupt gate on the first stack of the TSS's table (SDM figure 6-8)."""
    return struct.pack(
        "<HHBBHII",
        handler & 0xFFFF,
        _SELECTOR_CPL0,
        1,
        _INTERRUPT_GATE,
        handler >> 16 & 0xFFFF,
        handler >> 32,
        0,
    )


def data_of(va: int) -> int:
    """Where every leaf for va leads to."""
    return DATA + va % (2 << 20)


@dataclass(frozen=True, slots=True)
class Placed:
    """A state's tables, at some window: ``entries`` are (address, value), topmost first, then the
    next page's PTE.
    """

    cr3: int
    entries: tuple[tuple[int, int], ...]
    code_entry: tuple[int, int]
    """What the topmost table needs besides, for the guest's own code."""

    def words(self) -> Iterator[tuple[int, int]]:
        """Every word to write: (address, value)."""
        yield self.code_entry
        yield from self.entries


def place(state: State, window: int) -> Placed:
    """Lay a state's tables out at a window."""
    top = state.levels
    entries = []
    table = window
    for level in range(top, state.leaf - 1, -1):
        bits = state.bits_of(level)
        leads_to = _leaf_address(state.va, level) if is_leaf(bits, level) else table + 0x1000
        entries.append((table + entry_offset(state.va, level), leads_to | bits))
        table += 0x1000
    if state.next_bits is not None:
        assert state.leaf == 1 and state.va % (2 << 20) < (2 << 20) - 0x1000, (
            "the next page has another table"
        )
        va = state.va + 0x1000
        entries.append(
            (table - 0x1000 + entry_offset(va, 1), data_of(va) & ~0xFFF | state.next_bits)
        )
    code = _TABLES[top - 1] | _ACCESSED | X86_US
    return Placed(window, tuple(entries), (window + entry_offset(CODE, top), code))


def _leaf_address(va: int, level: int) -> int:
    return data_of(va) & -level_size(level)


def large(level: int) -> int:
    """PS, of a leaf above level 1."""
    return X86_PS if level > 1 else 0
