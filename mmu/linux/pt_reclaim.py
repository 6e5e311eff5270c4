# SPDX-License-Identifier: GPL-2.0-or-later
"""When empty PTE tables are freed: the policies, behind the questions that the other code asks.

Faults and range loops never name a policy. They take and drop references through
``mmu.linux.pte_ref``, which counts if ``pte_ref_is_enabled()``, and a zap asks
``reclaim_pt_is_enabled()`` whether it may look for an empty table afterwards.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.locks import pmd_lock, pmd_trylock, pmd_unlock, pte_lock, pte_unlock
from mmu.linux.mmu_gather import Gather, mm_dec_nr_ptes, pte_free_tlb
from mmu.linux.pgtable import (
    ADDR_MASK,
    PMD_MASK,
    PMD_SIZE,
    entry_pfn,
    pmd_huge,
    pmd_none,
    table_is_empty,
    xchg_pmd,
)
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import emit
from mmu.twin import EntryPa

_PTE_FREE: Final = EVENT_ID["pte_free"]


def pte_ref_is_enabled(mm: MmStruct) -> bool:
    """Whether references of PTE tables are counted."""
    return bool(mm.kernel.c.policy >= lib.FREE_TABLES_REFCOUNT)


def table_is_counted(mm: MmStruct, level: int) -> bool:
    """Whether references of PMD tables (level 2) or of PUD tables (3) are counted."""
    return bool(level <= mm.kernel.c.free_levels)


def reclaim_pt_is_enabled(mm: MmStruct, start: int, end: int, details: int) -> bool:
    """Whether this zap of [start, end), part of one table, may free the table after a look at it.

    CONFIG_PT_RECLAIM's conditions (mm/memory.c, v6.14): MADV_DONTNEED, and all 2 MiB in one go.
    """
    return (
        bool(mm.kernel.c.policy == lib.FREE_TABLES_SCAN and details & lib.ZAP_RECLAIM_PT)
        and end - start >= PMD_SIZE
    )


def try_get_and_clear_pmd(mm: MmStruct, pmd: EntryPa, addr: int) -> int | None:
    """Take the table out of pmd if the PMD lock is free; the PMD's value, or None (mm/pt_reclaim.c,
    v6.14).

    Every entry was cleared under the PTE lock, which is still held: nobody can have refilled it.
    """
    if not pmd_trylock(mm, pmd):
        return None
    pmdval = xchg_pmd(mm, addr, pmd, 0)
    pmd_unlock(mm, pmd)
    return pmdval


def free_pte(tlb: Gather, pmd: EntryPa, pmdval: int, addr: int) -> None:
    """Gather the table that pmdval named, already out of pmd (mm/pt_reclaim.c, v6.14)."""
    emit(tlb.mm.kernel, _PTE_FREE, addr & PMD_MASK, entry_pfn(pmdval), tlb.mm.c.pgd, pmd)
    pte_free_tlb(tlb, entry_pfn(pmdval), addr)
    mm_dec_nr_ptes(tlb.mm)


def try_to_free_pte(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """Free the table under pmd if, under both locks, all its entries are none (mm/pt_reclaim.c,
    v6.14).

    For a zap that let the PTE lock go midway: another may have refilled what it cleared, or freed
    the table.
    """
    mm = tlb.mm
    pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    empty = False
    if not pmd_none(pmdval) and not pmd_huge(pmdval):
        pte_lock(mm, entry_pfn(pmdval))
        empty = table_is_empty(mm.memory, pmdval & ADDR_MASK)
        if empty:
            xchg_pmd(mm, addr, pmd, 0)
        pte_unlock(mm, entry_pfn(pmdval))
    pmd_unlock(mm, pmd)
    if empty:
        free_pte(tlb, pmd, pmdval, addr)
