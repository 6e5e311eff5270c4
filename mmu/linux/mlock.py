# SPDX-License-Identifier: GPL-2.0-or-later
"""mlock(), mlock2(), munlock(), mlockall() and munlockall() (mm/mlock.c, v6.18).

Nothing here reclaims locked or other memory, so a lock is what it is to the mm: a flag that splits
and merges VMAs, counts in VmLck against RLIMIT_MEMLOCK, faults everything in at once, and forbids
MADV_DONTNEED.
"""

from __future__ import annotations

import errno
from contextlib import suppress

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux.gup import mm_populate
from mmu.linux.layout import TASK_SIZE, page_align
from mmu.linux.mman import MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, MLOCK_ONFAULT
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.vma import (
    VM_DROPPABLE,
    VM_LOCKED,
    VM_LOCKED_MASK,
    VM_LOCKONFAULT,
    VM_SPECIAL,
    can_do_mlock,
    vma_modify_flags,
)
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64


@spanned(lambda mm, start, length, *_, **__: (mm, start, start + length))
def do_mlock(mm: MmStruct, start: int, length: int, flags: int = 0) -> None:
    """sys_mlock(), sys_mlock2(): lock the pages that [start, start + length) touches, and fault
    them in.

    Errors: EINVAL (unknown flags, a range that wraps), EPERM (RLIMIT_MEMLOCK is 0), ENOMEM (over
    RLIMIT_MEMLOCK; a hole in the range; a page that cannot be had, as one of a PROT_NONE mapping:
    what lies before stays locked).
    """
    if flags & ~MLOCK_ONFAULT:
        raise LinuxError(errno.EINVAL)
    if not can_do_mlock(mm):
        raise LinuxError(errno.EPERM)
    length = page_align(length + start % PAGE_SIZE)
    start &= -PAGE_SIZE
    onfault = VM_LOCKONFAULT if flags & MLOCK_ONFAULT else 0
    with mm.mmap_write_lock(killable=True):
        locked = (length >> PAGE_SHIFT) + mm.c.locked_vm
        limit = mm.rlimit.memlock >> PAGE_SHIFT
        if locked > limit:
            locked -= _count_mlocked(mm, start, length)
        if locked > limit and not mm.can_lock_all():
            raise LinuxError(errno.ENOMEM)
        _apply_vma_lock_flags(mm, start, length, VM_LOCKED | onfault)
    error = mm_populate(mm, start, start + length, ignore_errors=False)
    if error:
        raise LinuxError({errno.EFAULT: errno.ENOMEM, errno.ENOMEM: errno.EAGAIN}.get(error, error))


@spanned(lambda mm, start, length, *_, **__: (mm, start, start + length))
def do_munlock(mm: MmStruct, start: int, length: int) -> None:
    """sys_munlock(): unlock the pages that [start, start + length) touches. EINVAL and ENOMEM as
    do_mlock().
    """
    length = page_align(length + start % PAGE_SIZE)
    with mm.mmap_write_lock(killable=True):
        _apply_vma_lock_flags(mm, start & -PAGE_SIZE, length, 0)


def do_mlockall(mm: MmStruct, flags: int) -> None:
    """sys_mlockall(): lock what is mapped (MCL_CURRENT), what will be (MCL_FUTURE), or both.

    Errors: EINVAL (no or unknown flags, MCL_ONFAULT alone), EPERM (RLIMIT_MEMLOCK is 0), ENOMEM
    (over RLIMIT_MEMLOCK).
    """
    if not flags or flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) or flags == MCL_ONFAULT:
        raise LinuxError(errno.EINVAL)
    if not can_do_mlock(mm):
        raise LinuxError(errno.EPERM)
    with mm.mmap_write_lock(killable=True):
        too_much = mm.c.total_vm > mm.rlimit.memlock >> PAGE_SHIFT
        if flags & MCL_CURRENT and too_much and not mm.can_lock_all():
            raise LinuxError(errno.ENOMEM)
        _apply_mlockall_flags(mm, flags)
    if flags & MCL_CURRENT:
        mm_populate(mm, 0, TASK_SIZE)


def do_munlockall(mm: MmStruct) -> None:
    """sys_munlockall(): unlock everything, and what will be mapped too."""
    with mm.mmap_write_lock(killable=True):
        _apply_mlockall_flags(mm, 0)


def _count_mlocked(mm: MmStruct, start: int, length: int) -> int:
    """count_mm_mlocked_page_nr(): locked pages in the range already."""
    end, vmas = min(start + length, U64), mm.c.vmas
    count = 0
    for i in range(lib.vma_index_of(mm.c, start), vmas.nr):
        vma = vmas.vma[i]
        if vma.vm_start >= end:
            break
        if vma.vm_flags & VM_LOCKED:
            count += min(vma.vm_end, end) - max(vma.vm_start, start)
    return count >> PAGE_SHIFT


def _apply_vma_lock_flags(mm: MmStruct, start: int, length: int, flags: int) -> None:
    end = start + length
    if end > U64:
        raise LinuxError(errno.EINVAL)
    while start < end:
        i = lib.vma_index_of(mm.c, start)
        if i >= mm.c.vmas.nr or mm.c.vmas.vma[i].vm_start > start:
            raise LinuxError(errno.ENOMEM)
        vma = mm.c.vmas.vma[i]
        stop = min(vma.vm_end, end)
        _mlock_fixup(mm, i, start, stop, (vma.vm_flags & ~VM_LOCKED_MASK) | flags)
        start = stop


def _mlock_fixup(mm: MmStruct, i: int, start: int, end: int, vm_flags: int) -> None:
    """mlock_fixup(): give [start, end), a part of VMA number i, these flags, and count; special
    VMAs are left.
    """
    old_flags = mm.c.vmas.vma[i].vm_flags
    if vm_flags == old_flags or old_flags & (VM_SPECIAL | VM_DROPPABLE):
        return
    vma_modify_flags(mm, i, start, end, vm_flags)
    nr_pages = end - start >> PAGE_SHIFT
    mm.c.locked_vm += nr_pages * (bool(vm_flags & VM_LOCKED) - bool(old_flags & VM_LOCKED))


def _apply_mlockall_flags(mm: MmStruct, flags: int) -> None:
    onfault = VM_LOCKONFAULT if flags & MCL_ONFAULT else 0
    mm.def_flags = VM_LOCKED | onfault if flags & MCL_FUTURE else 0
    if flags and not flags & MCL_CURRENT:
        return
    to_add = VM_LOCKED | onfault if flags & MCL_CURRENT else 0
    start = 0
    while (i := lib.vma_index_of(mm.c, start)) < mm.c.vmas.nr:
        vma = mm.c.vmas.vma[i]
        start, end = vma.vm_start, vma.vm_end
        with suppress(LinuxError):
            _mlock_fixup(mm, i, start, end, (vma.vm_flags & ~VM_LOCKED_MASK) | to_add)
        start = end
