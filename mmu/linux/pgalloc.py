# SPDX-License-Identifier: GPL-2.0-or-later
"""Making page tables, and counting them (asm/pgalloc.h, mm/memory.c, v6.18)."""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.errors import OutOfMemory
from mmu.events import EVENT_ID
from mmu.linux.locks import page_table_lock, page_table_unlock
from mmu.linux.pgtable import ADDR_MASK, TABLE, P, entry_offset
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import emit
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

_SET_PUD: Final = EVENT_ID["set_pud"]
_SET_P4D: Final = EVENT_ID["set_p4d"]


def table_alloc(mm: MmStruct) -> int | None:
    """A zeroed frame for a table, with one owner and a free lock; None: out of memory."""
    try:
        pfn = mm.memory.alloc_pages()
    except OutOfMemory:
        return None
    page = mm.memory.page(pfn)
    page.flags |= lib.PG_table
    page.ptl = page.pte_refcount = page.pmd = 0
    return pfn


def mm_inc_pgtables(mm: MmStruct) -> None:
    """Count a PTE, PMD or PUD table in pgtables_bytes (mm_inc_nr_ptes() and kin; VmPTE)."""
    mm.c.pgtables_bytes += PAGE_SIZE
    mm.c.hiwater_pgtables = max(mm.c.hiwater_pgtables, mm.c.pgtables_bytes)


def mm_dec_pgtables(mm: MmStruct) -> None:
    """Count a PTE, PMD or PUD table out."""
    mm.c.pgtables_bytes -= PAGE_SIZE


def entry_alloc(mm: MmStruct, addr: int, lowest: int) -> EntryPa | None:
    """Address of addr's entry of level ``lowest``, the tables down to that one made, none of which
    is counted; None: out of memory. No spinlock is held: what pud_alloc() and pmd_alloc() are
    where tables of their level stay (mmu.linux.pmd_ref).
    """
    table = mm.c.pgd
    for level in range(4, lowest, -1):
        entry = table + entry_offset(addr, level)
        if not mm.memory.read_u64(entry) & P:
            if (pfn := table_alloc(mm)) is None:
                return None
            page_table_lock(mm)
            won = not mm.memory.read_u64(entry) & P
            if won:
                populate(mm, addr, entry, level, pfn)
                mm_inc_pgtables(mm)
            page_table_unlock(mm)
            if not won:
                mm.memory.page(pfn).flags &= ~lib.PG_table
                mm.memory.free_pages(pfn, zero=True)
        table = mm.memory.read_u64(entry) & ADDR_MASK
    return EntryPa(table + entry_offset(addr, lowest))


def populate(mm: MmStruct, addr: int, entry: int, level: int, pfn: int) -> None:
    """p4d_populate(), pud_populate(): an entry of this level (4, 3) that was none refers to a new
    table of the level below. The page_table_lock is held.
    """
    value, start = pfn << PAGE_SHIFT | TABLE, addr & -(1 << 12 + 9 * (level - 1))
    mm.memory.write_u64(entry, value)
    event, site = (_SET_P4D, "pud_alloc") if level == 4 else (_SET_PUD, "pmd_alloc")
    emit(mm.kernel, event, start, 0, value, entry, site)
