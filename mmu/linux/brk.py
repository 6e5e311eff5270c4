# SPDX-License-Identifier: GPL-2.0-or-later
"""brk() and the anonymous memory an ELF loader puts behind a file's data (mm/mmap.c, mm/vma.c,
v6.18).
"""

from __future__ import annotations

import errno

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.gup import mm_populate
from mmu.linux.layout import STACK_GUARD_GAP, page_align
from mmu.linux.mman import MAP_FIXED
from mmu.linux.mmap_lock import MmapLocked
from mmu.linux.munmap import unmap_range
from mmu.linux.rmap import vma_had_uncowed_parents
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.unmapped_area import get_unmapped_area
from mmu.linux.vma import (
    VM_ACCOUNT,
    VM_DATA_DEFAULT_FLAGS,
    VM_EXEC,
    VM_LOCKED,
    find_vma_intersection,
    may_expand_vm,
    mlock_future_ok,
    new_vma,
    vm_enough_memory,
    vm_start_gap,
    vm_stat_account,
    vma_insert,
)
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64

# An end of heap with a page and a guard gap behind it: no brk() above can succeed.
_BRK_MAX = U64 + 1 - 2 * PAGE_SIZE - STACK_GUARD_GAP


@spanned(lambda mm, brk: (mm, mm.c.brk, brk))
def do_brk(mm: MmStruct, brk: int) -> int:
    """sys_brk(): move the end of the heap to brk if that is possible; returns where it then is,
    bytes.

    EINTR if the process is to end. Never fails otherwise: a caller sees refusal by the old value.
    Refused: below start_brk, over RLIMIT_DATA, RLIMIT_AS or RLIMIT_MEMLOCK, into another mapping or
    a stack's guard gap, or more memory than there is.
    """
    with mm.mmap_write_lock(killable=True) as lock:
        old, populate_from = mm.c.brk, page_align(mm.c.brk)
        if not _move_brk(mm, brk, lock):
            return old
        populate_to = page_align(brk) if mm.def_flags & VM_LOCKED else 0
    if populate_to > populate_from:
        mm_populate(mm, populate_from, populate_to)
    return brk


def _move_brk(mm: MmStruct, brk: int, lock: MmapLocked) -> bool:
    """Whether the heap could be made to end at brk; mmap_lock is held for writing, and is for
    reading after it shrank.
    """
    c = mm.c
    if (
        brk < c.start_brk
        or brk > _BRK_MAX
        or brk - c.start_brk + c.end_data - c.start_data > mm.rlimit.data
    ):
        return False
    newbrk, oldbrk = page_align(brk), page_align(c.brk)
    try:
        if newbrk < oldbrk:
            _shrink(mm, newbrk, oldbrk, lock)
        elif newbrk > oldbrk:
            _grow(mm, oldbrk, newbrk)
    except LinuxError:
        return False
    c.brk = brk
    return True


def _shrink(mm: MmStruct, newbrk: int, oldbrk: int, lock: MmapLocked) -> None:
    i = find_vma_intersection(mm, newbrk, oldbrk)
    if i is None:
        raise LinuxError(errno.EINVAL)
    unmap_range(mm, newbrk, oldbrk, lock)


def _grow(mm: MmStruct, oldbrk: int, newbrk: int) -> None:
    get_unmapped_area(mm, oldbrk, newbrk - oldbrk, MAP_FIXED, None, 0)
    if not mlock_future_ok(mm, mm.def_flags, newbrk - oldbrk >> PAGE_SHIFT):
        raise LinuxError(errno.EAGAIN)
    vmas = mm.c.vmas
    i = lib.vma_index_of(mm.c, oldbrk)
    if i < vmas.nr and newbrk + PAGE_SIZE > vm_start_gap(vmas.vma[i]):
        raise LinuxError(errno.ENOMEM)
    do_brk_flags(mm, oldbrk, newbrk - oldbrk, 0, lowest=mm.c.start_brk)


def vm_brk_flags(mm: MmStruct, addr: int, length: int, vm_flags: int) -> None:
    """Map length bytes of zeros from addr on, replacing what was there: an ELF file's bss.
    vm_flags: 0 or VM_EXEC.

    EINVAL for other flags or an unaligned addr, ENOMEM as do_brk_flags().
    """
    if vm_flags & ~VM_EXEC or addr & (PAGE_SIZE - 1):
        raise LinuxError(errno.EINVAL)
    length = page_align(length)
    if not length:
        return
    get_unmapped_area(mm, addr, length, MAP_FIXED, None, 0)
    with mm.mmap_write_lock(killable=True):
        unmap_range(mm, addr, addr + length)
        do_brk_flags(mm, addr, length, vm_flags, lowest=0)


def do_brk_flags(mm: MmStruct, addr: int, length: int, vm_flags: int, *, lowest: int) -> None:
    """Grow the anonymous VMA that ends at addr and reaches to lowest or above it, or make one.
    ENOMEM for every limit.

    [addr, addr + length) is page-aligned and free; the mmap_lock is held for writing. A VMA below
    lowest is not grown: that keeps heap and bss apart, as Linux does.
    """
    vm_flags |= VM_DATA_DEFAULT_FLAGS | VM_ACCOUNT | mm.def_flags
    nr_pages = length >> PAGE_SHIFT
    vmas = mm.c.vmas
    if (
        not may_expand_vm(mm, vm_flags, nr_pages)
        or vmas.nr > mm.kernel.max_map_count
        or not vm_enough_memory(mm, nr_pages)
    ):
        raise LinuxError(errno.ENOMEM)
    i = lib.vma_index_of(mm.c, addr) - 1
    below = vmas.vma[i] if i >= 0 else None
    if (
        below is not None
        and below.vm_end == addr > lowest
        and below.vm_flags == vm_flags
        and not below.vm_file
        and not below.vm_name
        and not vma_had_uncowed_parents(below)
    ):
        vma_start_write(mm, below)
        below.vm_end = addr + length
    else:
        vma_insert(mm, new_vma(addr, addr + length, vm_flags, addr >> PAGE_SHIFT))
    vm_stat_account(mm, vm_flags, nr_pages)
    if vm_flags & VM_LOCKED:
        mm.c.locked_vm += nr_pages
