# SPDX-License-Identifier: GPL-2.0-or-later
"""The replacement policies of TLB arrays and paging-structure caches: a row for each."""

from __future__ import annotations

from typing import Final

from mmu.x86.replacement.fifo import Fifo
from mmu.x86.replacement.lru import Lru
from mmu.x86.replacement.mru_plru import MruPlru
from mmu.x86.replacement.policy import Replacement
from mmu.x86.replacement.random import Random
from mmu.x86.replacement.tree_plru import TreePlru

REPLACEMENTS: Final[tuple[Replacement, ...]] = (
    Lru(),
    Fifo(),
    Random(),
    TreePlru(),
    MruPlru(),
)
BY_NAME: Final = {policy.name: policy for policy in REPLACEMENTS}
BY_NUMBER: Final = {policy.number: policy for policy in REPLACEMENTS}

__all__ = ["BY_NAME", "BY_NUMBER", "REPLACEMENTS", "Replacement"]
