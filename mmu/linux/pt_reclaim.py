# SPDX-License-Identifier: GPL-2.0-or-later
"""What faults and range loops ask of the policy by which empty PTE tables are freed.

They never name one. They take and drop references through ``mmu.linux.pte_ref``, which counts if
``pte_ref_is_enabled()``; ``mmu.linux.free_tables`` does what the policy says.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.mmu_gather import Gather, mm_dec_nr_ptes, pte_free_tlb
from mmu.linux.pgtable import PMD_MASK, entry_pfn
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


def free_pte(tlb: Gather, pmd: EntryPa, pmdval: int, addr: int) -> None:
    """Gather the table that pmdval named, already out of pmd (mm/pt_reclaim.c, v6.14)."""
    emit(tlb.mm.kernel, _PTE_FREE, addr & PMD_MASK, entry_pfn(pmdval), tlb.mm.c.pgd, pmd)
    pte_free_tlb(tlb, entry_pfn(pmdval), addr)
    mm_dec_nr_ptes(tlb.mm)
