# SPDX-License-Identifier: GPL-2.0-or-later
"""Stacks that grow: an access below a VM_GROWSDOWN VMA extends it (mm/vma.c, mm/mmap.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.errors import LinuxError
from mmu.linux.layout import STACK_GUARD_GAP
from mmu.linux.rmap import anon_vma_prepare
from mmu.linux.state import MmStruct
from mmu.linux.vma import (
    VM_GROWSDOWN,
    VM_LOCKED,
    may_expand_vm,
    mlock_future_ok,
    vm_enough_memory,
    vm_stat_account,
    vma_is_accessible,
)
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr


def lock_mm_and_find_vma(mm: MmStruct, address: int) -> struct_vm_area_struct_ptr | None:
    """The VMA that holds address, with mmap_lock held for reading; None: there is none, and nothing
    is held. A stack is grown down to address if it must, under the lock for writing.
    """
    lock = mm.mmap_lock
    lock.lock(write=False)
    vma = _vma_at(mm, address)
    if vma is not None and vma.vm_start <= address:
        return vma
    lock.unlock(write=False)
    if vma is None or not vma.vm_flags & VM_GROWSDOWN:
        return None
    lock.lock(write=True)
    vma = _vma_at(mm, address)
    try:
        if vma is not None and vma.vm_start > address:
            expand_downwards(mm, lib.vma_index_of(mm.c, address), address)
    except LinuxError:
        vma = None
    if vma is None:
        lock.unlock(write=True)
        return None
    lock.downgrade()
    return vma


def _vma_at(mm: MmStruct, address: int) -> struct_vm_area_struct_ptr | None:
    """find_vma(): the first VMA that ends above address."""
    vma = lib.find_vma(mm.c, address)
    return None if vma == ffi.NULL else vma


def expand_downwards(mm: MmStruct, i: int, address: int) -> None:
    """Grow VMA number i, a stack, down to the page of address. mmap_lock is held for writing.

    EFAULT if it does not grow, EPERM below mmap_min_addr, ENOMEM if less than 1 MiB
    (stack_guard_gap) would stay free above an accessible mapping, or RLIMIT_STACK, RLIMIT_AS,
    RLIMIT_MEMLOCK or RAM forbids it.
    """
    vma = mm.c.vmas.vma[i]
    address &= -PAGE_SIZE
    if not vma.vm_flags & VM_GROWSDOWN:
        raise LinuxError(errno.EFAULT)
    if address < mm.kernel.mmap_min_addr:
        raise LinuxError(errno.EPERM)
    if i:
        below = mm.c.vmas.vma[i - 1]
        guarded = not below.vm_flags & VM_GROWSDOWN and vma_is_accessible(below.vm_flags)
        if guarded and address - below.vm_end < STACK_GUARD_GAP:
            raise LinuxError(errno.ENOMEM)
    anon_vma_prepare(mm, vma)
    vma_start_write(mm, vma)
    grow = vma.vm_start - address >> PAGE_SHIFT
    if grow > vma.vm_pgoff or not _may_grow_stack(mm, vma, vma.vm_end - address, grow):
        raise LinuxError(errno.ENOMEM)
    if vma.vm_flags & VM_LOCKED:
        mm.c.locked_vm += grow
    vm_stat_account(mm, vma.vm_flags, grow)
    vma.vm_start = address
    vma.vm_pgoff -= grow


def _may_grow_stack(mm: MmStruct, vma: struct_vm_area_struct_ptr, size: int, grow: int) -> bool:
    """acct_stack_growth()."""
    return (
        may_expand_vm(mm, vma.vm_flags, grow)
        and size <= mm.rlimit.stack
        and mlock_future_ok(mm, vma.vm_flags, grow)
        and vm_enough_memory(mm, grow)
    )
