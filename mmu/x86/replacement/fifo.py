# SPDX-License-Identifier: GPL-2.0-or-later
"""fifo: the first that was entered goes; a hit changes nothing, so ``used`` is of the fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.x86.replacement.lru import oldest
from mmu.x86.replacement.policy import Replacement

if TYPE_CHECKING:
    from mmu._native import struct_tlb


class Fifo(Replacement):
    """First in, first out."""

    name = "fifo"
    number = lib.TLB_FIFO

    def victim(self, tlb: struct_tlb, places: range, state: int) -> int:
        """The way filled first."""
        return oldest(tlb, places)
