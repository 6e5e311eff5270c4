# SPDX-License-Identifier: GPL-2.0-or-later
"""lru: the least recently used entry goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.x86.replacement.policy import Replacement

if TYPE_CHECKING:
    from mmu._native import struct_tlb


def oldest(tlb: struct_tlb, places: range) -> int:
    """The way with the smallest ``struct tlb_entry.used``."""
    return min(range(len(places)), key=lambda way: tlb.entry[places[way]].used)


class Lru(Replacement):
    """Least recently used."""

    name = "lru"
    number = lib.TLB_LRU
    by_use = True

    def victim(self, tlb: struct_tlb, places: range, state: int) -> int:
        """The least recently used way."""
        return oldest(tlb, places)
