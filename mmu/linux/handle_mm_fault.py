# SPDX-License-Identifier: GPL-2.0-or-later
"""From a VMA to the kind of fault (mm/memory.c, v6.18).

::

    handle_mm_fault()            counts; by kind of VMA:
      engine.do_anonymous_fault()  anonymous memory, the zero page, write rights that came back
      do_read_fault()              file: map the page cache, 16 pages around at once
      do_cow_fault()               private file, first touch is a write: a copy at once
      do_shared_fault()            shared memory, a write
      do_wp_page()                 a write to a read-only PTE: a copy, or the right itself

What sets a PTE here holds a reference of the table (pte_alloc_get_map_lock()) until it is done, and
adds one for each entry that was none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.errors import LinuxError, OutOfMemory
from mmu.events import MM_COUNTER_ID
from mmu.linux import engine
from mmu.linux.anon import can_reuse, mk_anon_pte
from mmu.linux.filemap import FAULT_AROUND_PAGES
from mmu.linux.pgtable import (
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
    pte_offset,
    pte_table,
    vm_page_prot,
)
from mmu.linux.pte_ref import PteAlloc
from mmu.linux.rmap import anon_vma_prepare
from mmu.linux.set_pte_range import Frames
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import Span
from mmu.linux.vma import VM_SHARED
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr
    from mmu.linux.filemap import AddressSpace, MappedFile

VM_FAULT_OOM: Final = lib.VM_FAULT_OOM
VM_FAULT_SIGBUS: Final = lib.VM_FAULT_SIGBUS
VM_FAULT_MAJOR: Final = lib.VM_FAULT_MAJOR
VM_FAULT_NOPAGE: Final = lib.VM_FAULT_NOPAGE
VM_FAULT_FALLBACK: Final = lib.VM_FAULT_FALLBACK
VM_FAULT_SIGSEGV: Final = lib.VM_FAULT_SIGSEGV
VM_FAULT_RETRY: Final = lib.VM_FAULT_RETRY
VM_FAULT_ERROR: Final = VM_FAULT_OOM | VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV

_PGFAULT: Final = MM_COUNTER_ID["pgfault"]
_PGMAJFAULT: Final = MM_COUNTER_ID["pgmajfault"]
_PTRS_PER_PTE: Final = lib.PTRS_PER_PTE


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
        result = _handle_pte_fault(mm, vma, addr, write)
        engine.pmd_put(mm, pmd, addr)
    return result


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
    """ptep_get_lockless(): the PTE of addr as it is now, 0 where there is no table. Whoever acts on
    it checks again.
    """
    pmd = engine.mm_find_pmd(mm, addr)
    if pmd is None:
        return 0
    pmdval = mm.memory.read_u64(pmd)
    if not pmdval & P or pmd_huge(pmdval):
        return 0
    return mm.memory.read_u64(pte_offset(pmdval, addr))


def _handle_pte_fault(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    pte = peek_pte(mm, addr)
    if pte_none(pte):
        if not vma.vm_file:
            return VM_FAULT_NOPAGE  # zapped since do_anonymous_fault() looked
        return _do_fault(mm, vma, addr, write)
    if is_guard_pte_marker(pte):
        return VM_FAULT_SIGSEGV
    if write and not pte & RW:
        return _do_wp_page(mm, vma, addr, pte)
    return VM_FAULT_NOPAGE


def _do_fault(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    file = mm.file(vma.vm_file)
    pgoff = vma.vm_pgoff + (addr - vma.vm_start >> PAGE_SHIFT)
    if not write:
        return _do_read_fault(mm, vma, file, addr, pgoff)
    if vma.vm_flags & VM_SHARED:
        return _do_shared_fault(mm, vma, file.mapping, addr, pgoff)
    return _do_cow_fault(mm, vma, file.mapping, addr, pgoff)


# Pages of files.


def filemap_fault(mm: MmStruct, mapping: AddressSpace, pgoff: int) -> tuple[int, int]:
    """Find page pgoff in the page cache, or read it: VM_FAULT_* bits and the pfn.

    SIGBUS beyond the end of the file and where it cannot be read, OOM without a frame, MAJOR if
    data was read.
    """
    if pgoff >= mapping.nr_pages:
        return VM_FAULT_SIGBUS, 0
    pfn = mapping.cached(pgoff)
    if pfn is not None:
        return 0, pfn
    try:
        return 0 if mapping.shmem else VM_FAULT_MAJOR, mapping.read_pages(mm.memory, pgoff)
    except OutOfMemory:
        return VM_FAULT_OOM, 0
    except LinuxError:
        return VM_FAULT_SIGBUS, 0


def page_mkwrite(mapping: AddressSpace, pgoff: int) -> int:
    """do_page_mkwrite(): page pgoff of a file is about to be written; SIGBUS if it could not be
    written back, as when the disk is full.
    """
    try:
        mapping.set_dirty(pgoff)
    except LinuxError:
        return VM_FAULT_SIGBUS
    return 0


def vma_page_prot(vm_flags: int, mapping: AddressSpace) -> int:
    """vma_set_page_prot() of a file's VMA: a shared page may be written at once only if nobody is
    to hear of it.
    """
    return vm_page_prot(vm_flags & ~VM_SHARED if mapping.writenotify else vm_flags)


# A page that left the cache while the table's lock was waited for is not mapped: the access faults
# again. Linux keeps the folio locked instead.


def _map_locked(mm: MmStruct, addr: int) -> EntryPa | None:
    """The PTE of addr, its table made, held and locked; None without memory."""
    pmd = engine.pmd_alloc(mm, addr)
    if pmd is None:
        return None
    allocated, pte = engine.pte_alloc_get_map_lock(mm, pmd, addr)
    engine.pmd_put(mm, pmd, addr)
    return pte if allocated == PteAlloc.OK else None


def _unlock_put(mm: MmStruct, pte: EntryPa, addr: int) -> None:
    """What every path that had _map_locked() ends with: the PTE lock, then the visitor's reference
    (D10).
    """
    engine.pte_unlock(mm, pte_table(pte))
    engine.pte_put(mm, pte_table(pte), addr)


def _set_file_pte(mm: MmStruct, addr: int, pte: EntryPa, pfn: int, prot: int) -> None:
    """set_pte_range() for one page-cache page, whose PTE is none."""
    engine.set_pte_range(mm, pte, addr, prot, 1, Frames([pfn]))


def _do_read_fault(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, file: MappedFile, addr: int, pgoff: int
) -> int:
    """Map what the cache holds of the 16 pages around; then page pgoff if it was not among them."""
    mapping, result = file.mapping, 0
    if not mapping.shmem and pgoff < mapping.nr_pages:
        result, _ = filemap_fault(mm, mapping, pgoff)
        if result & VM_FAULT_ERROR:
            return result
    if not file.special:
        if not _do_fault_around(mm, vma, mapping, addr, pgoff):
            return VM_FAULT_OOM
        if mapping.cached(pgoff) is not None:
            return result
    result, pfn = filemap_fault(mm, mapping, pgoff)
    if result & VM_FAULT_ERROR:
        return result
    pte = _map_locked(mm, addr)
    if pte is None:
        return VM_FAULT_OOM
    if pte_none(mm.memory.read_u64(pte)) and mapping.cached(pgoff) == pfn:
        _set_file_pte(mm, addr, pte, pfn, vma_page_prot(vma.vm_flags, mapping))
        engine.add_mm_counter(mm, mm_counter(mm.memory.page(pfn)), 1)
        engine.pte_entries_set(mm, pte_table(pte), 1)
    _unlock_put(mm, pte, addr)
    return result


def _do_fault_around(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, mapping: AddressSpace, addr: int, pgoff: int
) -> bool:
    """Map the cached pages around, within VMA, table and file, where no PTE is set; False: out of
    memory.

    Pages of files are read first, as where the whole file is in the cache; those of shared memory
    are not made.
    """
    index = addr >> PAGE_SHIFT & (_PTRS_PER_PTE - 1)
    in_vma = addr - vma.vm_start >> PAGE_SHIFT
    vma_pages = vma.vm_end - vma.vm_start >> PAGE_SHIFT
    first = max(index & -FAULT_AROUND_PAGES, index - min(index, in_vma))
    end = min(
        first + FAULT_AROUND_PAGES,
        _PTRS_PER_PTE,
        index + vma_pages - in_vma,
        index + mapping.nr_pages - pgoff,
    )
    around = range(pgoff + first - index, pgoff + end - index)
    mapping.read_ahead(mm.memory, around.start, around.stop)
    if not any(mapping.frames(around)):
        return True
    pte = _map_locked(mm, addr)
    if pte is None:
        return False
    prot, frames = vma_page_prot(vma.vm_flags, mapping), Frames(mapping.frames(around))
    entry = EntryPa(pte + (first - index) * 8)
    start = addr + (first - index << PAGE_SHIFT)
    mapped = engine.set_pte_range(mm, entry, start, prot, len(around), frames)
    engine.add_mm_counter(mm, lib.MM_SHMEMPAGES if mapping.shmem else lib.MM_FILEPAGES, mapped)
    engine.pte_entries_set(mm, pte_table(pte), mapped)
    _unlock_put(mm, pte, addr)
    return True


def _do_shared_fault(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, mapping: AddressSpace, addr: int, pgoff: int
) -> int:
    result, pfn = filemap_fault(mm, mapping, pgoff)
    if result & VM_FAULT_ERROR:
        return result
    pte = _map_locked(mm, addr)
    if pte is None:
        return VM_FAULT_OOM
    if pte_none(mm.memory.read_u64(pte)) and mapping.cached(pgoff) == pfn:
        if mapping.writenotify:
            result |= page_mkwrite(mapping, pgoff)
        if result & VM_FAULT_ERROR:
            _unlock_put(mm, pte, addr)
            return result
        _set_file_pte(mm, addr, pte, pfn, vm_page_prot(vma.vm_flags) | RW | D)
        mm.memory.page(pfn).flags |= lib.PG_dirty  # fault_dirty_shared_page()
        engine.add_mm_counter(mm, mm_counter(mm.memory.page(pfn)), 1)
        engine.pte_entries_set(mm, pte_table(pte), 1)
    _unlock_put(mm, pte, addr)
    return result


def _alloc_copy(mm: MmStruct, pfn: int) -> int | None:
    """An anonymous page with the bytes of frame pfn, about to be mapped by one PTE; None: out of
    memory.
    """
    memory = mm.memory
    try:
        copy = memory.alloc_pages(zero=False)
    except OutOfMemory:
        return None
    page = memory.page(copy)
    page.flags |= lib.PG_anon | lib.PG_swapbacked | lib.PG_anon_exclusive
    page._mapcount = 1
    ram, base = memory.c.ram, memory.base
    ffi.memmove(ram + ((copy << PAGE_SHIFT) - base), ram + ((pfn << PAGE_SHIFT) - base), PAGE_SIZE)
    return copy


def _do_cow_fault(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, mapping: AddressSpace, addr: int, pgoff: int
) -> int:
    anon_vma_prepare(mm, vma)
    result, pfn = filemap_fault(mm, mapping, pgoff)
    if result & VM_FAULT_ERROR:
        return result
    copy = _alloc_copy(mm, pfn)
    if copy is None:
        return VM_FAULT_OOM
    pte = _map_locked(mm, addr)
    if pte is None:
        mm.memory.put_page(copy)
        return VM_FAULT_OOM
    if pte_none(mm.memory.read_u64(pte)) and mapping.cached(pgoff) == pfn:
        engine.set_pte_at(mm, addr, pte, mk_anon_pte(copy, vma.vm_flags))
        engine.add_mm_counter(mm, lib.MM_ANONPAGES, 1)
        engine.pte_entries_set(mm, pte_table(pte), 1)
    else:
        mm.memory.put_page(copy)
    _unlock_put(mm, pte, addr)
    return result


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
    result, pte = 0, _map_locked(mm, addr)
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
    _unlock_put(mm, pte, addr)
    return result


def _wp_page_copy(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, orig: int) -> int:
    """wp_page_copy(): the old page is kept while the table's lock is waited for, so that an equal
    PTE means the same page.
    """
    anon_vma_prepare(mm, vma)
    old = entry_pfn(orig)
    copy = _alloc_copy(mm, old)
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
    pte = _map_locked(mm, addr)
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
    _unlock_put(mm, pte, addr)
    return 0


def _drop_rmap(mm: MmStruct, pfn: int) -> None:
    """A PTE that an anonymous page took the place of maps the frame no more."""
    old = mm.memory.page(pfn)
    old._mapcount -= 1
    if not old.flags & lib.PG_anon:
        engine.add_mm_counter(mm, mm_counter(old), -1)
        engine.add_mm_counter(mm, lib.MM_ANONPAGES, 1)
    mm.memory.put_page(pfn)
