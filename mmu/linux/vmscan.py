# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: what can be given back when guest RAM is out (mm/vmscan.c, v6.18)."""

from __future__ import annotations

from mmu.linux import engine
from mmu.linux.state import MmStruct


def try_to_free_pages(mm: MmStruct) -> int:
    """Direct reclaim: end a grace period, drop page-cache pages that nobody maps.

    Returns the number of frames freed. No lock is needed.
    """
    before = mm.memory.free_frames
    engine.rcu_process_callbacks(mm.kernel)
    for file in mm.files:
        file.drop_unmapped()
    return mm.memory.free_frames - before
