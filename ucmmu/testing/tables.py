# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables built by hand, entry by entry, in guest RAM."""

from __future__ import annotations

from typing import Final

from mmu.errors import MmuError
from mmu.x86 import Mmu
from mmu.x86.entries import (
    X86_A,
    X86_ADDR_MASK,
    X86_D,
    X86_G,
    X86_P,
    X86_PS,
    X86_RW,
    X86_US,
    X86_XD,
    entry_offset,
    is_leaf,
    level_size,
)

USER: Final = X86_P | X86_RW | X86_US
SUPERVISOR: Final = X86_P | X86_RW

VA: Final = 0x7F12_3456_7000
"""An address whose index differs at every level."""
LEVEL_OF: Final = {"4K": 1, "2M": 2, "1G": 3}
_LETTERS: Final = {
    "r": X86_P,
    "w": X86_RW,
    "u": X86_US,
    "g": X86_G,
    "a": X86_A,
    "d": X86_D,
    "x": 0,
    "-": 0,
}


def bits_of(rights: str) -> int:
    """The bits of an entry by letters: r present, w R/W, u U/S, x no XD, g G, a A, d D; "-" is
    nothing. Raises MmuError for any other.
    """
    bits = 0 if "x" in rights else X86_XD
    for letter in rights:
        if letter not in _LETTERS:
            raise MmuError(f"rights {rights!r}: no {letter!r}; known are {''.join(_LETTERS)}")
        bits |= _LETTERS[letter]
    return bits


class Tables:
    """A top-level table, of as many levels as the MMU has, and what hangs on it. Making it does not
    load CR3.

    Writing an entry flushes nothing, as on a processor.
    """

    def __init__(self, mmu: Mmu, root: int | None = None) -> None:
        """Take an empty top-level table, or the one at guest-physical ``root``."""
        self.mmu = mmu
        self.memory = mmu.memory
        self.root = self.frame() if root is None else root

    def frame(self) -> int:
        """A fresh frame's guest-physical address."""
        return self.memory.alloc_pages() << 12

    def load(self, pcid: int = 0, *, keep: bool = False) -> None:
        """MOV to CR3 of this table; ``keep`` sets bit 63."""
        self.mmu.write_cr3(self.root | pcid | (1 << 63 if keep else 0))

    def entry_pa(self, va: int, level: int, table_flags: int = USER) -> int:
        """Where va's entry of that level lies; tables on the way are made as needed.

        Raises MmuError if there is no such level, or if a large page is on the way.
        """
        if not 1 <= level <= self.mmu.top_level:
            raise MmuError(f"no level {level}: they are 1 to {self.mmu.top_level}")
        table = self.root
        for above in range(self.mmu.top_level, level, -1):
            pa = table + entry_offset(va, above)
            entry = self.memory.read_u64(pa)
            if not entry:
                entry = self.frame() | table_flags
                self.memory.write_u64(pa, entry)
            if entry & X86_P and is_leaf(entry, above):
                raise MmuError(f"{va:#x} is in a large page: its level-{above} entry maps it")
            table = entry & X86_ADDR_MASK
        return table + entry_offset(va, level)

    def get(self, va: int, level: int) -> int:
        """va's entry of that level."""
        return self.memory.read_u64(self.entry_pa(va, level))

    def put(self, va: int, level: int, entry: int) -> None:
        """Write va's entry of that level."""
        self.memory.write_u64(self.entry_pa(va, level), entry)

    def change(self, va: int, level: int, *, set: int = 0, clear: int = 0) -> None:
        """Set and clear bits of va's entry of that level."""
        self.put(va, level, self.get(va, level) & ~clear | set)

    def map(
        self,
        va: int,
        pa: int | None = None,
        flags: int = USER,
        *,
        level: int = 1,
        table_flags: int = USER,
    ) -> int:
        """Map va's page to pa, by default a fresh frame (a large page: physical 0); return pa."""
        if pa is None:
            pa = self.frame() if level == 1 else 0
        pa &= -level_size(level)
        size = X86_PS if level > 1 else 0
        self.memory.write_u64(self.entry_pa(va, level, table_flags), pa | flags | size)
        return pa
