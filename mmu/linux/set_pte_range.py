# SPDX-License-Identifier: GPL-2.0-or-later
"""Mapping pages of a file's page cache (mm/memory.c, v6.18)."""

from __future__ import annotations

from collections.abc import Iterable

from mmu._native import ffi
from mmu.linux.pgtable import pte_none, set_pte_at
from mmu.linux.state import MmStruct
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT


class Frames:
    """Numbers of frames, one after the other; ``c`` is their array."""

    __slots__ = ("c",)

    def __init__(self, pfns: Iterable[int]) -> None:
        self.c = ffi.new("u64[]", list(pfns))


def set_pte_range(mm: MmStruct, pte: EntryPa, addr: int, prot: int, nr: int, frames: Frames) -> int:
    """Map the frames, which each get an owner and a mapping more, at addr on, a page each, where
    the PTE is none and the frame is not 0.

    All nr entries lie in the table that pte is in, whose lock is held. Returns how many were set:
    references of the table that the caller takes.
    """
    mapped = 0
    for i in range(nr):
        pfn, entry = frames.c[i], EntryPa(pte + i * 8)
        if not pfn or not pte_none(mm.memory.read_u64(entry)):
            continue
        page = mm.memory.page(pfn)
        page._refcount += 1
        page._mapcount += 1
        set_pte_at(mm, addr + (i << PAGE_SHIFT), entry, pfn << PAGE_SHIFT | prot)
        mapped += 1
    return mapped
