# SPDX-License-Identifier: GPL-2.0-or-later
"""Reclaim: what can be given back when guest RAM is out (mm/vmscan.c, v6.18)."""

from __future__ import annotations

from mmu.linux import engine
from mmu.linux.filemap import MappedFile
from mmu.linux.state import Kernel, MmStruct


def mapped_files(kernel: Kernel) -> list[MappedFile]:
    """The files that any process maps, each once, in the order of the processes."""
    files = {id(file): file for mm in kernel.mms for file in mm.files}
    return list(files.values())


def try_to_free_pages(mm: MmStruct) -> int:
    """Direct reclaim: end a grace period, drop page-cache pages that no process maps.

    Returns the number of frames freed. No lock is needed.
    """
    before = mm.memory.free_frames
    engine.rcu_process_callbacks(mm.kernel)
    for file in mapped_files(mm.kernel):
        file.drop_unmapped()
    return mm.memory.free_frames - before
