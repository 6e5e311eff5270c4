# SPDX-License-Identifier: GPL-2.0-or-later
"""random: any entry goes, by a sequence that the geometry's seed begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.units import U64
from mmu.x86.replacement.policy import Replacement

if TYPE_CHECKING:
    from mmu._native import struct_tlb


def next_random(tlb: struct_tlb) -> int:
    """xorshift64 (Marsaglia): the next of a sequence of all values but 0."""
    x = tlb.random
    x ^= x << 13 & U64
    x ^= x >> 7
    x ^= x << 17 & U64
    tlb.random = x
    return x


class Random(Replacement):
    """Any way."""

    name = "random"
    number = lib.TLB_RANDOM

    def victim(self, tlb: struct_tlb, places: range, state: int) -> int:
        """The next number of the sequence, modulo the ways."""
        return next_random(tlb) % len(places)
