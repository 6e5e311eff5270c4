# SPDX-License-Identifier: GPL-2.0-or-later
"""Changing the rights of what is mapped: mprotect's loop over PTEs (mm/mprotect.c, v6.18)."""

from __future__ import annotations

from mmu._native import lib
from mmu.linux.anon import is_exclusive
from mmu.linux.locks import pte_unlock
from mmu.linux.mmu_gather import Gather, tlb_remove_tlb_entry
from mmu.linux.pgtable import (
    ADDR_MASK,
    DIRTY_BITS,
    RW,
    SPECIAL,
    US,
    XD,
    A,
    D,
    G,
    P,
    entry_pfn,
    pte_cmpxchg,
    pte_mksaveddirty,
    pte_present,
    pte_table,
    vm_page_prot,
)
from mmu.linux.pte_ref import pte_put_tlb, pte_tryget_map_lock
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.zap import each_pmd
from mmu.twin import EntryPa
from mmu.units import PAGE_SIZE


@spanned(lambda tlb, start, end, vm_flags: (tlb.mm, start, end))
def change_protection(tlb: Gather, start: int, end: int, vm_flags: int) -> None:
    """Give the PTEs of [start, end), pages of one VMA, the rights of vm_flags; mmap_lock is held.
    Without VM_SHARED for a VMA whose first writes must be heard of.

    No entry becomes none or non-none, so no reference of an entry changes; the loop itself visits
    each table.
    """
    for pmd, addr, following in each_pmd(tlb.mm, start, end, tlb):
        change_pte_range(tlb, pmd, addr, following, vm_flags)


def change_pte_range(tlb: Gather, pmd: EntryPa, start: int, end: int, vm_flags: int) -> None:
    """The same for the part that lies in the table under pmd."""
    mm = tlb.mm
    pte = pte_tryget_map_lock(mm, pmd, start)
    if pte is None:
        return
    for addr in range(start, end, PAGE_SIZE):
        _change_pte(tlb, addr, EntryPa(pte + (addr - start) // PAGE_SIZE * 8), vm_flags)
    pte_unlock(mm, pte_table(pte))
    pte_put_tlb(tlb, pte_table(pte), start)


def _change_pte(tlb: Gather, addr: int, pte: EntryPa, vm_flags: int) -> None:
    while True:
        old = tlb.mm.memory.read_u64(pte)
        if not pte_present(old):
            return
        value = pte_modify(tlb.mm, old, vm_flags)
        if value == old:
            return
        if pte_cmpxchg(tlb.mm, addr, pte, old, value):
            break
    if pte_needs_flush(old, value):
        tlb_remove_tlb_entry(tlb, addr)


def pte_modify(mm: MmStruct, pte: int, vm_flags: int) -> int:
    """A present PTE's new value: frame, A, dirtiness and SPECIAL stay.

    A write right comes back at once only where no copy can be due: on a page of this mm alone; and
    on a page of a shared file only if it is dirty already (can_change_pte_writable()).
    """
    value = pte & (ADDR_MASK | A | DIRTY_BITS | SPECIAL) | vm_page_prot(vm_flags)
    if vm_flags & lib.VM_WRITE and not pte & SPECIAL:
        anon = mm.memory.page(entry_pfn(pte)).flags & lib.PG_anon
        if is_exclusive(mm, pte) or (pte & DIRTY_BITS and not anon):
            value |= RW
    return pte_mksaveddirty(value)


def pte_needs_flush(old: int, new: int) -> bool:
    """Whether a TLB may hold what is true no more: P or D cleared, or rights changed
    (asm/tlbflush.h).
    """
    diff = old ^ new
    return bool(old & P) and bool(diff & old & (P | D) or diff & (RW | US | G | XD))
