# SPDX-License-Identifier: GPL-2.0-or-later
"""mru_plru: in group (group used last + 1) mod groups, of four ways each, the way goes that the
group's tree points to.

State: a nibble for the tree of each group, and in bits 63:56 the group used last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.x86.replacement import tree
from mmu.x86.replacement.policy import Replacement

if TYPE_CHECKING:
    from mmu._native import struct_tlb

_GROUP: Final = 4


class MruPlru(Replacement):
    """(MRU + 1) % groups, and tree pseudo-LRU in the group."""

    name = "mru_plru"
    number = lib.TLB_MRU_PLRU
    by_use = True
    names_empty = True

    def wants(self, ways: int) -> str | None:
        """Whole groups, as many as the state has nibbles for."""
        most = _GROUP * lib.TLB_MRU_GROUPS
        if ways % _GROUP or ways > most:
            return f"a multiple of {_GROUP} up to {most} ways"
        return None

    def use(self, state: int, way: int, ways: int) -> int:
        """Turn the way's group's tree away from it, and note the group."""
        group = way // _GROUP
        nibble = tree.tree_use(state >> 4 * group & 0xF, way % _GROUP, _GROUP)
        state &= ~(0xFF << 56 | 0xF << 4 * group)
        return state | group << 56 | nibble << 4 * group

    def victim(self, tlb: struct_tlb, places: range, state: int) -> int:
        """The way that the tree of the group after the one used last points to."""
        group = ((state >> 56) + 1) % (len(places) // _GROUP)
        return _GROUP * group + tree.tree_victim(state >> 4 * group & 0xF, _GROUP)
