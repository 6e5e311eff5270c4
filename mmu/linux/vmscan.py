# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: what can be given back when guest RAM is out (mm/vmscan.c, v6.18)."""

from __future__ import annotations

from mmu.linux.rcupdate import rcu_barrier, rcu_poll
from mmu.linux.state import MmStruct


def try_to_free_pages(mm: MmStruct) -> int:
    """Direct reclaim: wait for what RCU has yet to free, drop page-cache pages that nobody maps.

    Returns the number of frames freed. May sleep, but for inside an mmu_gather.
    """
    before = mm.memory.free_frames
    if mm.kernel.c.this_cpu.gather:
        rcu_poll(mm.kernel)
    else:
        rcu_barrier(mm.kernel)
    for file in mm.files:
        file.drop_unmapped()
    return mm.memory.free_frames - before
