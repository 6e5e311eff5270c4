# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks of page tables, in their one-CPU form: a word that is 0 or 1.

The lock of a table lives in its frame's ``struct page`` (Linux's split page-table locks): the PTE
lock in the PTE table's, the PMD lock in that of the PMD table that the entry lies in. The
page_table_lock of the mm guards PML4 and PDPT entries. On one CPU nobody can be waited for, so a
lock that is found taken is a defect, told as one.

Order: mmap_lock, PTE lock, PMD lock only by trylock inside the PTE lock, else PMD lock then PTE
lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu.linux.bug import Bug
from mmu.linux.pgtable import table_page
from mmu.linux.state import MmStruct
from mmu.twin import EntryPa

if TYPE_CHECKING:
    from mmu._native import struct_page


def lock_table(mm: MmStruct, page: struct_page) -> None:
    """Take the lock of the table whose ``struct page`` this is."""
    if page.ptl:
        mm.kernel.bug(Bug.LOCK_HELD)
    page.ptl = 1


def unlock_table(mm: MmStruct, page: struct_page) -> None:
    """Drop the lock of the table whose ``struct page`` this is."""
    if not page.ptl:
        mm.kernel.bug(Bug.LOCK_NOT_HELD)
    page.ptl = 0


def pte_lock(mm: MmStruct, table: int) -> None:
    """Take the lock of the PTE table in frame ``table``, which is held (ptep_lockptr(), mm.h)."""
    lock_table(mm, mm.memory.page(table))


def pte_unlock(mm: MmStruct, table: int) -> None:
    """Drop the lock of the PTE table."""
    unlock_table(mm, mm.memory.page(table))


def pmd_lock(mm: MmStruct, pmd: EntryPa) -> None:
    """Take the lock of the PMD table that pmd lies in (pmd_lock(), mm.h)."""
    lock_table(mm, table_page(mm, pmd))


def pmd_trylock(mm: MmStruct, pmd: EntryPa) -> bool:
    """Take the PMD lock if it is free; whether it was."""
    page = table_page(mm, pmd)
    if page.ptl:
        return False
    page.ptl = 1
    return True


def pmd_unlock(mm: MmStruct, pmd: EntryPa) -> None:
    """Drop the PMD lock."""
    unlock_table(mm, table_page(mm, pmd))


def page_table_lock(mm: MmStruct) -> None:
    """Take the mm's own page_table_lock."""
    if mm.c.page_table_lock:
        mm.kernel.bug(Bug.LOCK_HELD)
    mm.c.page_table_lock = 1


def page_table_unlock(mm: MmStruct) -> None:
    """Drop the mm's own page_table_lock."""
    if not mm.c.page_table_lock:
        mm.kernel.bug(Bug.LOCK_NOT_HELD)
    mm.c.page_table_lock = 0
