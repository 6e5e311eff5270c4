# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at the PTEs of a range without changing them (mm/pagewalk.c, v6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu.linux import engine
from mmu.linux.pgtable import addr_end, hole_end, pmd_none, pte_table
from mmu.linux.state import MmStruct
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def walk_page_range(
    mm: MmStruct, start: int, end: int
) -> Iterator[tuple[int, int, Sequence[int] | None]]:
    """walk_page_range(): (addr, next, PTEs) of each part of [start, end), page-aligned, that one
    table maps, in order; None instead of the PTEs where there is no table.

    The PTEs are a copy, read with the table's lock and a visitor's reference held. The mmap_lock is
    held.
    """
    addr = start
    while addr < end:
        pmd = engine.mm_find_pmd(mm, addr)
        following = addr_end(addr, end, 2) if pmd is not None else hole_end(mm, addr, end)
        values: Sequence[int] | None = None
        if pmd is not None and not pmd_none(mm.memory.read_u64(pmd)):
            pte = engine.pte_tryget_map_lock(mm, pmd, addr)
            if pte is not None:
                table = pte_table(pte)
                values = memoryview(mm.memory.read(pte, following - addr >> PAGE_SHIFT - 3)).cast(
                    "Q"
                )
                engine.pte_unlock(mm, table)
                engine.pte_put(mm, table, addr)
        yield addr, following, values
        addr = following
