# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading and writing an address space from outside, whatever its mappings allow
(__access_remote_vm() of mm/memory.c, FOLL_FORCE of mm/gup.c, v6.18): what /proc/PID/mem does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.linux import engine
from mmu.linux.gup import fault_in_page
from mmu.linux.handle_mm_fault import VM_FAULT_ERROR, peek_pte
from mmu.linux.pgtable import RW, P, entry_pfn, pte_present, pte_table, pte_wrprotect
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_IO, VM_MAYREAD, VM_MAYWRITE, VM_PFNMAP, VM_READ, VM_SHARED, VM_WRITE
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


def access_remote_vm(mm: MmStruct, addr: int, n: int) -> bytes:
    """Up to n bytes from addr on: fewer where the next page cannot be had. Faults pages in, those
    of PROT_NONE mappings too. Takes the mmap_lock for reading; may wait.
    """
    parts, end = [], addr + n
    with mm.mmap_read_lock(killable=True):
        while addr < end:
            size = min(end - addr, PAGE_SIZE - addr % PAGE_SIZE)
            pfn = _get_page(mm, addr, write=False)
            if pfn is None:
                break
            parts.append(mm.memory.read((pfn << PAGE_SHIFT) + addr % PAGE_SIZE, size))
            addr += size
    return b"".join(parts)


def write_remote_vm(mm: MmStruct, addr: int, data: bytes) -> int:
    """Write data to addr; returns how many bytes were, before a page that cannot be had. In a
    private mapping that cannot be written the page is copied all the same, and stays read-only to
    its process. Locks as access_remote_vm().
    """
    done = 0
    with mm.mmap_read_lock(killable=True):
        while done < len(data):
            at = addr + done
            part = data[done : done + PAGE_SIZE - at % PAGE_SIZE]
            pfn = _get_page(mm, at, write=True)
            if pfn is None:
                break
            page = mm.memory.page(pfn)
            if page.flags & lib.PG_code:
                mm.kernel.note_code_written(pfn << PAGE_SHIFT)
            mm.memory.write((pfn << PAGE_SHIFT) + at % PAGE_SIZE, part)
            page.flags |= lib.PG_dirty
            done += len(part)
    return done


def _get_page(mm: MmStruct, addr: int, *, write: bool) -> int | None:
    """__get_user_pages() with FOLL_FORCE, for one page: its frame, good until something waits."""
    vma = lib.find_vma(mm.c, addr)
    if vma == ffi.NULL or addr < vma.vm_start or not _check_vma_flags(vma, write):
        return None
    while not mm.fatal_signal_pending():
        pte = peek_pte(mm, addr)
        if pte_present(pte) and (not write or _can_follow_write(mm, vma, pte)):
            return entry_pfn(pte)
        if fault_in_page(mm, vma, addr, write) & VM_FAULT_ERROR:
            return None
        if write and not vma.vm_flags & VM_WRITE:
            _take_write_right(mm, addr & PAGE_MASK)
    return None


def _check_vma_flags(vma: struct_vm_area_struct_ptr, write: bool) -> bool:
    """check_vma_flags(): a forced write goes to private mappings only."""
    flags = vma.vm_flags
    if flags & (VM_IO | VM_PFNMAP):
        return False
    if write:
        return bool(flags & VM_WRITE) or flags & (VM_SHARED | VM_MAYWRITE) == VM_MAYWRITE
    return bool(flags & (VM_READ | VM_MAYREAD))


def _can_follow_write(mm: MmStruct, vma: struct_vm_area_struct_ptr, pte: int) -> bool:
    """can_follow_write_pte(): the right is there, or it is a private copy that is its own."""
    if pte & RW and pte & P:
        return True
    page = mm.memory.page(entry_pfn(pte))
    return not vma.vm_flags & VM_SHARED and bool(page.flags & lib.PG_anon_exclusive)


def _take_write_right(mm: MmStruct, addr: int) -> None:
    """maybe_mkwrite(): the fault's page is not for its process to write."""
    pmd = engine.pmd_tryget(mm, addr)
    if pmd is None:
        return
    pte = engine.pte_tryget_map_lock(mm, pmd, addr)
    engine.pmd_put(mm, pmd, addr)
    if pte is None:
        return
    table = pte_table(pte)
    old = mm.memory.read_u64(pte)
    if old & RW:
        engine.ptep_clear_flush(mm, addr, pte)
        engine.set_pte_at(mm, addr, pte, pte_wrprotect(old))
    engine.pte_unlock(mm, table)
    engine.pte_put(mm, table, addr)
