# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks of page tables: spinlocks, each a word that is 0 or the number of its CPU and 1.

The lock of a table lives in its frame's ``struct page`` (Linux's split page-table locks): the PTE
lock in the PTE table's, the PMD lock in that of the PMD table that the entry lies in. The
page_table_lock of the mm guards PML4 and PDPT entries.

A lock that another CPU holds is waited for (``Kernel.scheduler``), from C as well, which calls back
for it; when nobody can make it free, that is the bug LOCK_HELD. docs/locking.md has the order of
all locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import ffi, lib
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID
from mmu.linux.bug import Bug
from mmu.linux.pgtable import emit, entry_pfn, table_page
from mmu.linux.state import Kernel, MmStruct, kernel_of
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu._native import CData, struct_kernel_ptr, struct_page

LOCK_PTE: Final = lib.LOCK_PTE
LOCK_PMD: Final = lib.LOCK_PMD
LOCK_PAGE_TABLE: Final = lib.LOCK_PAGE_TABLE
LOCK_MMAP: Final = lib.LOCK_MMAP
LOCK_VMA: Final = lib.LOCK_VMA

LOCK_NAMES: Final = ("PTE lock", "PMD lock", "page_table_lock", "mmap_lock", "VMA lock")
"""By kind of lock, for people."""

LCB_F_SPIN: Final = lib.LCB_F_SPIN
LCB_F_READ: Final = lib.LCB_F_READ
LCB_F_WRITE: Final = lib.LCB_F_WRITE

_BEGIN: Final = EVENT_ID["contention_begin"]
_END: Final = EVENT_ID["contention_end"]
_CONTENDED: Final = KERNEL_COUNTER_ID["pte_lock_contended"]


def contention_begin(kernel: Kernel, lock: int, kind: int, flags: int) -> None:
    """The lock of this kind is held and is waited for: count it and tell it. flags: LCB_F_*."""
    kernel.c.counter[_CONTENDED + kind] += 1
    emit(kernel, _BEGIN, lock, kind, flags)


def contention_end(kernel: Kernel, lock: int, kind: int, ret: int) -> None:
    """The wait is over; ret 0: the lock is had."""
    emit(kernel, _END, lock, kind, ret)


# The word itself. In C it is one pointer; here the struct page, or the mm for page_table_lock.


def _spin_lock(mm: MmStruct, held: Callable[[], int], name: int, kind: int) -> None:
    """spin_lock_slowpath(): wait until the word, which ``held`` reads, is 0."""
    kernel = mm.kernel
    contention_begin(kernel, name, kind, LCB_F_SPIN)
    had = True
    while held() and had:
        had = kernel.scheduler.spin_until(lambda: not held(), f"the {LOCK_NAMES[kind]} {name:#x}")
    contention_end(kernel, name, kind, int(not had))
    if not had:
        kernel.bug(Bug.LOCK_HELD, name)


@ffi.def_extern()
def kernel_wait_for_lock(c: struct_kernel_ptr, lock: CData, kind: int) -> bool:
    """What C calls where a lock is held: wait until its word is 0. False: nobody can make it so."""
    kernel = kernel_of(c)
    name = f"the {LOCK_NAMES[kind]} held by CPU {lock[0] - 1}"
    try:
        return kernel.scheduler.spin_until(lambda: not lock[0], name)
    except BaseException as error:
        kernel.keep_error(error)
        return False


def lock_table(mm: MmStruct, page: struct_page, kind: int = LOCK_PTE) -> None:
    """Take the lock of the table whose ``struct page`` this is. May wait for another CPU."""
    mm.kernel.point("spin_lock")
    if page.ptl:
        _spin_lock(mm, lambda: page.ptl, _pfn_of(mm, page), kind)
    page.ptl = mm.kernel.c.this_cpu.id + 1


def unlock_table(mm: MmStruct, page: struct_page) -> None:
    """Drop the lock of the table whose ``struct page`` this is, which this CPU holds."""
    if page.ptl != mm.kernel.c.this_cpu.id + 1:
        mm.kernel.bug(Bug.LOCK_NOT_HELD)
    page.ptl = 0
    mm.kernel.point("spin_unlock")


def _pfn_of(mm: MmStruct, page: struct_page) -> int:
    index = ffi.addressof(page) - mm.memory.c.pages
    return int(index) + (mm.memory.base >> PAGE_SHIFT)


def pte_lock(mm: MmStruct, pmd: EntryPa) -> None:
    """Take the lock of the PTE table under pmd, a guest-physical address (pte_lockptr(), mm.h)."""
    lock_table(mm, mm.memory.page(entry_pfn(mm.memory.read_u64(pmd))))


def pte_unlock(mm: MmStruct, pmd: EntryPa) -> None:
    """Drop the lock of the PTE table under pmd."""
    unlock_table(mm, mm.memory.page(entry_pfn(mm.memory.read_u64(pmd))))


def pmd_lock(mm: MmStruct, pmd: EntryPa) -> None:
    """Take the lock of the PMD table that pmd lies in (pmd_lock(), mm.h)."""
    lock_table(mm, table_page(mm, pmd), LOCK_PMD)


def pmd_trylock(mm: MmStruct, pmd: EntryPa) -> bool:
    """Take the PMD lock if it is free; whether it was. What may be done inside a PTE lock."""
    mm.kernel.point("spin_trylock")
    page = table_page(mm, pmd)
    if page.ptl:
        return False
    page.ptl = mm.kernel.c.this_cpu.id + 1
    return True


def pmd_unlock(mm: MmStruct, pmd: EntryPa) -> None:
    """Drop the PMD lock."""
    unlock_table(mm, table_page(mm, pmd))


def page_table_lock(mm: MmStruct) -> None:
    """Take the mm's own page_table_lock."""
    mm.kernel.point("spin_lock")
    if mm.c.page_table_lock:
        _spin_lock(mm, lambda: mm.c.page_table_lock, int(mm.c.pgd), LOCK_PAGE_TABLE)
    mm.c.page_table_lock = mm.kernel.c.this_cpu.id + 1


def page_table_unlock(mm: MmStruct) -> None:
    """Drop the mm's own page_table_lock."""
    if mm.c.page_table_lock != mm.kernel.c.this_cpu.id + 1:
        mm.kernel.bug(Bug.LOCK_NOT_HELD)
    mm.c.page_table_lock = 0
    mm.kernel.point("spin_unlock")
