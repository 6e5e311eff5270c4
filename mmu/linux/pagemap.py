# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/PID/pagemap and clear_refs (fs/proc/task_mmu.c, v6.18).

A pagemap entry is 64 bits a page::

    63 present   62 swapped, or a marker   61 of a file, or shared   58 guard region
    56 mapped by one PTE alone             54:0 PFN, 0 without CAP_SYS_ADMIN

Soft-dirty bits are not kept, as without CONFIG_MEM_SOFT_DIRTY.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.huge_memory import split_huge_pmds
from mmu.linux.layout import TASK_SIZE
from mmu.linux.mmu_gather import Gather, tlb_remove_tlb_entry
from mmu.linux.pagewalk import walk_page_range
from mmu.linux.pgtable import (
    SPECIAL,
    A,
    P,
    entry_pfn,
    is_guard_pte_marker,
    pte_none,
    pte_present,
    pte_table,
)
from mmu.linux.state import MmStruct
from mmu.linux.zap import each_pmd
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

PM_PRESENT: Final = 1 << 63
PM_SWAP: Final = 1 << 62
PM_FILE: Final = 1 << 61
PM_GUARD_REGION: Final = 1 << 58
PM_MMAP_EXCLUSIVE: Final = 1 << 56
PM_ENTRY_BYTES: Final = 8

CLEAR_REFS_ALL, CLEAR_REFS_ANON, CLEAR_REFS_MAPPED = 1, 2, 3
CLEAR_REFS_SOFT_DIRTY, CLEAR_REFS_MM_HIWATER_RSS = 4, 5


def pagemap_read(mm: MmStruct, count: int, position: int, *, show_pfn: bool = False) -> bytes:
    """``count`` bytes of pagemap from ``position`` on; both are multiples of 8, else EINVAL. Ends
    at TASK_SIZE. Takes the mmap_lock for reading.
    """
    if position % PM_ENTRY_BYTES or count % PM_ENTRY_BYTES:
        raise LinuxError(errno.EINVAL)
    start = position // PM_ENTRY_BYTES << PAGE_SHIFT
    end = min(start + (count // PM_ENTRY_BYTES << PAGE_SHIFT), TASK_SIZE)
    parts = []
    with mm.mmap_read_lock():
        for addr, following, ptes in walk_page_range(mm, start, end):
            nr = following - addr >> PAGE_SHIFT
            if ptes is None:
                parts.append(bytes(PM_ENTRY_BYTES * nr))
            else:
                entries = (pagemap_entry(mm, pte, show_pfn) if pte else 0 for pte in ptes)
                parts.append(struct.pack(f"<{nr}Q", *entries))
    return b"".join(parts)


def pagemap_entry(mm: MmStruct, pte: int, show_pfn: bool) -> int:
    """pte_to_pagemap_entry(): what pagemap says of a PTE."""
    if pte_none(pte):
        return 0
    if not pte_present(pte):
        return PM_SWAP | (PM_GUARD_REGION if is_guard_pte_marker(pte) else 0)
    entry = PM_PRESENT | (entry_pfn(pte) if show_pfn else 0)
    if pte & SPECIAL:
        return entry
    page = mm.memory.page(entry_pfn(pte))
    if not page.flags & lib.PG_anon:
        entry |= PM_FILE
    return entry | (PM_MMAP_EXCLUSIVE if page._mapcount == 1 else 0)


def clear_refs(mm: MmStruct, kind: int) -> None:
    """clear_refs_write(): 1 to 3 say of all pages, of those of anonymous mappings, or of those of
    files that they were not used, 5 begins VmHWM anew. EINVAL for other numbers.
    """
    if not CLEAR_REFS_ALL <= kind <= CLEAR_REFS_MM_HIWATER_RSS:
        raise LinuxError(errno.EINVAL)
    if kind == CLEAR_REFS_MM_HIWATER_RSS:
        with mm.mmap_write_lock(killable=True):
            mm.c.hiwater_rss = mm.rss()
        return
    if kind == CLEAR_REFS_SOFT_DIRTY:
        return
    with mm.mmap_read_lock(killable=True):
        tlb = engine.tlb_gather_mmu(mm)
        try:
            for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]:
                wanted = {CLEAR_REFS_ANON: not vma.vm_file, CLEAR_REFS_MAPPED: bool(vma.vm_file)}
                if wanted.get(kind, True):
                    split_huge_pmds(mm, vma.vm_start, vma.vm_end)
                    for pmd, addr, following in each_pmd(mm, vma.vm_start, vma.vm_end, tlb):
                        _clear_refs_pte_range(tlb, pmd, addr, following)
        finally:
            engine.tlb_finish_mmu(tlb)


def _clear_refs_pte_range(tlb: Gather, pmd: EntryPa, start: int, end: int) -> None:
    """clear_refs_pte_range(): clear A."""
    mm = tlb.mm
    pte = engine.pte_tryget_map_lock(mm, pmd, start)
    if pte is None:
        return
    table = pte_table(pte)
    for addr in range(start, end, PAGE_SIZE):
        old = mm.memory.read_u64(pte)
        if old & A and pte_present(old) and not old & SPECIAL:
            engine.set_pte_at(mm, addr, pte, old & ~A)
            if old & P:
                tlb_remove_tlb_entry(tlb, addr)
        pte = EntryPa(pte + 8)
    engine.pte_unlock(mm, table)
    engine.pte_put_tlb(tlb, table, start)
