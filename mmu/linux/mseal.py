# SPDX-License-Identifier: GPL-2.0-or-later
"""mseal(): mappings that stay as they are (mm/mseal.c, v6.18).

What would change or take away a sealed mapping is EPERM: munmap(), mremap(), mprotect(), to same
rights too, mmap(MAP_FIXED) over it, and advice that discards anonymous memory which cannot be
written.
"""

from __future__ import annotations

import errno

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.layout import page_align
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_SEALED, vma_modify_flags
from mmu.units import PAGE_SIZE, U64


def do_mseal(mm: MmStruct, start: int, length: int, flags: int) -> None:
    """sys_mseal(): seal the mappings of [start, start + length).

    Errors: EINVAL (flags, an unaligned start, a range that wraps), ENOMEM (a hole in the range:
    nothing is sealed; too many VMAs), EINTR if the process is to end.
    """
    size = page_align(length)
    if flags or start & (PAGE_SIZE - 1) or (length and not size) or start + size > U64:
        raise LinuxError(errno.EINVAL)
    if not size:
        return
    with mm.mmap_write_lock(killable=True):
        if _range_contains_unmapped(mm, start, start + size):
            raise LinuxError(errno.ENOMEM)
        _mseal_apply(mm, start, start + size)


def _range_contains_unmapped(mm: MmStruct, start: int, end: int) -> bool:
    vmas = mm.c.vmas
    for i in range(lib.vma_index_of(mm.c, start), vmas.nr):
        if start >= end or vmas.vma[i].vm_start > start:
            break
        start = vmas.vma[i].vm_end
    return start < end


def _mseal_apply(mm: MmStruct, start: int, end: int) -> None:
    while start < end:
        i = lib.vma_index_of(mm.c, start)
        vma = mm.c.vmas.vma[i]
        stop = min(vma.vm_end, end)
        if not vma.vm_flags & VM_SEALED:
            vma_modify_flags(mm, i, start, stop, vma.vm_flags | VM_SEALED)
        start = stop
