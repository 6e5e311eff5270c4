# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults on anonymous private memory: do_anonymous_page() and what of do_wp_page() it needs
(mm/memory.c, v6.18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.errors import OutOfMemory
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID, MM_COUNTER_ID
from mmu.linux.locks import pte_unlock
from mmu.linux.mmu_gather import flush_is_owed
from mmu.linux.pgtable import (
    RW,
    SPECIAL,
    A,
    D,
    P,
    add_mm_counter,
    entry_pfn,
    mm_find_pmd,
    pmd_huge,
    pmd_none,
    pte_mksaveddirty,
    pte_none,
    pte_offset,
    pte_table,
    set_pte_at,
    table_page,
    vm_page_prot,
)
from mmu.linux.pmd_ref import pmd_alloc, pmd_alloc_waits, pmd_put
from mmu.linux.policies import policy_of
from mmu.linux.pt_reclaim import table_is_counted
from mmu.linux.pte_ref import PteAlloc, pte_alloc_get_map_lock, pte_entries_set, pte_put
from mmu.linux.rmap import anon_vma_prepare
from mmu.linux.state import MmStruct
from mmu.linux.tlbflush import flush_tlb_is_local, ptep_clear_flush
from mmu.linux.tracepoint import Span, emit
from mmu.twin import EntryPa
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    from mmu._native import struct_page, struct_vm_area_struct_ptr

_PAGE_FAULT_USER: Final = EVENT_ID["page_fault_user"]
_VMA_LOCK: Final = EVENT_ID["vma_lock"]
_PGFAULT: Final = MM_COUNTER_ID["pgfault"]
_VMA_LOCK_SUCCESS: Final = KERNEL_COUNTER_ID["vma_lock_success"]

_FAULT_FRAMES_MAX: Final = 4  # PUD, PMD and PTE table, and the page


def do_anonymous_fault(mm: MmStruct, address: int, write: bool) -> int:
    """Resolve a fault of an anonymous private VMA at address, which exists and allows the access.

    First touch gives a fresh zeroed page, or for a read the zero page; a write to the zero page
    gives a fresh one; a write to a page of this mm alone that lost W gets it back. Returns
    VM_FAULT_* bits: 0 done, OOM, NOPAGE (nothing was left to do), FALLBACK (another case; nothing
    was changed). Takes and drops the PTE lock and a visitor reference.
    """
    vma = lib.find_vma(mm.c, address)
    if vma == ffi.NULL or address < vma.vm_start or vma.vm_file:
        return lib.VM_FAULT_FALLBACK
    return _handle_pte_fault(mm, vma, address & PAGE_MASK, write)


def mm_fast_fault(mm: MmStruct, address: int, error_code: int) -> bool:
    """If the fault is one of do_anonymous_fault()'s and sure to succeed, count and resolve it; else
    change nothing.

    What the CPU's fill hook calls before it gives up and lets the long way (handle_user_fault())
    run. It never waits: a lock that is held, a flush that needs another CPU mean no. It is a fault
    under the lock of its VMA (mmu.linux.vma_lock), which nobody can see held. Its events are
    those of the long way.
    """
    write = bool(error_code & lib.PF_WR)
    memory = mm.memory.c
    if memory.nr_free < _FAULT_FRAMES_MAX or memory.fail_after != U64:
        return False
    vma = lib.find_vma(mm.c, address)
    if error_code & lib.PF_RSVD or vma == ffi.NULL or address < vma.vm_start or vma.vm_file:
        return False
    if (
        vma.vm_flags & lib.VM_SHARED
        or access_error(vma.vm_flags, error_code)
        or not _vma_lock_suffices(mm, vma, write)
        or not _is_common(mm, address, write)
    ):
        return False
    mm.kernel.c.counter[_VMA_LOCK_SUCCESS] += 1
    mm.c.counter[_PGFAULT] += 1
    pgd, addr = mm.c.pgd, address & PAGE_MASK
    emit(mm.kernel, _PAGE_FAULT_USER, address, error_code, pgd, site="handle_user_fault")
    with Span(mm.kernel, "do_user_addr_fault", address, address + 1, pgd):
        with Span(mm.kernel, "handle_mm_fault", addr, addr + PAGE_SIZE, pgd) as span:
            result = span.ret = _handle_pte_fault(mm, vma, addr, write)
        won = lib.VMA_LOCK_SUCCESS
        emit(mm.kernel, _VMA_LOCK, won, address, pgd, site="do_user_addr_fault")
    return not result & (lib.VM_FAULT_OOM | lib.VM_FAULT_FALLBACK)


def access_error(vm_flags: int, error_code: int) -> bool:
    """Whether a VMA of these flags forbids what the page fault's error code says was tried
    (arch/x86/mm/fault.c).
    """
    if error_code & lib.PF_WR:
        return not vm_flags & lib.VM_WRITE
    if error_code & lib.PF_ID:
        return not vm_flags & lib.VM_EXEC
    return bool(error_code & lib.PF_P) or not vm_flags & (lib.VM_READ | lib.VM_WRITE | lib.VM_EXEC)


def _handle_pte_fault(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    pmd = pmd_alloc(mm, addr)
    if pmd is None:
        return lib.VM_FAULT_OOM
    allocated, pte = pte_alloc_get_map_lock(mm, pmd, addr)
    pmd_put(mm, pmd, addr)
    if allocated != PteAlloc.OK:
        return lib.VM_FAULT_OOM if allocated == PteAlloc.OOM else lib.VM_FAULT_FALLBACK
    result = _resolve_locked(mm, vma, pte, addr, write)
    pte_unlock(mm, pte_table(pte))
    pte_put(mm, pte_table(pte), addr)
    return result


def _resolve_locked(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, pte: EntryPa, addr: int, write: bool
) -> int:
    value = mm.memory.read_u64(pte)
    if pte_none(value):
        return _do_anonymous_page(mm, vma, pte, addr, write)
    if not value & P:
        return lib.VM_FAULT_FALLBACK
    if write and not value & RW:
        return _do_wp_page(mm, vma, pte, addr)
    return lib.VM_FAULT_NOPAGE


def _do_anonymous_page(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, pte: EntryPa, addr: int, write: bool
) -> int:
    if write:
        anon_vma_prepare(mm, vma)
        pfn = _alloc_anon_page(mm, vma)
        if pfn is None:
            return lib.VM_FAULT_OOM
        value = mk_anon_pte(pfn, vma.vm_flags)
        add_mm_counter(mm, lib.MM_ANONPAGES, 1)
    else:
        value = mm.memory.zero_pfn << PAGE_SHIFT | vm_page_prot(vma.vm_flags) | SPECIAL
    set_pte_at(mm, addr, pte, value)
    pte_entries_set(mm, pte_table(pte), 1)
    return 0


def _do_wp_page(mm: MmStruct, vma: struct_vm_area_struct_ptr, pte: EntryPa, addr: int) -> int:
    value = mm.memory.read_u64(pte)
    if entry_pfn(value) == mm.memory.zero_pfn:
        anon_vma_prepare(mm, vma)
        pfn = _alloc_anon_page(mm, vma)
        if pfn is None:
            return lib.VM_FAULT_OOM
        add_mm_counter(mm, lib.MM_ANONPAGES, 1)
        value = mk_anon_pte(pfn, vma.vm_flags)
        ptep_clear_flush(mm, addr, pte)
        set_pte_at(mm, addr, pte, value)
    elif can_reuse(mm, value):
        mm.memory.page(entry_pfn(value)).flags |= lib.PG_anon_exclusive
        set_pte_at(mm, addr, pte, pte_mksaveddirty(value | RW | D | A))
    else:
        return lib.VM_FAULT_FALLBACK
    return 0


def mk_anon_pte(pfn: int, vm_flags: int) -> int:
    """The PTE of a page that a write fault brought: writable, dirty and accessed at once."""
    return pfn << PAGE_SHIFT | vm_page_prot(vm_flags) | RW | D


def is_exclusive(mm: MmStruct, pte: int) -> bool:
    """PageAnonExclusive(): whether a present PTE's page is anonymous, and no other process can map
    it.
    """
    return bool(mm.memory.page(entry_pfn(pte)).flags & lib.PG_anon_exclusive)


def can_reuse(mm: MmStruct, pte: int) -> bool:
    """Whether a write may go to the page of a present PTE itself: an anonymous one that is
    exclusive, or whose other owners are all gone (wp_can_reuse_anon_folio()).
    """
    page: struct_page = mm.memory.page(entry_pfn(pte))
    flags = page.flags
    return bool(flags & lib.PG_anon) and bool(flags & lib.PG_anon_exclusive or page._refcount == 1)


def _alloc_anon_page(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> int | None:
    try:
        pfn = mm.memory.alloc_pages()
    except OutOfMemory:
        return None
    page = mm.memory.page(pfn)
    page.flags |= lib.PG_anon | lib.PG_anon_exclusive
    if not vma.vm_flags & lib.VM_DROPPABLE:
        page.flags |= lib.PG_swapbacked
    page._mapcount = 1
    return pfn


def _vma_lock_suffices(mm: MmStruct, vma: struct_vm_area_struct_ptr, write: bool) -> bool:
    """Whether the fault may run under the lock of its VMA: not if a writer has it or waits for it;
    and what gives the VMA an anon_vma must get mmap_lock for reading (vmf_anon_prepare()), the long
    way.
    """
    if vma.vm_lock_seq == mm.c.mm_lock_seq or vma.vm_refcnt >= lib.VMA_LOCK_OFFSET:
        return False
    return not write or bool(vma.anon_vma)


def _is_common(mm: MmStruct, addr: int, write: bool) -> bool:
    pmd = mm_find_pmd(mm, addr)
    if pmd is None:
        return not pmd_alloc_waits(mm, addr)
    pmdval = mm.memory.read_u64(pmd)
    if table_page(mm, pmd).ptl:
        return False
    if table_is_counted(mm, 2) and not table_page(mm, pmd).pte_refcount:
        return False
    if pmd_none(pmdval):
        return not flush_is_owed(mm, pmd) or flush_tlb_is_local(mm)
    if pmd_huge(pmdval):
        return False
    table = mm.memory.page(entry_pfn(pmdval))
    if table.ptl or policy_of(mm.kernel).is_dead(mm, entry_pfn(pmdval)):
        return False
    value = mm.memory.read_u64(pte_offset(pmdval, addr))
    if pte_none(value):
        return True
    if not write or value & (P | RW) != P:
        return False
    if entry_pfn(value) == mm.memory.zero_pfn:
        return flush_tlb_is_local(mm)
    return can_reuse(mm, value)
