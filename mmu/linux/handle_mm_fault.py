# SPDX-License-Identifier: GPL-2.0-or-later
"""From a VMA to the kind of fault (mm/memory.c, v6.18).

::

    handle_mm_fault()            counts; by kind of VMA:
      engine.do_anonymous_fault()  anonymous memory, the zero page, write rights that came back
      do_fault()                   a page of a file (mmu.linux.file_fault)
      do_wp_page()                 a write to a read-only PTE: a copy, or the right itself

What sets a PTE here holds a reference of the table (pte_alloc_get_map_lock()) until it is done, and
adds one for each entry that was none. A huge PMD (mmu.linux.huge_memory) stays, but that a write
which it does not allow splits it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import MM_COUNTER_ID
from mmu.linux import engine
from mmu.linux.anon import can_reuse, mk_anon_pte
from mmu.linux.file_fault import VM_FAULT_ERROR as VM_FAULT_ERROR
from mmu.linux.file_fault import VM_FAULT_FALLBACK as VM_FAULT_FALLBACK
from mmu.linux.file_fault import VM_FAULT_MAJOR as VM_FAULT_MAJOR
from mmu.linux.file_fault import VM_FAULT_NOPAGE as VM_FAULT_NOPAGE
from mmu.linux.file_fault import VM_FAULT_OOM as VM_FAULT_OOM
from mmu.linux.file_fault import VM_FAULT_RETRY as VM_FAULT_RETRY
from mmu.linux.file_fault import VM_FAULT_SIGBUS as VM_FAULT_SIGBUS
from mmu.linux.file_fault import VM_FAULT_SIGSEGV as VM_FAULT_SIGSEGV
from mmu.linux.file_fault import alloc_copy, do_fault, map_locked, page_mkwrite, unlock_put
from mmu.linux.huge_memory import split_huge_pmd
from mmu.linux.pgtable import (
    PMD_MASK,
    RW,
    SPECIAL,
    A,
    D,
    P,
    entry_pfn,
    is_guard_pte_marker,
    mm_counter,
    pmd_huge,
    pte_mksaveddirty,
    pte_none,
    pte_of_huge_pmd,
    pte_offset,
)
from mmu.linux.rmap import anon_vma_prepare
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import Span
from mmu.linux.vma import VM_SHARED
from mmu.twin import EntryPa
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr
    from mmu.linux.filemap import AddressSpace

_PGFAULT: Final = MM_COUNTER_ID["pgfault"]
_PGMAJFAULT: Final = MM_COUNTER_ID["pgmajfault"]


def handle_mm_fault(
    mm: MmStruct,
    vma: struct_vm_area_struct_ptr,
    address: int,
    write: bool,
    *,
    vma_locked: bool = False,
) -> int:
    """Bring in the page of address in this VMA, which allows the access; counts pgfault and
    pgmajfault.

    mmap_lock is held, or the VMA alone is (``vma_locked``, FAULT_FLAG_VMA_LOCK). Returns VM_FAULT_*
    bits: OOM, SIGBUS and SIGSEGV (a guard marker) are failures, MAJOR says that file data was read,
    NOPAGE that nothing was left to do, RETRY that it takes mmap_lock (nothing was counted). Takes
    and drops the PTE lock and a visitor reference; may wait.
    """
    if vma_locked and not _vma_lock_suffices(mm, vma, write):
        return VM_FAULT_RETRY
    mm.c.counter[_PGFAULT] += 1
    addr = address & -PAGE_SIZE
    with Span(mm.kernel, "handle_mm_fault", addr, addr + PAGE_SIZE, mm.c.pgd) as span:
        result = span.ret = _handle_counted(mm, vma, addr, write)
    if result & VM_FAULT_MAJOR:
        mm.c.counter[_PGMAJFAULT] += 1
    return result


def _handle_counted(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    """__handle_mm_fault()."""
    result = VM_FAULT_FALLBACK
    if not vma.vm_file:
        result = engine.do_anonymous_fault(mm, addr, write)
    if result & VM_FAULT_FALLBACK:
        pmd = engine.pmd_alloc(mm, addr)
        if pmd is None:
            return VM_FAULT_OOM
        if mm.vm_hugepage and pmd_huge(mm.memory.read_u64(pmd)):
            result = _handle_huge_pmd(mm, pmd, addr, write)
        else:
            result = _handle_pte_fault(mm, vma, addr, write)
        engine.pmd_put(mm, pmd, addr)
    return result


def _handle_huge_pmd(mm: MmStruct, pmd: EntryPa, addr: int, write: bool) -> int:
    """The fault of a huge PMD, whose PMD table is visited: wait for who splits it, and have the
    access tried again; a write that it does not allow splits it (do_huge_pmd_wp_page()).
    """
    engine.pmd_lock(mm, pmd)
    pmdval = mm.memory.read_u64(pmd)
    engine.pmd_unlock(mm, pmd)
    if pmd_huge(pmdval) and write and not pmdval & RW:
        split_huge_pmd(mm, addr & PMD_MASK)
    return VM_FAULT_NOPAGE


def _vma_lock_suffices(mm: MmStruct, vma: struct_vm_area_struct_ptr, write: bool) -> bool:
    """Whether the VMA's lock alone will do. Not for mappings of the kernel's own pages
    (vmf_can_call_fault()); and the first private write gives the VMA an anon_vma, which mmap_lock
    guards: it does if that is free for reading (vmf_anon_prepare()).
    """
    if vma.vm_file and mm.file(vma.vm_file).special:
        return False
    if not write or vma.anon_vma or vma.vm_flags & VM_SHARED:
        return True
    if not mm.mmap_lock.read_trylock():
        return False
    anon_vma_prepare(mm, vma)
    mm.mmap_lock.unlock(write=False)
    return True


def peek_pte(mm: MmStruct, addr: int) -> int:
    """ptep_get_lockless(): the PTE of addr as it is now, 0 where there is no table; of a huge PMD
    what it would be. Whoever acts on it checks again.
    """
    pmd = engine.mm_find_pmd(mm, addr)
    if pmd is None:
        return 0
    pmdval = mm.memory.read_u64(pmd)
    if not pmdval & P:
        return 0
    if pmd_huge(pmdval):
        return pte_of_huge_pmd(pmdval, addr)
    return mm.memory.read_u64(pte_offset(pmdval, addr))


def _handle_pte_fault(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    pte = peek_pte(mm, addr)
    if pte_none(pte):
        if not vma.vm_file:
            return VM_FAULT_NOPAGE  # zapped since do_anonymous_fault() looked
        return do_fault(mm, vma, addr, write)
    if is_guard_pte_marker(pte):
        return VM_FAULT_SIGSEGV
    if write and not pte & RW:
        return _do_wp_page(mm, vma, addr, pte)
    return VM_FAULT_NOPAGE


# Writes to read-only PTEs.


def _do_wp_page(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, orig: int) -> int:
    """A write where the VMA allows it and the PTE does not: the right for shared memory and for a
    page that nobody else has any more, else a private copy.
    """
    if vma.vm_flags & VM_SHARED:
        return _wp_page_reuse(mm, addr, orig, mm.file(vma.vm_file).mapping)
    if can_reuse(mm, orig):
        return _wp_page_reuse(mm, addr, orig, None)
    return _wp_page_copy(mm, vma, addr, orig)


def _wp_page_reuse(mm: MmStruct, addr: int, orig: int, mapping: AddressSpace | None) -> int:
    """wp_page_reuse(), or with the ``mapping`` that the page is of wp_page_shared(): have the PTE
    give the right.
    """
    result, pte = 0, map_locked(mm, addr)
    if pte is None:
        return VM_FAULT_OOM
    if mm.memory.read_u64(pte) == orig:
        page = mm.memory.page(entry_pfn(orig))
        if page.flags & lib.PG_anon:
            page.flags |= lib.PG_anon_exclusive
        elif mapping is not None and mapping.writenotify:
            result = page_mkwrite(mapping, page.index)
        if not result:
            if mapping is not None:
                page.flags |= lib.PG_dirty
            engine.set_pte_at(mm, addr, pte, pte_mksaveddirty(orig | RW | D | A))
    unlock_put(mm, pte, addr)
    return result


def _wp_page_copy(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, orig: int) -> int:
    """wp_page_copy(): the old page is kept while the table's lock is waited for, so that an equal
    PTE means the same page.
    """
    anon_vma_prepare(mm, vma)
    old = entry_pfn(orig)
    copy = alloc_copy(mm, old)
    if copy is None:
        return VM_FAULT_OOM
    mm.memory.page(old)._refcount += 1
    result = _exchange_page(mm, vma, addr, orig, copy)
    mm.memory.put_page(old)
    return result


def _exchange_page(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, orig: int, copy: int
) -> int:
    """Map the copy instead of what orig maps; the copy goes if another PTE stands there now."""
    pte = map_locked(mm, addr)
    if pte is None:
        mm.memory.put_page(copy)
        return VM_FAULT_OOM
    same = mm.memory.read_u64(pte) == orig
    if same:
        engine.ptep_clear_flush(mm, addr, pte)
        engine.set_pte_at(mm, addr, pte, mk_anon_pte(copy, vma.vm_flags))
        if orig & SPECIAL:
            engine.add_mm_counter(mm, lib.MM_ANONPAGES, 1)
        else:
            _drop_rmap(mm, entry_pfn(orig))
    else:
        mm.memory.put_page(copy)
    unlock_put(mm, pte, addr)
    return 0


def _drop_rmap(mm: MmStruct, pfn: int) -> None:
    """A PTE that an anonymous page took the place of maps the frame no more."""
    old = mm.memory.page(pfn)
    old._mapcount -= 1
    if not old.flags & lib.PG_anon:
        engine.add_mm_counter(mm, mm_counter(old), -1)
        engine.add_mm_counter(mm, lib.MM_ANONPAGES, 1)
    mm.memory.put_page(pfn)
