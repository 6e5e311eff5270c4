# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking at the PTEs of a range without changing them (mm/pagewalk.c, v6.18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.linux import engine
from mmu.linux.pgtable import addr_end, hole_end, pmd_huge, pmd_none, pte_of_huge_pmd, pte_table
from mmu.linux.state import MmStruct
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def walk_page_range(
    mm: MmStruct, start: int, end: int
) -> Iterator[tuple[int, int, Sequence[int] | None]]:
    """walk_page_range(): (addr, next, PTEs) of each part of [start, end), page-aligned, that one
    table maps, in order; None instead of the PTEs where there is no table, or no VMA.

    The PTEs are a copy, read with the table's lock and a visitor's reference held. The mmap_lock is
    held; where it guards no VMA, munmap() may be taking tables away.
    """
    addr = start
    while addr < end:
        vma = lib.find_vma(mm.c, addr)
        vm_start = end if vma == ffi.NULL else min(vma.vm_start, end)
        if addr < vm_start:
            yield addr, vm_start, None
            addr = vm_start
            continue
        last = min(vma.vm_end, end)
        yield from _walk_vma(mm, addr, last)
        addr = last


def _walk_vma(mm: MmStruct, addr: int, end: int) -> Iterator[tuple[int, int, Sequence[int] | None]]:
    """walk_page_range() of a part of one VMA."""
    while addr < end:
        pmd = engine.pmd_tryget(mm, addr)
        following = addr_end(addr, end, 2) if pmd is not None else hole_end(mm, addr, end)
        values: Sequence[int] | None = None
        if pmd is not None:
            if not pmd_none(mm.memory.read_u64(pmd)):
                values = _read_ptes(mm, pmd, addr, following)
            engine.pmd_put(mm, pmd, addr)
        yield addr, following, values
        addr = following


def _read_ptes(mm: MmStruct, pmd: EntryPa, addr: int, end: int) -> Sequence[int] | None:
    """The PTEs of [addr, end), all in the table under pmd; None if there is none any more. Of a
    huge PMD what they would be.
    """
    huge = _read_huge_pmd(mm, pmd, addr, end) if mm.vm_hugepage else None
    if huge is not None:
        return huge
    pte = engine.pte_tryget_map_lock(mm, pmd, addr)
    if pte is None:
        return None
    table = pte_table(pte)
    values = memoryview(mm.memory.read(pte, end - addr >> PAGE_SHIFT - 3)).cast("Q")
    engine.pte_unlock(mm, table)
    engine.pte_put(mm, table, addr)
    return values


def _read_huge_pmd(mm: MmStruct, pmd: EntryPa, addr: int, end: int) -> Sequence[int] | None:
    """_read_ptes() of a huge PMD; None: it is none, or has been split."""
    if not pmd_huge(mm.memory.read_u64(pmd)):
        return None
    engine.pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    engine.pmd_unlock(mm, pmd)
    if not pmd_huge(pmdval):
        return None
    return [pte_of_huge_pmd(pmdval, page) for page in range(addr, end, PAGE_SIZE)]
