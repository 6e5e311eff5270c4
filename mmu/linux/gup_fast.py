# SPDX-License-Identifier: GPL-2.0-or-later
"""Getting a user's pages with no lock at all (gup_fast() of mm/gup.c, v6.18).

The walk takes no lock and no reference of a table, of any level. What keeps a table's frame from
being freed under it is that interrupts are off: who frees a table either waits for an
interprocessor interrupt that this CPU does not take, or for a grace period that does not end
meanwhile. What keeps the page is the reference it takes; and then the PMD and the PTE are read
again, for between the look and the reference the page may have gone and come back as another.

Where that does not succeed, mmap_lock is taken and the page is faulted in.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.gup import fault_in_page
from mmu.linux.handle_mm_fault import VM_FAULT_ERROR, peek_pte
from mmu.linux.pgtable import (
    RW,
    SPECIAL,
    US,
    P,
    entry_pfn,
    pmd_huge,
    pmd_none,
    pte_of_huge_pmd,
    pte_offset,
)
from mmu.linux.pt_reclaim import table_is_counted
from mmu.linux.smp import local_irqs_off
from mmu.linux.state import MmStruct
from mmu.linux.uaccess import access_ok
from mmu.linux.vma import VM_IO, VM_PFNMAP, VM_READ, VM_WRITE
from mmu.twin import EntryPa
from mmu.units import PAGE_MASK, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


def get_user_pages_fast(mm: MmStruct, start: int, nr_pages: int, *, write: bool) -> list[int]:
    """The frames of nr_pages user pages from start on, each with a reference that the caller drops
    (Memory.put_page()).

    Fewer where the rest cannot be had; EFAULT if that is the first. ``write``: a private copy is
    made first, as for a write (FOLL_WRITE). May sleep; the caller holds no lock.
    """
    start &= PAGE_MASK
    if not access_ok(start, nr_pages * PAGE_SIZE):
        raise LinuxError(errno.EFAULT)
    frames: list[int] = []
    with local_irqs_off(mm.kernel):
        for addr in range(start, start + nr_pages * PAGE_SIZE, PAGE_SIZE):
            pfn = gup_fast_pte(mm, addr, write)
            if pfn is None:
                break
            frames.append(pfn)
    done = len(frames)
    if done < nr_pages:
        try:
            frames += get_user_pages(mm, start + done * PAGE_SIZE, nr_pages - done, write=write)
        except LinuxError:
            if not frames:
                raise
    return frames


def gup_fast_pte(mm: MmStruct, addr: int, write: bool) -> int | None:
    """The frame of addr's page with a reference taken; None: it takes the slow way. Interrupts are
    off; no lock is taken, nothing waits.
    """
    memory, point = mm.memory, mm.kernel.point
    pmd = engine.mm_find_pmd(mm, addr)
    if table_is_counted(mm, 2):
        point("gup_fast_pud")
    if pmd is None:
        return None
    pmdval = memory.read_u64(pmd)
    if pmd_none(pmdval):
        return None
    point("gup_fast_pmd")
    wanted = P | US | (RW if write else 0)
    if pmd_huge(pmdval):
        return _gup_fast_pmd_leaf(mm, pmd, pmdval, addr, wanted)
    pte = pte_offset(pmdval, addr)
    value = memory.read_u64(pte)
    if value & wanted != wanted or value & SPECIAL:
        return None
    point("gup_fast_pte")
    page = memory.page(entry_pfn(value))
    if not page._refcount:
        return None
    page._refcount += 1
    point("gup_fast_grabbed")
    if memory.read_u64(pmd) != pmdval or memory.read_u64(pte) != value:
        memory.put_page(entry_pfn(value))
        return None
    return entry_pfn(value)


def _gup_fast_pmd_leaf(
    mm: MmStruct, pmd: EntryPa, pmdval: int, addr: int, wanted: int
) -> int | None:
    """gup_fast_pmd_leaf(): the same where the PMD is huge."""
    memory, point = mm.memory, mm.kernel.point
    if pmdval & wanted != wanted:
        return None
    pfn = entry_pfn(pte_of_huge_pmd(pmdval, addr))
    page = memory.page(pfn)
    if not page._refcount:
        return None
    page._refcount += 1
    point("gup_fast_grabbed")
    if memory.read_u64(pmd) != pmdval:
        memory.put_page(pfn)
        return None
    return pfn


def get_user_pages(mm: MmStruct, start: int, nr_pages: int, *, write: bool) -> list[int]:
    """get_user_pages_unlocked(), and for another's mm pin_user_pages_remote(): as
    get_user_pages_fast(), under mmap_lock from the start.

    EINTR if the process is to end.
    """
    frames: list[int] = []
    with mm.mmap_read_lock(killable=True):
        for addr in range(start & PAGE_MASK, start + nr_pages * PAGE_SIZE & PAGE_MASK, PAGE_SIZE):
            pfn = _get_user_page(mm, addr, write)
            if pfn is None and not frames:
                raise LinuxError(errno.EFAULT)
            if pfn is None:
                break
            frames.append(pfn)
    return frames


def _get_user_page(mm: MmStruct, addr: int, write: bool) -> int | None:
    """__get_user_pages() for one page: fault until it can be followed."""
    vma = lib.find_vma(mm.c, addr)
    if vma == ffi.NULL or addr < vma.vm_start or not _check_vma_flags(vma, write):
        return None
    while not mm.fatal_signal_pending():
        pte = peek_pte(mm, addr)
        if pte & P and (pte & RW or not write):
            pfn = entry_pfn(pte)
            mm.memory.page(pfn)._refcount += 1
            return pfn
        if fault_in_page(mm, vma, addr, write) & VM_FAULT_ERROR:
            return None
    return None


def _check_vma_flags(vma: struct_vm_area_struct_ptr, write: bool) -> bool:
    """check_vma_flags(): whether pages of the VMA may be had at all."""
    if vma.vm_flags & (VM_IO | VM_PFNMAP):
        return False
    return bool(vma.vm_flags & (VM_WRITE if write else VM_READ))
