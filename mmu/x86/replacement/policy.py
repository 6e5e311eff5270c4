# SPDX-License-Identifier: GPL-2.0-or-later
"""What a replacement policy says: which way of a full set gives its place away.

Its twin is ``struct replacement`` of native/x86/replacement.h.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from mmu._native import struct_tlb


class Replacement(ABC):
    """A policy; a class for each, in a file of its name, and a row of REPLACEMENTS."""

    name: ClassVar[str]
    """What geometry files call it."""
    number: ClassVar[int]
    """``struct tlb_array.policy``: TLB_* of native/x86/replacement.h."""
    by_use: ClassVar[bool] = False
    """A hit counts as a use, not only a fill."""
    names_empty: ClassVar[bool] = False
    """Of several empty places it fills the victim's, not the first."""

    def wants(self, ways: int) -> str | None:
        """Which numbers of ways it takes, in words, if this is none of them."""
        return None

    def use(self, state: int, way: int, ways: int) -> int:
        """State of a set, 64 bits, 0 at first, after a use of a way."""
        return state

    @abstractmethod
    def victim(self, tlb: struct_tlb, places: range, state: int) -> int:
        """The way that gives its place away, of a set whose entries have the numbers places."""
