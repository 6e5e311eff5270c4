# SPDX-License-Identifier: GPL-2.0-or-later
"""fork()'s copy of an address space (kernel/fork.c, mm/mmap.c, v6.18).

::

    dup_mm()              a new mm_struct: fields copied, counters at zero
      dup_mmap()          mmap_lock of the parent, then the child's
        each VMA          VM_DONTCOPY: not there   VM_WIPEONFORK: empty   else
          anon_vma_fork()     an anon_vma of its own
          copy_page_range()   PTEs, if vma_needs_copy()
        flush_tlb_mm()    the parent lost write rights

A VMA without an anon_vma has nothing that a fault could not bring again, so its PTEs are not
copied: shared memory and what was only read of files.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, TypeVar

from mmu._native import ffi
from mmu.errors import LinuxError, OutOfMemory
from mmu.linux import engine
from mmu.linux.huge_memory import split_huge_pmds
from mmu.linux.layout import TASK_SIZE
from mmu.linux.mm_users import mmput
from mmu.linux.pgtable import TLB_FLUSH_ALL
from mmu.linux.rmap import anon_vma_fork
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import TOTAL_VM, emit, spanned
from mmu.linux.vma import (
    VM_ACCOUNT,
    VM_DONTCOPY,
    VM_LOCKED_MASK,
    VM_MIXEDMAP,
    VM_NOHUGEPAGE,
    VM_PFNMAP,
    VM_WIPEONFORK,
    vm_enough_memory,
    vm_stat_account,
    vma_insert,
)
from mmu.linux.vma_lock import vma_start_write
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

M = TypeVar("M", bound=MmStruct)

VM_INIT_DEF_MASK: Final = VM_NOHUGEPAGE
"""What a child inherits of def_flags: mlockall(MCL_FUTURE) is the parent's alone."""

_COPIED: Final = (
    *("task_size", "mmap_base", "start_code", "end_code", "start_data", "end_data"),
    *("start_brk", "brk", "start_stack", "arg_start", "arg_end", "env_start", "env_end"),
    *("total_vm", "data_vm", "exec_vm", "stack_vm", "nr_anon_vmas"),
)


def dup_mm(oldmm: M) -> M:
    """A copy of the address space for a child process: one user, loaded into no CPU.

    Private pages are shared until one of the two writes. Its limits are a copy of the parent's.
    Raises LinuxError(ENOMEM) for whatever kept it from being whole: nothing of the child is left
    then, and the parent is as it was but for write rights, which come back with a fault. Takes
    mmap_lock; may wait.
    """
    try:
        mm = type(oldmm)(oldmm.kernel)
    except OutOfMemory:
        raise LinuxError(errno.ENOMEM) from None
    mm.rlimit = oldmm.rlimit.copy()
    mm.def_flags = oldmm.def_flags & VM_INIT_DEF_MASK
    mm.saved_auxv = oldmm.saved_auxv
    for name in _COPIED:
        setattr(mm.c, name, getattr(oldmm.c, name))
    emit(mm.kernel, TOTAL_VM, mm.c.pgd, mm.c.total_vm)
    try:
        whole = _dup_mmap(mm, oldmm)
    except LinuxError:
        whole = False
    if not whole:
        mmput(mm)
        raise LinuxError(errno.ENOMEM)
    mm.c.hiwater_rss = mm.rss()
    mm.c.hiwater_vm = mm.c.total_vm
    return mm


@spanned(lambda mm, oldmm: (mm, 0, TASK_SIZE))
def _dup_mmap(mm: MmStruct, oldmm: MmStruct) -> bool:
    """dup_mmap(): whether all VMAs, and what they map, could be copied; EINTR if the process is to
    end before it gets the lock.
    """
    with oldmm.mmap_write_lock(killable=True):
        try:
            with mm.mmap_write_lock_nested():
                mm.dup_files(oldmm)
                return _dup_vmas(mm, oldmm)
        finally:
            flush_tlb_mm(oldmm)


def flush_tlb_mm(mm: MmStruct) -> None:
    """Drop all translations of the mm, of lazy CPUs too."""
    engine.flush_tlb_mm_range(mm, 0, TLB_FLUSH_ALL, 0, 1)


def _dup_vmas(mm: MmStruct, oldmm: MmStruct) -> bool:
    unused = set()
    for i in range(oldmm.c.vmas.nr):
        vma = oldmm.c.vmas.vma[i]
        vma_start_write(oldmm, vma)
        if vma.vm_flags & VM_DONTCOPY:
            vm_stat_account(mm, vma.vm_flags, -_vma_pages(vma))
            unused.add(vma.vm_file)
        elif oldmm.fatal_signal_pending() or not _dup_vma(mm, oldmm, vma):
            return False
    mm.put_unused_files(unused)
    return True


def _dup_vma(mm: MmStruct, oldmm: MmStruct, vma: struct_vm_area_struct_ptr) -> bool:
    if vma.vm_flags & VM_ACCOUNT and not vm_enough_memory(oldmm, _vma_pages(vma)):
        return False
    new = ffi.new("struct vm_area_struct *", vma[0])
    new.anon_vma = new.nr_anon_vma_chain = 0
    new.vm_flags &= ~VM_LOCKED_MASK
    wipe = vma.vm_flags & VM_WIPEONFORK
    if not wipe:
        anon_vma_fork(mm, new, vma)
    try:
        vma_insert(mm, new)
    except LinuxError:
        return False
    if wipe or not vma_needs_copy(vma):
        return True
    split_huge_pmds(oldmm, vma.vm_start, vma.vm_end)
    return engine.copy_page_range(oldmm, mm, vma.vm_start, vma.vm_end, vma.vm_flags)


def vma_needs_copy(vma: struct_vm_area_struct_ptr) -> bool:
    """Whether the PTEs of a parent's VMA are copied: where a fault would not bring the same again
    (mm/memory.c).
    """
    return bool(vma.anon_vma) or vma.vm_flags & (VM_PFNMAP | VM_MIXEDMAP) != 0


def _vma_pages(vma: struct_vm_area_struct_ptr) -> int:
    return vma.vm_end - vma.vm_start >> PAGE_SHIFT
