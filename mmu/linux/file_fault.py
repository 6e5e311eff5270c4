# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults for pages of files, and of shared memory (mm/memory.c, mm/filemap.c, mm/shmem.c, v6.18).

::

    do_fault()
      do_read_fault()     map the page cache, 16 pages around at once; then the page, if it was not
                          among them
      do_cow_fault()      private file, first touch is a write: a copy at once
      do_shared_fault()   shared mapping, a write

The page is locked (mmu.linux.folio) from before it is looked at whether it is the file's until its
PTE is set, so it does not leave the file meanwhile; it is found in the cache, or read. Pages around
whose lock is taken are passed by.

What sets a PTE here holds a reference of the table (map_locked()) until it is done, and adds one
for each entry that was none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux import engine
from mmu.linux.anon import mk_anon_pte
from mmu.linux.filemap import FAULT_AROUND_PAGES
from mmu.linux.folio import filemap_lock_folio, folio_unlock_put, next_uptodate_folio
from mmu.linux.pgtable import RW, D, mm_counter, pte_none, pte_table, vm_page_prot
from mmu.linux.pte_ref import PteAlloc
from mmu.linux.rmap import anon_vma_prepare
from mmu.linux.set_pte_range import Frames
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_SHARED
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

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

_PTRS_PER_PTE: Final = lib.PTRS_PER_PTE


