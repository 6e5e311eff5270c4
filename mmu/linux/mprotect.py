# SPDX-License-Identifier: GPL-2.0-or-later
"""mprotect(): the VMAs' half (mm/mprotect.c, v6.18); the entries' half is
engine.change_protection().
"""

from __future__ import annotations

import errno

from mmu._native import lib
from mmu.errors import LinuxError
from mmu.linux import engine
from mmu.linux.gup import populate_vma_page_range
from mmu.linux.huge_memory import split_huge_pmds
from mmu.linux.layout import page_align
from mmu.linux.mman import PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_READ, PROT_SEM, PROT_WRITE
from mmu.linux.mmu_gather import Gather
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.linux.vma import (
    VM_ACCESS_FLAGS,
    VM_ACCOUNT,
    VM_GROWSDOWN,
    VM_LOCKED,
    VM_NORESERVE,
    VM_SEALED,
    VM_SHARED,
    VM_WRITE,
    calc_vm_prot_bits,
    find_vma_intersection,
    may_expand_vm,
    vm_enough_memory,
    vm_stat_account,
    vma_is_anonymous,
    vma_modify_flags,
)
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE, U64


@spanned(lambda mm, start, length, *_, **__: (mm, start, start + length))
def do_mprotect(mm: MmStruct, start: int, length: int, prot: int, *, has_key: bool = False) -> None:
    """do_mprotect_pkey(): give [start, start + length) the rights prot.

    Errors: EINVAL (unaligned, unknown bits, PROT_GROWSDOWN on what does not grow down), ENOMEM (a
    hole in the range: what lies before it is changed; too many VMAs; too much memory becoming
    writable), EPERM (a sealed VMA), EACCES (a right that the file's mode forbids: again what lies
    before is changed). ``has_key``: EINVAL, since there is no key.
    """
    grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP)
    prot &= ~grows
    if grows == PROT_GROWSDOWN | PROT_GROWSUP or start & (PAGE_SIZE - 1):
        raise LinuxError(errno.EINVAL)
    if not length:
        return
    end = (start + page_align(length)) & U64
    if end <= start:
        raise LinuxError(errno.ENOMEM)
    if prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM):
        raise LinuxError(errno.EINVAL)
    with mm.mmap_write_lock(killable=True):
        if has_key:
            raise LinuxError(errno.EINVAL)
        i, start = _first_vma(mm, start, end, grows)
        _lock_vmas(mm, i, end)
        tlb = engine.tlb_gather_mmu(mm)
        try:
            _mprotect_vmas(mm, tlb, i, start, end, calc_vm_prot_bits(prot))
        finally:
            engine.tlb_finish_mmu(tlb)


def _lock_vmas(mm: MmStruct, i: int, end: int) -> None:
    """Write-lock the VMAs that may change, neighbours too: number i - 1 up to the one that begins
    at end. Later it may not wait for readers: an mmu_gather is open.
    """
    vmas = mm.c.vmas
    for number in range(max(i - 1, 0), vmas.nr):
        if vmas.vma[number].vm_start > end:
            break
        vma_start_write(mm, vmas.vma[number])


def _first_vma(mm: MmStruct, start: int, end: int, grows: int) -> tuple[int, int]:
    """The number of the VMA to begin with, and where: at its own start for PROT_GROWSDOWN."""
    i = find_vma_intersection(mm, start, end)
    if i is None:
        raise LinuxError(errno.ENOMEM)
    vma = mm.c.vmas.vma[i]
    if grows & PROT_GROWSDOWN:
        if not vma.vm_flags & VM_GROWSDOWN:
            raise LinuxError(errno.EINVAL)
        return i, vma.vm_start
    if vma.vm_start > start:
        raise LinuxError(errno.ENOMEM)
    if grows & PROT_GROWSUP:
        raise LinuxError(errno.EINVAL)
    return i, start


def _mprotect_vmas(mm: MmStruct, tlb: Gather, i: int, start: int, end: int, access: int) -> None:
    while True:
        if i >= mm.c.vmas.nr or mm.c.vmas.vma[i].vm_start > start:
            raise LinuxError(errno.ENOMEM)
        vma = mm.c.vmas.vma[i]
        vm_flags = access | (vma.vm_flags & ~VM_ACCESS_FLAGS)
        if vm_flags & ~(vm_flags >> 4) & VM_ACCESS_FLAGS:
            raise LinuxError(errno.EACCES)
        stop = min(vma.vm_end, end)
        i = mprotect_fixup(mm, tlb, i, start, stop, vm_flags)
        if stop == end:
            return
        start = stop
        i = lib.vma_index_of(mm.c, start)


def mprotect_fixup(mm: MmStruct, tlb: Gather, i: int, start: int, end: int, vm_flags: int) -> int:
    """Give [start, end), a part of VMA number i, these flags; returns the number of the VMA that
    then covers it.

    EPERM if it is sealed, ENOMEM where it becomes memory that RLIMIT_DATA, RAM or max_map_count do
    not allow.
    """
    vma = mm.c.vmas.vma[i]
    old_flags = vma.vm_flags
    if old_flags & VM_SEALED:
        raise LinuxError(errno.EPERM)
    if vm_flags == old_flags:
        return i
    nr_pages = end - start >> PAGE_SHIFT
    if vm_flags & VM_WRITE:
        if not may_expand_vm(mm, vm_flags, nr_pages) and may_expand_vm(mm, old_flags, nr_pages):
            raise LinuxError(errno.ENOMEM)
        if not old_flags & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE):
            if not vm_enough_memory(mm, nr_pages):
                raise LinuxError(errno.ENOMEM)
            vm_flags |= VM_ACCOUNT
    elif old_flags & VM_ACCOUNT and vma_is_anonymous(vma) and not vma.anon_vma:
        vm_flags &= ~VM_ACCOUNT
    i = vma_modify_flags(mm, i, start, end, vm_flags)
    split_huge_pmds(mm, start, end)
    engine.change_protection(tlb, start, end, _protection_flags(mm, i, vm_flags))
    if old_flags & (VM_WRITE | VM_SHARED | VM_LOCKED) == VM_LOCKED and vm_flags & VM_WRITE:
        populate_vma_page_range(mm, mm.c.vmas.vma[i], start, end)
    vm_stat_account(mm, old_flags, -nr_pages)
    vm_stat_account(mm, vm_flags, nr_pages)
    return i


def _protection_flags(mm: MmStruct, i: int, vm_flags: int) -> int:
    """What the PTEs of VMA number i are to allow: in a shared file whose first writes must be heard
    of, no write to what is clean (vma_set_page_prot()).
    """
    vma = mm.c.vmas.vma[i]
    if vma.vm_file and mm.file(vma.vm_file).mapping.writenotify:
        return vm_flags & ~VM_SHARED
    return vm_flags
