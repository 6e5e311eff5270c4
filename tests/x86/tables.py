# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables built by hand, entry by entry, in the RAM of an MMU."""

from __future__ import annotations

from mmu.x86 import Mmu
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_PS, X86_RW, X86_US, entry_offset, level_size

USER = X86_P | X86_RW | X86_US
SUPERVISOR = X86_P | X86_RW

VA = 0x7F12_3456_7000
"""An address whose index differs at every level."""


class Tables:
    """A PML4 table and what hangs on it. Making it does not load CR3."""

    def __init__(self, mmu: Mmu) -> None:
        self.mmu = mmu
        self.memory = mmu.memory
        self.root = self.frame()

    def frame(self) -> int:
        """A fresh frame's address."""
        return self.memory.alloc_pages() << 12

    def load(self, pcid: int = 0, *, keep: bool = False) -> None:
        """MOV to CR3 of this PML4 table."""
        self.mmu.write_cr3(self.root | pcid | (1 << 63 if keep else 0))

    def entry_pa(self, va: int, level: int, table_flags: int = USER) -> int:
        """Where va's entry of that level lies; tables on the way are made as needed."""
        table = self.root
        for above in range(4, level, -1):
            pa = table + entry_offset(va, above)
            if not self.memory.read_u64(pa):
                self.memory.write_u64(pa, self.frame() | table_flags)
            table = self.memory.read_u64(pa) & X86_ADDR_MASK
        return table + entry_offset(va, level)

    def get(self, va: int, level: int) -> int:
        return self.memory.read_u64(self.entry_pa(va, level))

    def put(self, va: int, level: int, entry: int) -> None:
        self.memory.write_u64(self.entry_pa(va, level), entry)

    def change(self, va: int, level: int, *, set: int = 0, clear: int = 0) -> None:
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
