# SPDX-License-Identifier: GPL-2.0-or-later
"""fork's loop over PTEs: a child's tables are made like the parent's (mm/memory.c, v6.18).

::

    parent   PTE ── W ──► page                 PTE ── ro ──► page ◄── ro ── PTE   child
             refcount 1, mapcount 1                refcount 2, mapcount 2

A private page that could be written loses W in both, and is exclusive to neither: the next write,
of either, is due a copy. Pages of shared memory and of files stay as they are. The child has a
table wherever the parent has one; its entries are counted as any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.linux.locks import pte_lock_nested, pte_unlock
from mmu.linux.pgtable import (
    DIRTY_BITS,
    RW,
    SPECIAL,
    A,
    add_mm_counter,
    addr_end,
    entry_pfn,
    has_pud_table,
    hole_end,
    mm_counter,
    not_none,
    pmd_none,
    pte_present,
    pte_table,
    ptep_set_wrprotect,
    set_pte_at,
)
from mmu.linux.pmd_ref import pmd_alloc, pmd_put, pmd_tryget, pud_alloc
from mmu.linux.pt_reclaim import table_is_counted
from mmu.linux.pte_ref import (
    PteAlloc,
    pte_alloc_get_map_lock,
    pte_entries_set,
    pte_put,
    pte_tryget_map,
)
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.twin import EntryPa
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_page


@spanned(lambda src, dst, start, end, vm_flags: (dst, start, end))
def copy_page_range(src: MmStruct, dst: MmStruct, start: int, end: int, vm_flags: int) -> bool:
    """Map in dst what src maps in [start, end), bytes, a VMA of these flags in both.

    The mmap_lock of both is held for writing. Takes and drops visitor references and PTE locks, the
    child's first. W that is taken from src is not flushed: dup_mmap() does that once for all.
    Returns False if memory was out; dst then has a part, which exit_mmap() takes away.
    """
    addr = start
    while addr < end:
        src_pmd = pmd_tryget(src, addr)
        if src_pmd is None:
            if not _copy_hole(src, dst, addr):
                return False
            addr = hole_end(src, addr, end)
            continue
        following = addr_end(addr, end, 2)
        copied = _copy_slot(src, dst, src_pmd, addr, following, vm_flags)
        pmd_put(src, src_pmd, addr)
        if not copied:
            return False
        addr = following
    return True


def _copy_hole(src: MmStruct, dst: MmStruct, addr: int) -> bool:
    """Where src has a PUD table and no PMD table, dst gets a PUD table too; not where an empty one
    does not stay. False: out of memory.
    """
    if table_is_counted(dst, 3) or not has_pud_table(src, addr):
        return True
    return pud_alloc(dst, addr) is not None


def _copy_slot(
    src: MmStruct, dst: MmStruct, src_pmd: EntryPa, addr: int, end: int, vm_flags: int
) -> bool:
    """Copy what src_pmd, whose table is visited, refers to; dst gets a PMD table even for an empty
    slot, but not where an empty one does not stay. False: out of memory.
    """
    empty = pmd_none(src.memory.read_u64(src_pmd))
    if empty and table_is_counted(dst, 2):
        return True
    dst_pmd = pmd_alloc(dst, addr)
    if dst_pmd is None:
        return False
    copied = empty or copy_pte_range(src, dst, src_pmd, dst_pmd, addr, end, vm_flags)
    pmd_put(dst, dst_pmd, addr)
    return copied


def is_cow_mapping(vm_flags: int) -> bool:
    """Whether a write to the mapping may need a copy: it is private, and could be made writable."""
    return vm_flags & (lib.VM_SHARED | lib.VM_MAYWRITE) == lib.VM_MAYWRITE


def copy_pte_range(
    src: MmStruct,
    dst: MmStruct,
    src_pmd: EntryPa,
    dst_pmd: EntryPa,
    addr: int,
    end: int,
    vm_flags: int,
) -> bool:
    """The part of copy_page_range() that lies in the table under src_pmd; False: out of memory.

    Source and child are visited: one reference on each table, dropped on every way out (D10). The
    child's counts its entries while that reference is held (D12).
    """
    src_pte = pte_tryget_map(src, src_pmd, addr)
    if src_pte is None:
        return True
    src_table = pte_table(src_pte)
    allocated, dst_pte = pte_alloc_get_map_lock(dst, dst_pmd, addr)
    if allocated != PteAlloc.OK:
        pte_put(src, src_table, addr)
        return False
    dst_table = pte_table(dst_pte)
    pte_lock_nested(src, src_table)
    copied = _copy_ptes(src, dst, src_pte, dst_pte, addr, end, vm_flags)
    pte_unlock(src, src_table)
    pte_entries_set(dst, dst_table, copied)
    pte_unlock(dst, dst_table)
    pte_put(src, src_table, addr)
    pte_put(dst, dst_table, addr)
    return True


def _copy_ptes(
    src: MmStruct,
    dst: MmStruct,
    src_pte: EntryPa,
    dst_pte: EntryPa,
    start: int,
    end: int,
    vm_flags: int,
) -> int:
    """Copy the entries of [start, end); how many there were. A guard marker is copied as it is."""
    rss = [0] * lib.NR_MM_RSS
    copied = 0
    for at in not_none(src.memory, src_pte, (end - start) // PAGE_SIZE):
        addr, offset = start + at * PAGE_SIZE, at * 8
        value = src.memory.read_u64(src_pte + offset)
        if pte_present(value):
            value = _copy_present_pte(src, addr, EntryPa(src_pte + offset), vm_flags, rss)
        set_pte_at(dst, addr, EntryPa(dst_pte + offset), value)
        copied += 1
    for member, nr in enumerate(rss):
        if nr:
            add_mm_counter(dst, member, nr)
    return copied


def _copy_present_pte(
    src: MmStruct, addr: int, src_pte: EntryPa, vm_flags: int, rss: list[int]
) -> int:
    """__copy_present_ptes() for one: what the child's PTE is to be; the parent's loses W."""
    value = src.memory.read_u64(src_pte)
    if not value & SPECIAL:
        _dup_rmap(src.memory.page(entry_pfn(value)), rss)
    if is_cow_mapping(vm_flags) and value & RW:
        value = ptep_set_wrprotect(src, addr, src_pte)
    if vm_flags & lib.VM_SHARED:
        value &= ~DIRTY_BITS
    return value & ~A


def _dup_rmap(page: struct_page, rss: list[int]) -> None:
    """folio_try_dup_anon_rmap_pte() and folio_dup_file_rmap_pte(): one more PTE, of another
    process.
    """
    page._refcount += 1
    page._mapcount += 1
    page.flags &= ~lib.PG_anon_exclusive
    rss[mm_counter(page)] += 1
