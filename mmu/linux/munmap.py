# SPDX-License-Identifier: GPL-2.0-or-later
"""munmap(), and the end of an mm (mm/vma.c, mm/mmap.c, v6.18).

::

    do_munmap()                     mmap_lock for writing
      vms_gather_munmap_vmas()        split what crosses the ends
      vms_complete_munmap_vmas()      lock and detach the VMAs: nobody finds them any more
                                      mmap_lock is downgraded: faults elsewhere go on
        _unmap_region()               zap, take the VMAs out of their files' i_mmap, free the
                                      tables that are empty, flush
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.huge_memory import unmap_single_vma
from mmu.linux.i_mmap import i_mmap_rwsem, i_mmap_write
from mmu.linux.layout import TASK_SIZE, page_align
from mmu.linux.mmap_lock import MmapLocked
from mmu.linux.mmu_gather import Gather
from mmu.linux.pgtable import PMD_MASK, PMD_SIZE
from mmu.linux.policies import policy_of
from mmu.linux.rcupdate import rcu_poll
from mmu.linux.state import MmStruct
from mmu.linux.tlbflush import enter_lazy_tlb, leave_mm
from mmu.linux.tracepoint import TOTAL_VM, emit, spanned
from mmu.linux.vma import (
    VM_LOCKED,
    VM_SEALED,
    find_vma_intersection,
    split_vma,
    vm_stat_account,
)
from mmu.linux.vma_lock import vma_mark_detached, vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


@spanned(lambda mm, start, length, *_, **__: (mm, start, start + length))
def do_munmap(mm: MmStruct, start: int, length: int) -> None:
    """do_vmi_munmap(): EINVAL for an unaligned or impossible range, ENOMEM where a split would
    exceed max_map_count.

    A range that holds no mapping is no error. EINTR as do_mmap().
    """
    if start & (PAGE_SIZE - 1) or start > TASK_SIZE or length > TASK_SIZE - start or not length:
        raise LinuxError(errno.EINVAL)
    end = start + page_align(length)
    with mm.mmap_write_lock(killable=True) as lock:
        unmap_range(mm, start, end, lock)


def unmap_range(mm: MmStruct, start: int, end: int, lock: MmapLocked | None = None) -> None:
    """do_vmi_align_munmap(): take [start, end), page-aligned, out; the mmap_lock is held for
    writing.

    With ``lock`` nothing else is to be done under it: it is downgraded once the VMAs are out, and
    faults elsewhere in the mm go on while entries are cleared and flushed.
    """
    first, last = vms_gather_munmap_vmas(mm, start, end)
    vms_complete_munmap_vmas(mm, first, last, lock)


def vms_gather_munmap_vmas(mm: MmStruct, start: int, end: int) -> tuple[int, int]:
    """Split what crosses start or end; return the numbers [first, last) of the VMAs inside.

    EPERM if one of them is sealed; a split that was made before stays, as in Linux.
    """
    first = find_vma_intersection(mm, start, end)
    if first is None:
        i = lib.vma_index_of(mm.c, start)
        return i, i
    vma = mm.c.vmas.vma[first]
    if vma.vm_start < start:
        if end < vma.vm_end and mm.c.vmas.nr >= mm.kernel.max_map_count:
            raise LinuxError(errno.ENOMEM)
        _check_sealed(vma)
        split_vma(mm, first, start)
        first += 1
    last = lib.vma_index_of(mm.c, end - 1)
    if last < mm.c.vmas.nr and mm.c.vmas.vma[last].vm_start < end:
        last += 1
    for i in range(first, last):
        _check_sealed(mm.c.vmas.vma[i])
    if last > first and mm.c.vmas.vma[last - 1].vm_end > end:
        split_vma(mm, last - 1, end)
    return first, last


def _check_sealed(vma: struct_vm_area_struct_ptr) -> None:
    if vma.vm_flags & VM_SEALED:
        raise LinuxError(errno.EPERM)


def vms_complete_munmap_vmas(
    mm: MmStruct, first: int, last: int, lock: MmapLocked | None = None
) -> None:
    """Take VMAs [first, last) out of the index, clear what they map,
    free their tables, forget them. A ``lock`` is downgraded in between.

    They leave the index first: no fault finds them from then on, and those that had them have left.
    """
    if first == last:
        return
    c = mm.c
    floor, ceiling = _limits(mm, first, last)
    vmas = list(c.vmas.vma[first:last])
    for vma in vmas:
        vma_start_write(mm, vma)
    for vma in vmas:
        vma_mark_detached(vma)
        if vma.vm_flags & VM_LOCKED:
            c.locked_vm -= _vma_pages(vma)
    lib.vma_detach(c, first, last - first)
    mm.mt_detach += [vma for vma in vmas if vma.vm_file]
    mm.hole.forget_below(vmas[-1].vm_end, c.mmap_base)
    try:
        if lock is not None:
            lock.downgrade()
        _unmap_region(mm, vmas, floor, ceiling)
    finally:
        _forget_vmas(mm, vmas)


def _forget_vmas(mm: MmStruct, vmas: list[struct_vm_area_struct_ptr]) -> None:
    """Count detached VMAs out and free them; files that nobody else maps go too."""
    c, files = mm.c, set()
    _leave_i_mmap(mm, vmas)
    c.hiwater_vm = max(c.hiwater_vm, c.total_vm)
    for vma in vmas:
        vm_stat_account(mm, vma.vm_flags, -_vma_pages(vma))
        files.add(vma.vm_file)
        lib.vma_free(vma)
    mm.put_unused_files(files)


def _vma_pages(vma: struct_vm_area_struct_ptr) -> int:
    return vma.vm_end - vma.vm_start >> PAGE_SHIFT


def _limits(mm: MmStruct, first: int, last: int) -> tuple[int, int]:
    """Between which addresses VMAs [first, last) are alone: tables that reach further stay."""
    vmas = mm.c.vmas
    floor = vmas.vma[first - 1].vm_end if first else 0
    return floor, vmas.vma[last].vm_start if last < vmas.nr else 0


def _unmap_region(
    mm: MmStruct,
    vmas: list[struct_vm_area_struct_ptr],
    floor: int,
    ceiling: int,
    *,
    fullmm: bool = False,
) -> None:
    """vms_clear_ptes(): zap VMAs and free the tables that then map nothing; for exit_mmap() too.

    Who comes by a file finds its VMAs until they are unlinked, and its tables as long. Nobody
    sleeps with a gather open: if an i_mmap_rwsem is to be waited for, all is flushed first.
    """
    tlb = engine.tlb_gather_mmu(mm, fullmm)
    try:
        for vma in vmas:
            unmap_single_vma(tlb, vma.vm_start, vma.vm_end, lib.ZAP_DROP_MARKER)
        linked = _try_unlink_files(mm, vmas, fullmm)
        if not linked:
            _free_pgtables(tlb, vmas, floor, ceiling, fullmm)
    finally:
        engine.tlb_finish_mmu(tlb)
    if not linked:
        return
    for file in linked:
        with i_mmap_write(mm, file):
            _unlink_file(mm, vmas, file, fullmm)
    tlb = engine.tlb_gather_mmu(mm, fullmm)
    try:
        _free_pgtables(tlb, vmas, floor, ceiling, fullmm)
    finally:
        engine.tlb_finish_mmu(tlb)


def _try_unlink_files(
    mm: MmStruct, vmas: list[struct_vm_area_struct_ptr], fullmm: bool
) -> list[int]:
    """Unlink the VMAs from those files whose i_mmap_rwsem is free; the vm_file of the others."""
    linked = []
    for file in sorted({vma.vm_file for vma in vmas} - {0}):
        mm.kernel.point("unlink_file_vma")
        lock = i_mmap_rwsem(mm.kernel, mm.file(file).mapping)
        if lock.down_write_trylock():
            _unlink_file(mm, vmas, file, fullmm)
            lock.up_write()
        else:
            linked.append(file)
    return linked


def _unlink_file(
    mm: MmStruct, vmas: list[struct_vm_area_struct_ptr], file: int, fullmm: bool
) -> None:
    """unlink_file_vma() of those of the VMAs that map the file, whose i_mmap_rwsem is held."""
    _leave_i_mmap(mm, [vma for vma in vmas if vma.vm_file == file])
    if fullmm:
        mm.unlinked_files.add(file)


def _leave_i_mmap(mm: MmStruct, vmas: list[struct_vm_area_struct_ptr]) -> None:
    if mm.mt_detach:
        unlinked = set(vmas)
        mm.mt_detach = [vma for vma in mm.mt_detach if vma not in unlinked]


def _free_pgtables(
    tlb: Gather, vmas: list[struct_vm_area_struct_ptr], floor: int, ceiling: int, fullmm: bool
) -> None:
    """free_pgtables(): one free_pgd_range() for each run of VMAs less than 2 MiB apart."""
    if not tlb.mm.native:
        start, end = vmas[0].vm_start & PMD_MASK, (vmas[-1].vm_end - 1 | ~PMD_MASK) + 1
        policy_of(tlb.kernel).unmapping(tlb, *((0, TASK_SIZE) if fullmm else (start, end)))
    i, last = 0, len(vmas)
    while i < last:
        start = vmas[i].vm_start
        while i + 1 < last and vmas[i + 1].vm_start <= vmas[i].vm_end + PMD_SIZE:
            i += 1
        limit = vmas[i + 1].vm_start if i + 1 < last else ceiling
        engine.free_pgd_range(tlb, start, vmas[i].vm_end, floor, limit)
        i += 1


# The end.


@spanned(lambda mm: (mm, 0, TASK_SIZE))
def exit_mmap(mm: MmStruct) -> None:
    """Unmap everything and wait for a grace period: nothing is left but the PGD, which mmdrop()
    frees.

    What the last user of the mm does (mmput()); a CPU that still has it loaded has no user of it,
    and the flush of what was unmapped sends it to init_mm. Raises MmBug for an invariant that broke
    on the way; what was not done then is done if it is called again.
    """
    c = mm.c
    if mm.kernel.this_cpu.loaded_mm is mm:
        enter_lazy_tlb(mm.kernel)  # exit_mm() has done that
    if c.vmas.nr:
        with mm.mmap_write_lock():
            c.hiwater_vm = max(c.hiwater_vm, c.total_vm)
            _unmap_region(mm, list(c.vmas.vma[0 : c.vmas.nr]), 0, 0, fullmm=True)
            lib.vma_remove(c, 0, c.vmas.nr)
    rcu_poll(mm.kernel)
    mm.put_all_files()
    c.total_vm = c.data_vm = c.exec_vm = c.stack_vm = c.locked_vm = 0
    emit(mm.kernel, TOTAL_VM, c.pgd, 0)
    if mm.kernel.this_cpu.loaded_mm is mm:
        leave_mm(mm.kernel)
    mm.kernel.all_mms.remove(mm)
