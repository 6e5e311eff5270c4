# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixture ``mmu``: one processor's MMU, and tables for it in a line."""

from __future__ import annotations

from mmu.errors import MmuError
from mmu.memory import Memory
from mmu.x86 import Mmu, Translation
from mmu.x86.entries import X86_ADDR_MASK, level_size
from ucmmu.testing.options import MachineOptions
from ucmmu.testing.scene import Scene
from ucmmu.testing.tables import LEVEL_OF, Tables, bits_of
from ucmmu.testing.units import access_of


class MmuUnderTest(Mmu):
    """A processor's MMU with builders for its tables. They write entries in guest RAM as software
    does: nothing is flushed, the TLB keeps what it has.
    """

    _tables: Tables | None = None
    has_kernel = False
    """Whether a kernel owns the tables."""

    @property
    def tables(self) -> Tables:
        """The tables that CR3 names. While CR3 is 0 there are none: then they are made, and
        loaded.
        """
        root = self.c.cr3 & X86_ADDR_MASK
        if self._tables is None or self._tables.root != root:
            self._tables = Tables(self, root or None)
            if not root:
                self._tables.load()
        return self._tables

    def map(
        self,
        va: int,
        pa: int | None = None,
        size: str = "4K",
        rights: str = "rwxu",
        *,
        table_rights: str = "rwxu",
    ) -> int:
        """Map va's page of 4 KiB, 2 MiB or 1 GiB (``size``: "4K", "2M", "1G") to guest-physical pa,
        and make the tables that are missing on the way; returns pa.

        Without pa: a fresh zeroed frame; for a large page physical 0. ``rights`` are letters: r
        present, w writable, x executable (without it XD is set), u user, g global, a accessed, d
        dirty; ``table_rights`` those of new entries above. Raises MmuError for another size or
        letter, for an address or pa that is not aligned to the size, where a large page is in the
        way, and if a kernel owns the tables.
        """
        if self.has_kernel:
            raise MmuError("these tables are the mm's: map with mm.vma() or mm.mmap()")
        if size not in LEVEL_OF:
            raise MmuError(f"no page of size {size!r}: known are {', '.join(LEVEL_OF)}")
        level = LEVEL_OF[size]
        for what, address in (("va", va), ("pa", pa or 0)):
            if address % level_size(level):
                raise MmuError(f"{what} {address:#x} is not aligned to {size}")
        return self.tables.map(
            va, pa, bits_of(rights), level=level, table_flags=bits_of(table_rights)
        )

    def entry_pa(self, va: int, level: int) -> int:
        """Where va's entry of that level (1 PTE to 5 PML5E) lies, guest-physical; tables on the way
        are made.
        """
        return self.tables.entry_pa(va, level)

    def read_entry(self, va: int, level: int) -> int:
        """va's entry of that level."""
        return self.tables.get(va, level)

    def write_entry(self, va: int, level: int, entry: int) -> None:
        """Write va's entry of that level, 64 bits."""
        self.tables.put(va, level, entry)

    def change_entry(self, va: int, level: int, *, set: int = 0, clear: int = 0) -> None:
        """Set and clear bits (X86_* of mmu.x86.entries) of va's entry of that level."""
        self.tables.change(va, level, set=set, clear=clear)

    def access(self, va: int, access: str = "read", *, user: bool = True) -> Translation:
        """One access: "read", "write" or "fetch", by the user or the supervisor; what translate()
        answers.
        """
        return self.translate(va, access_of(access), user=user)


def make_mmu(
    options: MachineOptions, memory: Memory, scene: Scene | None = None, *, check: bool = False
) -> MmuUnderTest:
    """An MMU as the options say, over this RAM; ``check`` looks after stale translations."""
    unit = MmuUnderTest(
        memory,
        geometry=options.geometry,
        engine=options.engine,
        exact=options.exact,
        levels=options.levels,
        check=check,
        ring=None if scene is None else scene.recorder.ring,
    )
    if scene is not None:
        scene.mmu = scene.mmu or unit
    return unit
