# SPDX-License-Identifier: GPL-2.0-or-later
"""The lock of each VMA: faults in one go on while mmap_lock is held for another (mm/mmap_lock.c,
include/linux/mmap_lock.h, v6.18).

``vm_refcnt`` is 0 for a VMA in no index, 1 for one that is, and one more for each reader. A writer
holds mmap_lock for writing; it adds VMA_LOCK_OFFSET, which keeps new readers off, waits until those
that are inside have left, and then stamps the VMA with the mm's ``mm_lock_seq``: it is write-locked
until mmap_lock is dropped or downgraded, when that number moves on for all of them at once.

What may change in a VMA under its reader: nothing but its anon_vma, which mmap_lock guards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LCB_F_WRITE, LOCK_VMA, contention_begin, contention_end
from mmu.linux.state import MmStruct

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

VMA_LOCK_OFFSET: Final = lib.VMA_LOCK_OFFSET

_ONE_READER: Final = lib.VMA_READER_ONE


def _name(vma: struct_vm_area_struct_ptr) -> str:
    return f"the VMA lock of {vma.vm_start:#x}"


def _number(vma: struct_vm_area_struct_ptr) -> int:
    return int(ffi.cast("uintptr_t", vma))


def vma_is_write_locked(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> bool:
    """Whether the holder of mmap_lock may change it: vma_assert_write_locked()."""
    return bool(vma.vm_lock_seq == mm.c.mm_lock_seq)


def lock_vma_under_rcu(mm: MmStruct, address: int) -> struct_vm_area_struct_ptr | None:
    """The VMA that holds address, read-locked: it stays as it is until vma_end_read(). None: there
    is none, or a writer has it or waits for it; mmap_lock tells. Never sleeps.
    """
    kernel = mm.kernel
    if kernel.on_point is not None:
        kernel.point("lock_vma_under_rcu")
    kernel.instrument_lock("vm_refcnt", mm.c.pgd, write=False)
    kernel.instrument_read(mm, "vmas")
    vma = lib.lock_vma_under_rcu(mm.c, address)
    if not vma:
        return None
    if kernel.lockdep is not None:
        _watch_reader(mm, vma)
    return vma


def vma_start_read(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> bool:
    """Become a reader unless a writer has the VMA or waits for it, or it is detached."""
    mm.kernel.instrument_lock("vm_refcnt", mm.c.pgd, write=False)
    mm.kernel.instrument_read(mm, "vmas")
    if not lib.vma_start_read(mm.c, vma):
        return False
    if mm.kernel.lockdep is not None:
        _watch_reader(mm, vma)
    return True


def _watch_reader(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> None:
    assert mm.kernel.lockdep is not None
    mm.kernel.lockdep.acquired(_number(vma), LOCK_VMA, _name(vma), read=True, trylock=True)


def vma_end_read(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> None:
    """A reader leaves; the last one wakes the writer that waits. MmBug LOCK_NOT_HELD."""
    kernel = mm.kernel
    kernel.instrument_lock("vm_refcnt", mm.c.pgd, write=False)
    reader = lib.vma_end_read(vma)
    if reader != _ONE_READER:
        if reader == lib.VMA_READER_NONE:
            raise MmBug(Bug.LOCK_NOT_HELD, _number(vma))
        kernel.scheduler.wake_up(mm.vma_writer_wait)
    if kernel.lockdep is not None:
        kernel.lockdep.release(_number(vma))
    if kernel.on_point is not None:
        kernel.point("vma_end_read")


def vma_start_write(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> None:
    """Before a VMA is changed or detached: wait until its readers have left, and keep others off
    until mmap_lock, which is held for writing, is dropped. Twice is once; may sleep.
    """
    kernel = mm.kernel
    if not mm.c.mm_lock_seq & 1:
        raise MmBug(Bug.LOCK_NOT_HELD, int(mm.c.pgd), f"{_name(vma)} needs mmap_lock for writing")
    if vma_is_write_locked(mm, vma):
        return
    if kernel.lockdep is not None:
        kernel.lockdep.acquire(_number(vma), LOCK_VMA, _name(vma))
    kernel.instrument_lock("vm_refcnt", mm.c.pgd, write=True)
    vma.vm_refcnt += VMA_LOCK_OFFSET
    kernel.point("vma_start_write")
    kernel.instrument_lock("vm_refcnt", mm.c.pgd, write=True)
    if vma.vm_refcnt != VMA_LOCK_OFFSET + 1:
        _wait_for_readers(mm, vma)
    vma.vm_lock_seq = mm.c.mm_lock_seq
    vma.vm_refcnt -= VMA_LOCK_OFFSET


def _wait_for_readers(mm: MmStruct, vma: struct_vm_area_struct_ptr) -> None:
    """__vma_enter_locked()."""
    kernel, number = mm.kernel, _number(vma)

    def ready() -> bool:
        kernel.instrument_lock("vm_refcnt", mm.c.pgd, write=True)
        return bool(vma.vm_refcnt == VMA_LOCK_OFFSET + 1)

    contention_begin(kernel, number, LOCK_VMA, LCB_F_WRITE)
    error = kernel.wait_event(
        mm.vma_writer_wait,
        ready,
        f"the readers of {_name(vma)}",
    )
    contention_end(kernel, number, LOCK_VMA, error & 0xFFFF_FFFF)
    if error:
        vma.vm_refcnt -= VMA_LOCK_OFFSET
        raise MmBug(Bug.LOCK_HELD, number, f"{_name(vma)} has {vma.vm_refcnt - 1} readers")


def vma_mark_detached(vma: struct_vm_area_struct_ptr) -> None:
    """The VMA, which is write-locked, leaves the index: nobody can lock it any more."""
    vma.vm_refcnt = 0
