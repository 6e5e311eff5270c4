# SPDX-License-Identifier: GPL-2.0-or-later
"""tree_plru: the way that a binary tree over all ways points to goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.x86.replacement import tree
from mmu.x86.replacement.policy import Replacement

if TYPE_CHECKING:
    from mmu._native import struct_tlb

_MAX_WAYS: Final = 64


class TreePlru(Replacement):
    """Tree pseudo-LRU."""

    name = "tree_plru"
    number = lib.TLB_TREE_PLRU
    by_use = True
    names_empty = True

    def wants(self, ways: int) -> str | None:
        """A power of two, up to the tree that 64 bits hold."""
        if ways & (ways - 1) or ways > _MAX_WAYS:
            return f"2, 4, 8 ... {_MAX_WAYS} ways"
        return None

    def use(self, state: int, way: int, ways: int) -> int:
        """Turn the nodes on the way's path away from it."""
        return tree.tree_use(state, way, ways)

    def victim(self, tlb: struct_tlb, places: range, state: int) -> int:
        """The way that the tree points to."""
        return tree.tree_victim(state, len(places))
