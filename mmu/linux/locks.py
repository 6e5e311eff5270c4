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

from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import (
    LCB_F_SPIN,
    LOCK_NAMES,
    LOCK_PAGE_TABLE,
    LOCK_PMD,
    LOCK_PTE,
    contention_begin,
    contention_end,
)
from mmu.linux.state import Kernel, MmStruct, kernel_of
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu._native import Ptr, struct_kernel_ptr

# What C calls back.


@ffi.def_extern()
def kernel_wait_for_lock(c: struct_kernel_ptr, lock: Ptr[int], kind: int) -> bool:
    """A lock is held: wait until its word is 0. False: nobody can make it so."""
    kernel = kernel_of(c)
    what = f"the {LOCK_NAMES[kind]} that CPU {lock[0] - 1} holds"
    try:
        return kernel.scheduler.spin_until(lambda: not lock[0], what)
    except BaseException as error:
        kernel.keep_error(error)
        return False


@ffi.def_extern()
def kernel_lockdep(c: struct_kernel_ptr, what: int, lock: int, kind: int) -> None:
    """A spinlock is taken or dropped: have it looked at."""
    _lockdep(kernel_of(c), what, lock, kind)


def _lockdep(kernel: Kernel, what: int, lock: int, kind: int) -> None:
    """Tell lockdep, which is on; what it finds is kept for Kernel.check(), as from C."""
    lockdep = kernel.lockdep
    assert lockdep is not None
    subclass = int(kind & lib.LOCK_NESTED != 0)
    kind &= ~lib.LOCK_NESTED
    name = f"the {LOCK_NAMES[kind]} {lock:#x}"
    try:
        if what == lib.LOCKDEP_RELEASE:
            lockdep.release((kind, lock))
        elif what == lib.LOCKDEP_ACQUIRE:
            lockdep.acquire((kind, lock), kind, name, subclass=subclass)
        else:
            lockdep.acquired((kind, lock), kind, name, subclass=subclass)
    except MmBug as error:
        kernel.keep_error(error)


# The word: of a table in its struct page, of an mm in page_table_lock.


def _spin_lock(mm: MmStruct, held: Callable[[], int], name: int, kind: int) -> None:
    """spin_lock_slowpath(): wait until the word, which ``held`` reads, is 0."""
    kernel = mm.kernel
    contention_begin(kernel, name, kind, LCB_F_SPIN)
    had = True
    while held() and had:
        what = f"the {LOCK_NAMES[kind]} that CPU {held() - 1} holds"
        had = kernel.scheduler.spin_until(lambda: not held(), what)
    contention_end(kernel, name, kind, int(not had))
    if not had:
        kernel.bug(Bug.LOCK_HELD, name)


def lock_table(mm: MmStruct, table: int, kind: int = LOCK_PTE) -> None:
    """Take the lock of the table in frame ``table``. May wait for another CPU."""
    kernel, page = mm.kernel, mm.memory.page(table)
    kernel.point("spin_lock", lambda: not page.ptl)
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_ACQUIRE, table, kind)
    kernel.lock_prefix(spin_lock=True)
    if page.ptl:
        _spin_lock(mm, lambda: page.ptl, table, kind & ~lib.LOCK_NESTED)
    page.ptl = kernel.c.this_cpu.id + 1
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_ACQUIRED, table, kind)


def unlock_table(mm: MmStruct, table: int, kind: int = LOCK_PTE) -> None:
    """Drop the lock of the table in frame ``table``, which this CPU holds."""
    kernel, page = mm.kernel, mm.memory.page(table)
    if page.ptl != kernel.c.this_cpu.id + 1:
        kernel.bug(Bug.LOCK_NOT_HELD, table)
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_RELEASE, table, kind)
    page.ptl = 0
    kernel.point("spin_unlock")


def pte_lock(mm: MmStruct, table: int) -> None:
    """Take the lock of the PTE table in frame ``table``, which is held (ptep_lockptr(), mm.h)."""
    lock_table(mm, table)


def pte_lock_nested(mm: MmStruct, table: int) -> None:
    """pte_lock() inside the PTE lock of another table, which is taken first everywhere:
    spin_lock_nested(SINGLE_DEPTH_NESTING).
    """
    lock_table(mm, table, LOCK_PTE | lib.LOCK_NESTED)


def pte_unlock(mm: MmStruct, table: int) -> None:
    """Drop the lock of the PTE table."""
    unlock_table(mm, table)


def pmd_lock(mm: MmStruct, pmd: EntryPa) -> None:
    """Take the lock of the PMD table that pmd lies in (pmd_lock(), mm.h)."""
    lock_table(mm, pmd >> PAGE_SHIFT, LOCK_PMD)


def pmd_lock_nested(mm: MmStruct, pmd: EntryPa) -> None:
    """pmd_lock() inside the PMD lock of another table, which is taken first everywhere."""
    lock_table(mm, pmd >> PAGE_SHIFT, LOCK_PMD | lib.LOCK_NESTED)


def pmd_trylock(mm: MmStruct, pmd: EntryPa) -> bool:
    """Take the PMD lock if it is free; whether it was. What may be done inside a PTE lock."""
    kernel = mm.kernel
    kernel.point("spin_trylock")
    table = pmd >> PAGE_SHIFT
    page = mm.memory.page(table)
    kernel.lock_prefix()
    if page.ptl:
        return False
    page.ptl = kernel.c.this_cpu.id + 1
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_TRYLOCK, table, LOCK_PMD)
    return True


def pmd_unlock(mm: MmStruct, pmd: EntryPa) -> None:
    """Drop the PMD lock."""
    unlock_table(mm, pmd >> PAGE_SHIFT, LOCK_PMD)


def page_table_lock(mm: MmStruct) -> None:
    """Take the mm's own page_table_lock. May wait for another CPU."""
    kernel = mm.kernel

    def held() -> int:
        return kernel.read_once(mm, "page_table_lock")

    kernel.point("spin_lock", lambda: not held())
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_ACQUIRE, int(mm.c.pgd), LOCK_PAGE_TABLE)
    kernel.lock_prefix(spin_lock=True)
    if held():
        _spin_lock(mm, held, int(mm.c.pgd), LOCK_PAGE_TABLE)
    kernel.write_once(mm, "page_table_lock", kernel.c.this_cpu.id + 1)
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_ACQUIRED, int(mm.c.pgd), LOCK_PAGE_TABLE)


def page_table_unlock(mm: MmStruct) -> None:
    """Drop the mm's own page_table_lock."""
    kernel = mm.kernel
    if kernel.read_once(mm, "page_table_lock") != kernel.c.this_cpu.id + 1:
        kernel.bug(Bug.LOCK_NOT_HELD, int(mm.c.pgd))
    if kernel.lockdep is not None:
        _lockdep(kernel, lib.LOCKDEP_RELEASE, int(mm.c.pgd), LOCK_PAGE_TABLE)
    kernel.write_once(mm, "page_table_lock", 0)
    kernel.point("spin_unlock")
