# SPDX-License-Identifier: GPL-2.0-or-later
"""The page-fault handler's long way (arch/x86/mm/fault.c, v6.18).

::

    handle_user_fault()      CR2 and the error code come in, a signal or nothing goes out
      lock_vma_under_rcu()     first try: under the lock of the VMA alone
      lock_mm_and_find_vma()   else under mmap_lock; the address may lie just below a stack
      handle_mm_fault()        the VMA allows the access: bring in the page
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.errors import BadTable, MmuError
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID
from mmu.linux.anon import access_error
from mmu.linux.handle_mm_fault import (
    VM_FAULT_OOM,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    handle_mm_fault,
)
from mmu.linux.layout import TASK_SIZE
from mmu.linux.stack_growth import lock_mm_and_find_vma
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import emit, spanned
from mmu.linux.vma_lock import lock_vma_under_rcu, vma_end_read
from mmu.linux.vmscan import try_to_free_pages
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import struct_vm_area_struct_ptr

SIGBUS, SIGSEGV = 7, 11
SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR = 1, 2, 2

_PAGE_FAULT_USER: Final = EVENT_ID["page_fault_user"]
_VMA_LOCK: Final = EVENT_ID["vma_lock"]
_VMA_LOCK_SUCCESS: Final = KERNEL_COUNTER_ID["vma_lock_success"]
_VMA_LOCK_RETRY: Final = KERNEL_COUNTER_ID["vma_lock_retry"]


class OomKill(MmuError):
    """Guest RAM is out and nothing can be given back: the process is killed, as by the OOM killer
    (SIGKILL).
    """


@dataclass(frozen=True, slots=True)
class Segv:
    """The signal a fault ends in: its number, its si_code, and si_addr."""

    signal: int
    code: int
    address: int

    def __str__(self) -> str:
        """``SIGSEGV (SEGV_MAPERR) at 0x...``."""
        if self.signal == SIGBUS:
            return f"SIGBUS (BUS_ADRERR) at {self.address:#x}"
        code = "SEGV_ACCERR" if self.code == SEGV_ACCERR else "SEGV_MAPERR"
        return f"SIGSEGV ({code}) at {self.address:#x}"


# From the error code to a signal.


def handle_user_fault(mm: MmStruct, address: int, error_code: int) -> Segv | None:
    """exc_page_fault() for an access at CPL 3: None if it may be tried again, else the signal.

    error_code is the processor's (SDM vol. 3A figure 4-12). Takes no lock that a caller holds.
    Raises OomKill when no memory is left, BadTable for a reserved bit set in a table entry (the
    kernel would say "Bad pagetable").
    """
    emit(mm.kernel, _PAGE_FAULT_USER, address, error_code, mm.c.pgd)
    segv = do_user_addr_fault(mm, address, error_code, user=True)
    if segv is OUT_OF_MEMORY:
        raise OomKill(
            f"guest RAM is out at address {address:#x}: {mm.rss() << PAGE_SHIFT - 10} kB resident,"
            f" {mm.c.pgtables_bytes >> 10} kB of page tables, {mm.memory.free_frames} frames free"
        )
    return segv


# What do_user_addr_fault() answers when there is no frame; the caller decides who pays.
OUT_OF_MEMORY: Final = Segv(9, 0, 0)


@spanned(lambda mm, address, *_, **__: (mm, address, address + 1))
def do_user_addr_fault(
    mm: MmStruct, address: int, error_code: int, *, user: bool = False
) -> Segv | None:
    """Resolve a fault on a user address: None, the signal that is due, or OUT_OF_MEMORY.

    An access of a ``user`` is handled under the lock of its VMA if that suffices. Else, and for the
    kernel's own accesses to user memory, which turn a signal into EFAULT, mmap_lock is taken for
    reading. May wait; the caller holds neither, no spinlock, and is in no RCU read section.
    """
    if error_code & lib.PF_RSVD:
        raise BadTable(f"a table entry for address {address:#x} has a reserved bit set", address)
    if address >= TASK_SIZE:
        return Segv(SIGSEGV, SEGV_MAPERR, address)
    vma = lock_vma_under_rcu(mm, address) if user else None
    if vma is not None:
        try:
            fault = _fault_in_vma(mm, vma, address, error_code, vma_locked=True)
        finally:
            vma_end_read(mm, vma)
        if not isinstance(fault, int):
            return fault
        if not fault & VM_FAULT_RETRY:
            mm.kernel.c.counter[_VMA_LOCK_SUCCESS] += 1
            emit(mm.kernel, _VMA_LOCK, lib.VMA_LOCK_SUCCESS, address, mm.c.pgd)
            return _signal_of(fault, address)
        mm.kernel.c.counter[_VMA_LOCK_RETRY] += 1
        emit(mm.kernel, _VMA_LOCK, lib.VMA_LOCK_RETRY, address, mm.c.pgd)
    vma = lock_mm_and_find_vma(mm, address)
    if vma is None:
        return Segv(SIGSEGV, SEGV_MAPERR, address)
    try:
        fault = _fault_in_vma(mm, vma, address, error_code, vma_locked=False)
    finally:
        mm.mmap_lock.unlock(write=False)
    return fault if not isinstance(fault, int) else _signal_of(fault, address)


def _fault_in_vma(
    mm: MmStruct,
    vma: struct_vm_area_struct_ptr,
    address: int,
    error_code: int,
    *,
    vma_locked: bool,
) -> int | Segv:
    """VM_FAULT_* bits, or the signal for an access that the VMA forbids. It is kept as it is."""
    if access_error(vma.vm_flags, error_code):
        return Segv(SIGSEGV, SEGV_ACCERR, address)
    write = error_code & lib.PF_WR != 0
    fault = handle_mm_fault(mm, vma, address, write, vma_locked=vma_locked)
    if fault & VM_FAULT_OOM and try_to_free_pages(mm):
        fault = handle_mm_fault(mm, vma, address, write, vma_locked=vma_locked)
    return fault


def _signal_of(fault: int, address: int) -> Segv | None:
    if fault & VM_FAULT_OOM:
        return OUT_OF_MEMORY
    if fault & VM_FAULT_SIGBUS:
        return Segv(SIGBUS, BUS_ADRERR, address)
    if fault & VM_FAULT_SIGSEGV:
        return Segv(SIGSEGV, SEGV_MAPERR, address)
    return None
