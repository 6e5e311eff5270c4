# SPDX-License-Identifier: GPL-2.0-or-later
"""When empty PTE tables are freed: the policies, behind the questions that the other code asks.

Faults and range loops never name a policy. They take and drop references through
``mmu.linux.pte_ref``, which counts if ``pte_ref_is_enabled()``, and a zap asks
``reclaim_pt_is_enabled()`` whether it may look for an empty table afterwards.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.locks import pmd_lock, pmd_trylock, pmd_unlock, pte_lock, pte_unlock
from mmu.linux.mmu_gather import Gather, mm_dec_nr_ptes, pte_free_tlb
from mmu.linux.pgtable import ADDR_MASK, PMD_MASK, PMD_SIZE, emit, entry_pfn, table_is_empty, xchg

if TYPE_CHECKING:
    from mmu.linux.mm import MmStruct

_PTE_FREE: Final = EVENT_ID["pte_free"]


class FreeTables(Enum):
    """A policy: its name on the command line, its number in ``mm_struct.policy``, what it does."""

    NEVER = (
        "never",
        lib.FREE_TABLES_NEVER,
        "when the addresses around are unmapped (Linux before 6.14)",
    )
    SCAN = (
        "scan",
        lib.FREE_TABLES_SCAN,
        "also when one MADV_DONTNEED clears all 2 MiB (CONFIG_PT_RECLAIM, Linux 6.14)",
    )
    REFCOUNT = (
        "refcount",
        lib.FREE_TABLES_REFCOUNT,
        "when the last entry becomes none, whatever cleared it",
    )

    def __init__(self, label: str, number: int, meaning: str) -> None:
        """Name the three parts of the value."""
        self.label = label
        self.number = number
        self.meaning = meaning

    @classmethod
    def from_label(cls, label: str) -> FreeTables:
        """The policy of this name; KeyError if there is none."""
        return {policy.label: policy for policy in cls}[label]


def pte_ref_is_enabled(mm: MmStruct) -> bool:
    """Whether references of PTE tables are counted."""
    return bool(mm.c.policy == lib.FREE_TABLES_REFCOUNT)


def reclaim_pt_is_enabled(mm: MmStruct, start: int, end: int, details: int) -> bool:
    """Whether this zap of [start, end), part of one table, may free the table after a look at it.

    CONFIG_PT_RECLAIM's conditions (mm/memory.c, v6.14): MADV_DONTNEED, and all 2 MiB in one go.
    """
    return (
        bool(mm.c.policy == lib.FREE_TABLES_SCAN and details & lib.ZAP_RECLAIM_PT)
        and end - start >= PMD_SIZE
    )


def try_get_and_clear_pmd(mm: MmStruct, pmd: int) -> int | None:
    """Take the table out of pmd if the PMD lock is free; the PMD's value, or None (mm/pt_reclaim.c,
    v6.14).

    Every entry was cleared under the PTE lock, which is still held: nobody can have refilled it.
    """
    if not pmd_trylock(mm, pmd):
        return None
    pmdval = xchg(mm, pmd, 0)
    pmd_unlock(mm, pmd)
    return pmdval


def free_pte(tlb: Gather, pmdval: int, addr: int) -> None:
    """Gather the table that pmdval named, already out of its PMD (mm/pt_reclaim.c, v6.14)."""
    emit(tlb.mm, _PTE_FREE, addr & PMD_MASK, entry_pfn(pmdval))
    pte_free_tlb(tlb, entry_pfn(pmdval), addr)
    mm_dec_nr_ptes(tlb.mm)


def try_to_free_pte(tlb: Gather, pmd: int, addr: int) -> None:
    """Free the table under pmd if, under both locks, all its entries are none (mm/pt_reclaim.c,
    v6.14).

    For a zap that let the PTE lock go midway: another may have refilled what it cleared.
    """
    mm = tlb.mm
    pmd_lock(mm, pmd)
    pte_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    empty = table_is_empty(mm, pmdval & ADDR_MASK)
    pte_unlock(mm, pmd)
    if empty:
        xchg(mm, pmd, 0)
    pmd_unlock(mm, pmd)
    if empty:
        free_pte(tlb, pmdval, addr)
