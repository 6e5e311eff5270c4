# SPDX-License-Identifier: GPL-2.0-or-later
"""Freeing the tables of unmapped addresses: free_pgd_range() (mm/memory.c, v6.18)."""

from __future__ import annotations

from typing import Final

from mmu.events import EVENT_ID
from mmu.linux.bug import Bug
from mmu.linux.mmu_gather import Gather, mm_dec_nr_ptes, pte_free_tlb, table_free_tlb
from mmu.linux.pgalloc import mm_dec_pgtables
from mmu.linux.pgtable import (
    ADDR_MASK,
    PMD_MASK,
    PMD_SIZE,
    P,
    addr_end,
    entry_offset,
    entry_pfn,
    pmd_huge,
)
from mmu.linux.pt_reclaim import pte_ref_is_enabled, table_is_counted
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import Span, emit
from mmu.units import U64

_PTE_FREE: Final = EVENT_ID["pte_free"]
_CLEARED: Final = {
    2: (EVENT_ID["set_pmd"], "free_pte_range"),
    3: (EVENT_ID["set_pud"], "free_pgd_range"),
    4: (EVENT_ID["set_p4d"], "free_pgd_range"),
}


def free_pgd_range(tlb: Gather, addr: int, end: int, floor: int, ceiling: int) -> None:
    """Free the tables of [addr, end), already unmapped, that map nothing outside [floor, ceiling);
    ceiling 0: no limit.

    floor and ceiling are the end of the VMA before and the start of the one after. Under refcount
    no PTE table is left to be met: one that is, is the bug PTE_TABLE_LEAKED; so it is with PMD and
    PUD tables where those are counted: TABLE_LEAKED.
    """
    addr &= PMD_MASK
    if addr < floor:
        addr += PMD_SIZE
    if ceiling:
        ceiling &= PMD_MASK
        if not ceiling:
            return
    if end - 1 > (ceiling - 1) & U64:
        end -= PMD_SIZE
    if addr > end - 1:
        return
    with Span(tlb.mm.kernel, "free_pgd_range", addr, end, tlb.mm.c.pgd):
        _free_level(tlb, tlb.mm.c.pgd, addr, end, floor, ceiling, 4)


def _free_level(
    tlb: Gather, table: int, addr: int, end: int, floor: int, ceiling: int, level: int
) -> None:
    """Free below level's entries of ``table`` for [addr, end), then the tables that those entries
    refer to.
    """
    mm = tlb.mm
    while addr < end:
        entry = table + entry_offset(addr, level)
        value = mm.memory.read_u64(entry)
        following = addr_end(addr, end, level)
        if value & P and not pmd_huge(value):
            if level == 2:
                _clear_entry(mm, addr, entry, level)
                _free_pte_range(tlb, entry_pfn(value), addr, entry)
            else:
                _free_level(tlb, value & ADDR_MASK, addr, following, floor, ceiling, level - 1)
                if _inside(addr, following, floor, ceiling, level):
                    if table_is_counted(mm, level - 1):
                        mm.kernel.bug(Bug.TABLE_LEAKED, addr)
                    _clear_entry(mm, addr, entry, level)
                    mm_dec_pgtables(mm)
                    table_free_tlb(tlb, entry_pfn(value), addr, level - 1)
        addr = following


def _clear_entry(mm: MmStruct, addr: int, entry: int, level: int) -> None:
    """pmd_clear(), pud_clear(), p4d_clear() of an entry that refers to a table."""
    event, site = _CLEARED[level]
    start = addr & -(1 << (12 + 9 * (level - 1)))
    emit(mm.kernel, event, start, mm.memory.read_u64(entry), 0, entry, site)
    mm.memory.write_u64(entry, 0)


def _inside(start: int, end: int, floor: int, ceiling: int, level: int) -> bool:
    """Whether the whole reach of level's entry for [start, end) lies in [floor, ceiling)."""
    mask = -(1 << (12 + 9 * (level - 1)))
    if start & mask < floor:
        return False
    if ceiling:
        ceiling &= mask
        if not ceiling:
            return False
    return end - 1 <= (ceiling - 1) & U64


def _free_pte_range(tlb: Gather, pfn: int, addr: int, pmd: int) -> None:
    if pte_ref_is_enabled(tlb.mm):
        tlb.mm.kernel.bug(Bug.PTE_TABLE_LEAKED, addr)
    emit(tlb.mm.kernel, _PTE_FREE, addr & PMD_MASK, pfn, tlb.mm.c.pgd, pmd)
    pte_free_tlb(tlb, pfn, addr)
    mm_dec_nr_ptes(tlb.mm)
