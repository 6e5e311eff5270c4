# SPDX-License-Identifier: GPL-2.0-or-later
"""Faulting pages in before their use: MAP_POPULATE, MADV_POPULATE_*, mlock() (mm/gup.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.linux.handle_mm_fault import VM_FAULT_ERROR, VM_FAULT_OOM, handle_mm_fault, peek_pte
from mmu.linux.pgtable import RW, D, P, entry_pfn
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_IO, VM_LOCKONFAULT, VM_PFNMAP, VM_SHARED, VM_WRITE, vma_is_accessible
from mmu.linux.vmscan import try_to_free_pages
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


def fault_in_page(mm: MmStruct, vma: struct_vm_area_struct_ptr, addr: int, write: bool) -> int:
    """get_user_pages() for one page: a fault only if it is needed; VM_FAULT_* bits. The VMA allows
    the access; mmap_lock is held.

    A page that is there and is to be written is dirty from now on, though its PTE does not say so
    (FOLL_TOUCH).
    """
    pte = peek_pte(mm, addr)
    if pte & P and (not write or pte & RW):
        if write and not pte & D:
            mm.memory.page(entry_pfn(pte)).flags |= lib.PG_dirty
        return 0
    fault = handle_mm_fault(mm, vma, addr, write)
    if fault & VM_FAULT_OOM and try_to_free_pages(mm):
        fault = handle_mm_fault(mm, vma, addr, write)
    return fault


def populate_vma_page_range(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int
) -> int:
    """Fault in [start, end), a part of the VMA: for writing where it is private and writable; 0, or
    why not.

    EFAULT where no access is allowed, past a file's end and in a guard region, ENOMEM without a
    frame, EINTR when the process is to end (fatal_signal_pending()). What VM_LOCKONFAULT says is
    brought in by accesses only, is not.
    """
    if vma.vm_flags & VM_LOCKONFAULT:
        return 0
    if not vma_is_accessible(vma.vm_flags):
        return errno.EFAULT
    write = vma.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE
    for page in range(start, end, PAGE_SIZE):
        if mm.fatal_signal_pending():
            return errno.EINTR
        fault = fault_in_page(mm, vma, page, write)
        if fault & VM_FAULT_ERROR:
            return errno.ENOMEM if fault & VM_FAULT_OOM else errno.EFAULT
    return 0


def mm_populate(mm: MmStruct, start: int, end: int, *, ignore_errors: bool = True) -> int:
    """__mm_populate(): fault in what lies in [start, end), for writing where it is private and
    writable.

    Goes on at the next VMA where one cannot be had, as mmap() wants it; without ``ignore_errors``
    the first error ends it and is returned, an errno of populate_vma_page_range(). Holes are
    passed. Takes mmap_lock for reading, VMA by VMA.
    """
    addr = start
    while addr < end and not mm.fatal_signal_pending():
        with mm.mmap_read_lock():
            vma = lib.find_vma(mm.c, addr)
            if vma == ffi.NULL or vma.vm_start >= end:
                break
            first, last = max(addr, vma.vm_start), min(end, vma.vm_end)
            error = 0
            if not vma.vm_flags & (VM_IO | VM_PFNMAP):
                error = populate_vma_page_range(mm, vma, first, last)
        if error and not ignore_errors:
            return error
        addr = last
    return 0