def do_fault(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    """The PTE of addr, in a VMA of a file, was none: VM_FAULT_* bits. Takes and drops folio and PTE
    locks; may sleep.
    """
    file = mm.file(vma.vm_file)
    pgoff = vma.vm_pgoff + (addr - vma.vm_start >> PAGE_SHIFT)
    if not write:
        return _do_read_fault(mm, vma, file, addr, pgoff)
    if vma.vm_flags & VM_SHARED:
        return _do_shared_fault(mm, vma, file.mapping, addr, pgoff)
    return _do_cow_fault(mm, vma, file.mapping, addr, pgoff)


# The page.


def filemap_fault(mm: MmStruct, mapping: AddressSpace, pgoff: int) -> tuple[int, int]:
    """Find page pgoff in the page cache, or read it: VM_FAULT_* bits and the pfn, locked and with a
    reference (folio_unlock_put()) unless it failed.

    SIGBUS beyond the end of the file and where it cannot be read, OOM without a frame, MAJOR if
    data was read.
    """
    result = 0
    while True:
        result |= _page_cache_ra(mm, mapping, pgoff)
        if result & VM_FAULT_ERROR:
            return result & VM_FAULT_ERROR, 0
        pfn = filemap_lock_folio(mm.kernel, mapping, pgoff)
        if pfn is None:
            continue  # it was truncated before it could be locked
        if pgoff < mapping.nr_pages:
            return result, pfn
        folio_unlock_put(mm.kernel, pfn)


def _page_cache_ra(mm: MmStruct, mapping: AddressSpace, pgoff: int) -> int:
    """Have page pgoff in the cache now: 0 if it was, MAJOR if it was read, or an error of
    filemap_fault().
    """
    mm.kernel.instrument_read(mm.kernel, "i_pages")
    if pgoff >= mapping.nr_pages:
        return VM_FAULT_SIGBUS
    if mapping.cached(pgoff) is not None:
        return 0
    mm.kernel.instrument_write(mm.kernel, "i_pages")
    try:
        mapping.read_pages(mm.memory, pgoff)
    except OutOfMemory:
        return VM_FAULT_OOM
    except LinuxError:
        return VM_FAULT_SIGBUS
    return 0 if mapping.shmem else VM_FAULT_MAJOR


def page_mkwrite(mapping: AddressSpace, pgoff: int) -> int:
    """do_page_mkwrite(): page pgoff of a file is about to be written; SIGBUS if it could not be
    written back, as when the disk is full.
    """
    try:
        mapping.set_dirty(pgoff)
    except LinuxError:
        return VM_FAULT_SIGBUS
    return 0


def alloc_copy(mm: MmStruct, pfn: int) -> int | None:
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


# The PTE.


def map_locked(mm: MmStruct, addr: int) -> EntryPa | None:
    """The PTE of addr, its table made, held and locked; None without memory."""
    pmd = engine.pmd_alloc(mm, addr)
    if pmd is None:
        return None
    allocated, pte = engine.pte_alloc_get_map_lock(mm, pmd, addr)
    engine.pmd_put(mm, pmd, addr)
    return pte if allocated == PteAlloc.OK else None


def unlock_put(mm: MmStruct, pte: EntryPa, addr: int) -> None:
    """What every path that had map_locked() ends with: the PTE lock, then the visitor's reference
    (D10).
    """
    engine.pte_unlock(mm, pte_table(pte))
    engine.pte_put(mm, pte_table(pte), addr)


def _finish_fault(
    mm: MmStruct, addr: int, pfn: int, prot: int, mkwrite: Callable[[], int] | None = None
) -> int:
    """finish_fault(): map the page, which is locked, unless another PTE stands there now; returns
    VM_FAULT_* bits. ``mkwrite`` hears of it first, and may refuse.
    """
    result, pte = 0, map_locked(mm, addr)
    if pte is None:
        return VM_FAULT_OOM
    none = pte_none(mm.memory.read_u64(pte))
    if none and mkwrite is not None:
        result = mkwrite()
    if none and not result:
        engine.set_pte_range(mm, pte, addr, prot, 1, Frames([pfn]))
        engine.add_mm_counter(mm, mm_counter(mm.memory.page(pfn)), 1)
        engine.pte_entries_set(mm, pte_table(pte), 1)
    unlock_put(mm, pte, addr)
    return result


def vma_page_prot(vm_flags: int, mapping: AddressSpace) -> int:
    """vma_set_page_prot() of a file's VMA: a shared page may be written at once only if nobody is
    to hear of it.
    """
    return vm_page_prot(vm_flags & ~VM_SHARED if mapping.writenotify else vm_flags)


# The kinds of faults.


def _do_read_fault(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, file: MappedFile, addr: int, pgoff: int
) -> int:
    """Map what the cache holds of the 16 pages around; then page pgoff if it was not among them."""
    mapping, result = file.mapping, 0
    if not mapping.shmem and pgoff < mapping.nr_pages:
        result = _page_cache_ra(mm, mapping, pgoff)
        if result & VM_FAULT_ERROR:
            return result
    if not file.special:
        around = _do_fault_around(mm, vma, mapping, addr, pgoff)
        if around & VM_FAULT_OOM:
            return around
        if around & VM_FAULT_NOPAGE:
            return result
    fault, pfn = filemap_fault(mm, mapping, pgoff)
    result |= fault
    if result & VM_FAULT_ERROR:
        return result
    result |= _finish_fault(mm, addr, pfn, vma_page_prot(vma.vm_flags, mapping))
    folio_unlock_put(mm.kernel, pfn)
    return result


def _do_fault_around(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, mapping: AddressSpace, addr: int, pgoff: int
) -> int:
    """Map the cached pages around, within VMA, table and file, where no PTE is set: OOM, or NOPAGE
    if addr has a PTE then.

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
    if mapping.shmem:
        mm.kernel.instrument_read(mm.kernel, "i_pages")
    else:
        mm.kernel.instrument_write(mm.kernel, "i_pages")
    mapping.read_ahead(mm.memory, around.start, around.stop)
    if not any(mapping.frames(around)):
        return 0
    pte = map_locked(mm, addr)
    if pte is None:
        return VM_FAULT_OOM
    start = addr + (first - index << PAGE_SHIFT)
    _filemap_map_pages(mm, mapping, EntryPa(pte + (first - index) * 8), start, around, vma.vm_flags)
    done = VM_FAULT_NOPAGE if not pte_none(mm.memory.read_u64(pte)) else 0
    unlock_put(mm, pte, addr)
    return done


def _filemap_map_pages(
    mm: MmStruct,
    mapping: AddressSpace,
    pte: EntryPa,
    start: int,
    around: range,
    vm_flags: int,
) -> None:
    """filemap_map_pages(): map those of the pages that are cached and not locked, from pte on,
    whose table is held and locked.
    """
    locked = _next_uptodate_folios(mm, mapping, around)
    mapped = engine.set_pte_range(
        mm, pte, start, vma_page_prot(vm_flags, mapping), len(around), Frames(locked)
    )
    engine.add_mm_counter(mm, lib.MM_SHMEMPAGES if mapping.shmem else lib.MM_FILEPAGES, mapped)
    engine.pte_entries_set(mm, pte_table(pte), mapped)
    if not mm.native:
        for pfn in filter(None, locked):
            folio_unlock_put(mm.kernel, pfn)


def _next_uptodate_folios(mm: MmStruct, mapping: AddressSpace, around: range) -> list[int]:
    """The frames of the cached pages, each locked and with a reference; 0 for those that are not
    cached, or whose lock is taken.

    Under the C engine nobody else runs until they are mapped: that the locks are free is enough.
    """
    if mm.native:
        page, frames = mm.memory.page, mapping.frames(around)
        return [pfn if pfn and not page(pfn).flags & lib.PG_locked else 0 for pfn in frames]
    return [next_uptodate_folio(mm.kernel, mapping, pgoff) for pgoff in around]


def _do_shared_fault(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, mapping: AddressSpace, addr: int, pgoff: int
) -> int:
    result, pfn = filemap_fault(mm, mapping, pgoff)
    if result & VM_FAULT_ERROR:
        return result
    result |= _finish_fault(
        mm,
        addr,
        pfn,
        vm_page_prot(vma.vm_flags) | RW | D,
        (lambda: page_mkwrite(mapping, pgoff)) if mapping.writenotify else None,
    )
    if not result & VM_FAULT_ERROR:
        mm.memory.page(pfn).flags |= lib.PG_dirty  # fault_dirty_shared_page()
    folio_unlock_put(mm.kernel, pfn)
    return result


def _do_cow_fault(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, mapping: AddressSpace, addr: int, pgoff: int
) -> int:
    anon_vma_prepare(mm, vma)
    result, pfn = filemap_fault(mm, mapping, pgoff)
    if result & VM_FAULT_ERROR:
        return result
    copy = alloc_copy(mm, pfn)
    if copy is None:
        result |= VM_FAULT_OOM
    else:
        result |= _map_copy(mm, vma, addr, copy)
    folio_unlock_put(mm.kernel, pfn)
    return result


def _map_copy(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, copy: int) -> int:
    """finish_fault() of a private copy, which goes if it is not mapped."""
    pte = map_locked(mm, addr)
    if pte is None:
        mm.memory.put_page(copy)
        return VM_FAULT_OOM
    if pte_none(mm.memory.read_u64(pte)):
        engine.set_pte_at(mm, addr, pte, mk_anon_pte(copy, vma.vm_flags))
        engine.add_mm_counter(mm, lib.MM_ANONPAGES, 1)
        engine.pte_entries_set(mm, pte_table(pte), 1)
    else:
        mm.memory.put_page(copy)
    unlock_put(mm, pte, addr)
    return 0
