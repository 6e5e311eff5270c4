# SPDX-License-Identifier: GPL-2.0-or-later
"""mremap()'s move of what is mapped: whole PTE tables, or entry by entry (mm/mremap.c, v6.18).

A whole table changes its PMD entry and its back pointer, no count of its own. An entry that moves
is one reference less of its old table and one more of its new one; both are visited meanwhile. So
are the PMD tables of both, where those are counted; a PTE table that moves is an entry of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu.linux import engine
from mmu.linux.huge_memory import split_huge_pmds
from mmu.linux.i_mmap import i_mmap_write
from mmu.linux.pgtable import (
    PMD_MASK,
    PMD_SIZE,
    P,
    not_none,
    pmd_none,
    pte_table,
    ptep_get_and_clear,
    xchg_pmd,
)
from mmu.linux.policies import policy_of
from mmu.linux.pte_ref import PteAlloc, TryGet
from mmu.linux.state import MmStruct
from mmu.linux.vma import find_vma_intersection
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


def move_page_tables(
    mm: MmStruct,
    old: struct_vm_area_struct_ptr,
    old_addr: int,
    new: struct_vm_area_struct_ptr,
    new_addr: int,
    length: int,
) -> int:
    """Move what old maps in [old_addr, old_addr + length) to new_addr in new, where nothing is
    mapped; returns how many bytes were: less where no table could be made.

    The mmap_lock is held for writing, both VMAs are write-locked. Takes and drops the file's
    i_mmap_rwsem, PMD and PTE locks and visitor references; the old translations are flushed before
    the locks are dropped. Whoever comes by the file finds an entry in one place or the other. Linux
    takes i_mmap_rwsem for whole tables, and for entries only if its i_mmap may have the new VMA
    before the old one (need_rmap_locks); the order here is none to rely on.
    """
    if not length:
        return 0
    split_huge_pmds(mm, old_addr, old_addr + length)
    start, end = old_addr, old_addr + length
    if _can_realign(mm, old, old_addr, new, new_addr, length):
        old_addr, new_addr = old_addr & PMD_MASK, new_addr & PMD_MASK
    while old_addr < end:
        extent = min(
            end - old_addr, PMD_SIZE - (old_addr & ~PMD_MASK), PMD_SIZE - (new_addr & ~PMD_MASK)
        )
        with i_mmap_write(mm, old.vm_file):  # take_rmap_locks()
            if not _move_extent(mm, old_addr, new_addr, extent):
                break
        old_addr += extent
        new_addr += extent
    return max(min(old_addr, end) - start, 0)


def _can_realign(
    mm: MmStruct,
    old: struct_vm_area_struct_ptr,
    old_addr: int,
    new: struct_vm_area_struct_ptr,
    new_addr: int,
    length: int,
) -> bool:
    """can_realign_addr(): whether the whole first table may be moved, though the range begins
    inside: nothing else lies in it, here and there, and the range reaches beyond it.
    """
    offset = old_addr & ~PMD_MASK
    if not offset or offset != new_addr & ~PMD_MASK or length < PMD_SIZE - offset:
        return False
    return all(
        vma.vm_start == addr and find_vma_intersection(mm, addr & PMD_MASK, addr) is None
        for vma, addr in ((old, old_addr), (new, new_addr))
    )


def _move_extent(mm: MmStruct, old_addr: int, new_addr: int, extent: int) -> bool:
    """Move what lies in one table, to one table; False: out of memory."""
    old_pmd = engine.pmd_tryget(mm, old_addr)
    if old_pmd is None:
        return True
    try:
        return _move_from(mm, old_pmd, old_addr, new_addr, extent)
    finally:
        engine.pmd_put(mm, old_pmd, old_addr)


def _move_from(mm: MmStruct, old_pmd: EntryPa, old_addr: int, new_addr: int, extent: int) -> bool:
    """_move_extent() where there is a PMD table, which is visited."""
    new_pud = engine.pud_alloc(mm, new_addr)
    if new_pud is None:
        return False
    try:
        if pmd_none(mm.memory.read_u64(old_pmd)):
            return True
        new_pmd = engine.pmd_alloc(mm, new_addr)
        if new_pmd is None:
            return False
    finally:
        engine.pud_put(mm, new_pud, new_addr)
    try:
        return _move_to(mm, old_pmd, old_addr, new_pmd, new_addr, extent)
    finally:
        engine.pmd_put(mm, new_pmd, new_addr)


def _move_to(
    mm: MmStruct, old_pmd: EntryPa, old_addr: int, new_pmd: EntryPa, new_addr: int, extent: int
) -> bool:
    """_move_extent() between two slots whose PMD tables are visited."""
    if extent == PMD_SIZE and move_normal_pmd(mm, old_pmd, old_addr, new_pmd, new_addr):
        return True
    return move_ptes(mm, old_pmd, old_addr, new_pmd, new_addr, extent)


def move_normal_pmd(
    mm: MmStruct, old_pmd: EntryPa, old_addr: int, new_pmd: EntryPa, new_addr: int
) -> bool:
    """Move a whole PTE table to an empty slot; False if the slot has a table, or there is none to
    move any more.

    The mover visits the table, so that it is not freed under way. Its paging-structure-cache
    entries are flushed before the locks of the PMD tables are dropped.
    """
    memory = mm.memory
    if not pmd_none(memory.read_u64(new_pmd)):
        return False
    result, table = engine.pte_try_get(mm, old_pmd)
    if result != TryGet.SUCCEEDED:
        return False
    same = old_pmd & -PAGE_SIZE == new_pmd & -PAGE_SIZE
    engine.pmd_lock(mm, old_pmd)
    if not same:
        engine.pmd_lock_nested(mm, new_pmd)
    value = xchg_pmd(mm, old_addr, old_pmd, 0)
    xchg_pmd(mm, new_addr, new_pmd, value)
    memory.page(table).pmd = new_pmd
    engine.pmd_entry_set(mm, new_pmd)
    if not mm.native:
        policy_of(mm.kernel).table_moved(mm, table, new_addr)
    engine.flush_tlb_mm_range(mm, old_addr, old_addr + PMD_SIZE, PAGE_SHIFT, 1)
    if not same:
        engine.pmd_unlock(mm, new_pmd)
    engine.pmd_unlock(mm, old_pmd)
    engine.pmd_entry_cleared(mm, old_pmd, old_addr)
    engine.pte_put(mm, table, new_addr)
    return True


def move_ptes(
    mm: MmStruct, old_pmd: EntryPa, old_addr: int, new_pmd: EntryPa, new_addr: int, extent: int
) -> bool:
    """Move the entries of [old_addr, old_addr + extent), which one table holds; False: out of
    memory.
    """
    allocated, new_pte = engine.pte_alloc_get_map(mm, new_pmd, new_addr)
    if allocated != PteAlloc.OK:
        return False
    new_table = pte_table(new_pte)
    old_pte = engine.pte_tryget_map_lock(mm, old_pmd, old_addr)
    if old_pte is not None:
        old_table = pte_table(old_pte)
        if new_table != old_table:
            engine.pte_lock_nested(mm, new_table)
        moved = _move_locked(mm, old_pte, old_addr, new_pte, new_addr, extent)
        engine.pte_entries_set(mm, new_table, moved)
        if new_table != old_table:
            engine.pte_unlock(mm, new_table)
        engine.pte_unlock(mm, old_table)
        engine.pte_put_many(mm, old_table, old_addr, moved)
        engine.pte_put(mm, old_table, old_addr)
    engine.pte_put(mm, new_table, new_addr)
    return True


def _move_locked(
    mm: MmStruct, old_pte: EntryPa, old_addr: int, new_pte: EntryPa, new_addr: int, extent: int
) -> int:
    """Move entries, and flush if one was present; how many there were."""
    moved, force_flush = 0, False
    for number in not_none(mm.memory, old_pte, extent // PAGE_SIZE):
        offset, at = number * PAGE_SIZE, number * 8
        value = ptep_get_and_clear(mm, old_addr + offset, EntryPa(old_pte + at))
        engine.set_pte_at(mm, new_addr + offset, EntryPa(new_pte + at), value)
        force_flush = force_flush or bool(value & P)
        moved += 1
    if force_flush:
        engine.flush_tlb_mm_range(mm, old_addr, old_addr + extent, PAGE_SHIFT, 1)
    return moved
