# SPDX-License-Identifier: GPL-2.0-or-later
"""Guard regions: MADV_GUARD_INSTALL and MADV_GUARD_REMOVE (mm/madvise.c, v6.18).

A guard marker is a PTE that is neither none nor present: an access there is SIGSEGV, and no memory
stands behind it. It is an entry like any other to the table's reference count. MADV_DONTNEED and
mprotect() leave it alone; munmap() and MADV_GUARD_REMOVE take it away.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.huge_memory import unmap_single_vma
from mmu.linux.pgtable import (
    PTE_GUARD_MARKER,
    addr_end,
    is_guard_pte_marker,
    pte_none,
    pte_table,
)
from mmu.linux.pte_ref import PteAlloc
from mmu.linux.rmap import anon_vma_prepare
from mmu.linux.sched import ERESTARTNOINTR
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_LOCKED, VM_SPECIAL
from mmu.linux.zap import each_pmd
from mmu.twin import EntryPa
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

_MAX_MADVISE_GUARD_RETRIES: Final = 3


def madvise_guard_install(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int
) -> None:
    """Make [start, end), a part of the VMA, a guard region: what was mapped there goes.

    EINVAL for a locked or special VMA, ENOMEM without a frame for a table, ERESTARTNOINTR if faults
    of other CPUs put pages back each time: the caller begins again. The mmap_lock or the VMA's lock
    is held; takes and drops PTE locks and visitor references.
    """
    if vma.vm_flags & (VM_SPECIAL | VM_LOCKED):
        raise LinuxError(errno.EINVAL)
    anon_vma_prepare(mm, vma)
    for _ in range(_MAX_MADVISE_GUARD_RETRIES):
        if _install(mm, start, end):
            return
        tlb = engine.tlb_gather_mmu(mm)
        unmap_single_vma(tlb, start, end, 0)
        engine.tlb_finish_mmu(tlb)
    raise LinuxError(ERESTARTNOINTR)


def _install(mm: MmStruct, start: int, end: int) -> bool:
    """Set a marker wherever nothing is; False at the first page that is in the way."""
    memory = mm.memory
    while start < end:
        pmd = engine.pmd_alloc(mm, start)
        if pmd is None:
            raise LinuxError(errno.ENOMEM)
        allocated, pte = engine.pte_alloc_get_map_lock(mm, pmd, start)
        engine.pmd_put(mm, pmd, start)
        if allocated == PteAlloc.HUGE_PMD:
            return False
        if allocated != PteAlloc.OK:
            raise LinuxError(errno.ENOMEM)
        table = pte_table(pte)
        stop, nr_set, clear = addr_end(start, end, 2), 0, True
        for addr in range(start, stop, PAGE_SIZE):
            value = memory.read_u64(pte)
            if pte_none(value):
                engine.set_pte_at(mm, addr, pte, PTE_GUARD_MARKER)
                nr_set += 1
            elif not is_guard_pte_marker(value):
                clear = False
                break
            pte = EntryPa(pte + 8)
        engine.pte_entries_set(mm, table, nr_set)
        engine.pte_unlock(mm, table)
        engine.pte_put(mm, table, start)
        if not clear:
            return False
        start = stop
    return True


def madvise_guard_remove(
    mm: MmStruct, vma: struct_vm_area_struct_ptr, start: int, end: int
) -> None:
    """Take the markers out of [start, end), a part of the VMA; pages stay. EINVAL for a special
    VMA.

    The mmap_lock is held; takes and drops PTE locks and references.
    """
    if vma.vm_flags & VM_SPECIAL:
        raise LinuxError(errno.EINVAL)
    for pmd, addr, following in each_pmd(mm, start, end):
        pte = engine.pte_tryget_map_lock(mm, pmd, addr)
        if pte is None:
            continue
        table, cleared = pte_table(pte), 0
        for page in range(addr, following, PAGE_SIZE):
            if is_guard_pte_marker(mm.memory.read_u64(pte)):
                engine.set_pte_at(mm, page, pte, 0)
                cleared += 1
            pte = EntryPa(pte + 8)
        engine.pte_unlock(mm, table)
        engine.pte_put_many(mm, table, addr, cleared)
        engine.pte_put(mm, table, addr)
