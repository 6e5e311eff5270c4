# SPDX-License-Identifier: GPL-2.0-or-later
"""The state that both engines work on: one ``struct mmu_unit``, guest RAM and the event ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import ffi
from mmu.x86.registers import (
    CR0_PG,
    CR3_PCID_MASK,
    CR4_LA57,
    CR4_PCIDE,
    EFER_NXE,
    Feature,
    Vendor,
    is_canonical,
)

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.memory import Memory


class Unit:
    """One processor's MMU as bytes, with the few questions that every rule asks.

    ``c`` is the ``struct mmu_unit *`` of native/x86/state.h; its fields are the registers, the TLB
    and the counters, and nothing about translation is kept anywhere else.
    """

    def __init__(self, memory: Memory, ring: EventRing | None = None) -> None:
        """Take a zeroed struct over this RAM."""
        self.c = ffi.new("struct mmu_unit *")
        self.memory = memory
        self.c.ram = memory.c
        self.ring = ring

    @property
    def ring(self) -> EventRing | None:
        """Where events go; None for nowhere."""
        return self._ring

    @ring.setter
    def ring(self, ring: EventRing | None) -> None:
        self._ring = ring
        self.c.ring = ffi.NULL if ring is None else ring.c

    @property
    def pcid(self) -> int:
        """The PCID in use (SDM 4.10.1): CR3[11:0] under CR4.PCIDE, else 0."""
        c = self.c
        return c.cr3 & CR3_PCID_MASK if c.cr4 & CR4_PCIDE else 0

    @property
    def paging(self) -> bool:
        """Whether CR0.PG is set. Without it, a linear address is the physical one (SDM 4.1.1)."""
        return bool(self.c.cr0 & CR0_PG)

    @property
    def nxe(self) -> bool:
        """Whether EFER.NXE gives entries their XD bit."""
        return bool(self.c.efer & EFER_NXE)

    @property
    def top_level(self) -> int:
        """The level of the table that CR3 names: 4, the PML4, or under CR4.LA57 5, the PML5 (SDM
        4.5).
        """
        return 5 if self.c.cr4 & CR4_LA57 else 4

    @property
    def amd(self) -> bool:
        """Whether AMD's rules hold where the manuals differ."""
        return self.c.vendor == Vendor.AMD

    def has(self, feature: Feature) -> bool:
        """Whether the processor has an optional feature."""
        return bool(
            self.c.features & feature.value
        )  # an int's "&": a Feature's makes a Feature, slowly

    def canonical(self, va: int) -> bool:
        """Whether va is canonical in the present number of levels."""
        return is_canonical(va, self.top_level)

    def count(self, counter: int) -> None:
        """Add one to the counter of that number (mmu.events.COUNTER_ID)."""
        self.c.counter[counter] += 1

    @property
    def records(self) -> bool:
        """Whether anybody records events: what only an event needs can be left out if not."""
        return self._ring is not None and bool(self._ring.c.enabled)

    def emit(self, event: int, a: int, b: int = 0, c: int = 0, d: int = 0) -> None:
        """Record an event of that number (mmu.events.EVENT_ID), if anyone records."""
        if self._ring is not None:
            self._ring.emit(event, a, b, c, d)
