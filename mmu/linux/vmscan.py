# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: what can be given back when guest RAM is out (mm/vmscan.c, v6.18)."""

from __future__ import annotations

from mmu.linux.filemap import AddressSpace
from mmu.linux.rcupdate import rcu_barrier, rcu_poll
from mmu.linux.state import Kernel, MmStruct


def mapped_files(kernel: Kernel) -> list[AddressSpace]:
    """The files that any process maps, each once, in the order of the processes."""
    files = {id(file.mapping): file.mapping for mm in kernel.mms for file in mm.files}
    return list(files.values())


def try_to_free_pages(mm: MmStruct) -> int:
    """Direct reclaim: wait for what RCU has yet to free, drop page-cache pages that no process
    maps.

    Returns the number of frames freed. May sleep, but for inside an mmu_gather.
    """
    before = mm.memory.free_frames
    if mm.kernel.c.this_cpu.gather:
        rcu_poll(mm.kernel)
    else:
        rcu_barrier(mm.kernel)
    for mapping in mapped_files(mm.kernel):
        mapping.drop_unmapped()
    for shrink in mm.kernel.shrinkers:
        shrink()
    return mm.memory.free_frames - before
