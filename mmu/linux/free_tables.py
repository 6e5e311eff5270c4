# SPDX-License-Identifier: GPL-2.0-or-later
"""How references of PTE tables are counted and when a table is freed: one class, to be subclassed.

``FreeTablesPolicy`` is the second design of the counts, whole: ``refcount``. Another way to free
tables is a subclass that says what it does differently, ``mmu.linux.policies`` has ours, and a
user's comes from a file (docs/policies.md). ``mmu.linux.pte_ref`` is what the rest of the kernel
calls; under the Python engine it comes here.

::

    pte_alloc_get ─ pte_try_get ─ get_named ─ table_get_unless_zero           a visitor comes
          │              └─ none there: install_new ─ pte_ref_init, pmd_install
          └─ a count of 0: found_zero

    pte_get, pte_get_many ─ table_get                                     entries were set
    pte_put, pte_put_many ─ put_many ─┬─ table_put                        not the last ones
                                      └─ put_last ─ table_put, free_and_unlock
    free_and_unlock ─ detach ─ flush_detached ─ unlock ─ tlb_remove_tables ─ … ─ frame_freed

What is held, and who may wait for it, is said with each method. Whatever another CPU could see, or
could change in between, is told by ``kernel.point()`` before it is done: the race explorer switches
there. State that several CPUs share is best kept in ``mmu.linux.shared``, which does so by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Final

from mmu._native import lib
from mmu.events import EVENT_ID, MM_COUNTER_ID
from mmu.linux.bug import Bug
from mmu.linux.locks import pmd_lock, pmd_trylock, pmd_unlock, pte_lock, pte_unlock
from mmu.linux.mmu_gather import (
    Gather,
    flush_freed_tables,
    flush_pte_table,
    mm_dec_nr_ptes,
    pte_free_tlb,
    tlb_gather_owed,
)
from mmu.linux.pgalloc import mm_inc_pgtables
from mmu.linux.pgtable import (
    ADDR_MASK,
    PMD_MASK,
    PMD_SIZE,
    TABLE,
    entry_pfn,
    pmd_address,
    pmd_huge,
    pmd_none,
    table_is_empty,
    xchg_pmd,
)
from mmu.linux.pmd_ref import pmd_entry_cleared, pmd_entry_cleared_tlb, pmd_entry_set
from mmu.linux.pt_reclaim import free_pte
from mmu.linux.rcu import call_rcu, rcu_read_lock, rcu_read_unlock
from mmu.linux.state import Kernel, MmStruct
from mmu.linux.tracepoint import Span, emit
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT

if TYPE_CHECKING:
    from mmu._native import struct_page

PTE_REF_MAX: Final = 0x7FFF_FFFF
"""A count above this is an overflow."""

_PTE_ALLOC: Final = EVENT_ID["pte_alloc"]
_PTE_FREE: Final = EVENT_ID["pte_free"]
_PTE_GET: Final = EVENT_ID["pte_get"]
_PTE_PUT: Final = EVENT_ID["pte_put"]
_FREEING: Final = "free_pte_table"
_ALLOCATED: Final = MM_COUNTER_ID["pte_tables_allocated"]


class Holder(IntEnum):
    """Whose references are taken or dropped."""

    VISITOR = 0
    """Of one who looks or writes; it is dropped before the task is back in user mode."""
    ENTRIES = 1
    POLICY = 2
    """The policy's own: kept()."""


class TryGet(IntEnum):
    """What pte_try_get() ended in."""

    SUCCEEDED = lib.TRYGET_SUCCEEDED
    FAILED_ZERO = lib.TRYGET_FAILED_ZERO
    FAILED_NONE = lib.TRYGET_FAILED_NONE
    FAILED_HUGE_PMD = lib.TRYGET_FAILED_HUGE_PMD


class FreeTablesPolicy:
    """Free a table when its last reference is dropped; look it up in an RCU read section.

    One object is made for each kernel. In all methods ``mm`` is the address space, ``pmd`` the
    guest-physical address of a PMD entry, ``table`` the frame number of a PTE table, ``addr`` any
    virtual address of the table's 2 MiB, ``nr`` a number of references, ``tlb`` the gather that
    flushes and frees later, None: at once. mmap_lock or a VMA's lock is held in all of them, but
    where it is said otherwise. A broken invariant is told by ``kernel.bug()``.
    """

    label: ClassVar[str] = ""
    """Its name in reports, "" for that of the class. Of one that is named by its file this is
    FILE.py:CLASS, whatever it says here.
    """
    counts: ClassVar[bool] = True
    """Whether references are counted. Then no PTE table is left when its addresses are unmapped."""
    number: ClassVar[int] = lib.FREE_TABLES_OWN
    """``policy`` of ``struct kernel``: of the four that the C engine has too."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.memory = kernel.memory

    # The count of one table.

    def pte_ref_init(self, mm: MmStruct, table: int, pmd: EntryPa, count: int) -> None:
        """Set back pointer and count of a table that nobody else can see yet (D1). No lock."""
        page = self.memory.page(table)
        page.pmd = pmd
        page.pte_refcount = count

    def table_get(self, mm: MmStruct, table: int, nr: int, holder: Holder) -> None:
        """Take nr > 0 more references: there is one already that keeps the table, or the PTE lock
        and a non-none entry do. It may not wait.
        """
        self.kernel.lock_prefix()
        page = self.memory.page(table)
        old = page.pte_refcount
        if old == 0 or old + nr > PTE_REF_MAX:
            self.kernel.bug(Bug.PTE_REF_OVERFLOW if old else Bug.PTE_REF_FROM_ZERO, table)
            return
        page.pte_refcount = old + nr
        self.tell_get(table, old, old + nr, holder)

    def table_get_unless_zero(self, mm: MmStruct, table: int) -> bool:
        """Take a visitor's reference unless there is none left; whether it did. In an RCU read
        section, or under the PMD lock: the frame is there, but the table may be dying.
        """
        self.kernel.lock_prefix()
        page = self.memory.page(table)
        old = page.pte_refcount
        if old == 0:
            return False
        page.pte_refcount = old + 1
        self.tell_get(table, old, old + 1, Holder.VISITOR)
        return True

    def table_put(self, mm: MmStruct, table: int, nr: int, holder: Holder) -> bool:
        """Drop nr references; whether none is left: then the caller must free the table. Dropping
        more than there are is the bug PTE_REF_UNDERFLOW. It may not wait.
        """
        self.kernel.lock_prefix()
        page = self.memory.page(table)
        old = page.pte_refcount
        if old < nr:
            self.kernel.bug(Bug.PTE_REF_UNDERFLOW, table)
            return False
        page.pte_refcount = old - nr
        self.tell_put(table, old, old - nr, holder)
        return bool(old == nr)

    def references(self, table: int) -> int:
        """How many references of entries and visitors there are, for checks and reports: nothing
        runs meanwhile. Those that the policy itself holds are not among them (kept()).
        """
        return int(self.peek(table).pte_refcount) - self.kept(table)

    def kept(self, table: int) -> int:
        """How many references of the table the policy itself holds."""
        return 0

    # Looking a table up.

    def pte_try_get(self, mm: MmStruct, pmd: EntryPa) -> tuple[TryGet, int]:
        """Take a visitor's reference on what pmd names now; the result, and the PMD's value.

        In an RCU read section, on a copy of the PMD's value; after success the PMD is read again,
        and if another table, or none, stands there now (ABA), the reference is dropped from the
        table that was held, not from the one that the PMD names now (D11). On failure nothing is
        held, neither a lock nor a read section (D6). Nobody is waited for.
        """
        rcu_read_lock(self.kernel)
        pmdval = self.memory.read_u64(pmd)
        self.kernel.point("pte_try_get")
        result = self.get_named(mm, pmdval)
        if result == TryGet.SUCCEEDED and self.memory.read_u64(pmd) != pmdval:
            self.put_many(mm, None, entry_pfn(pmdval), 0, 1, Holder.VISITOR)
            result = TryGet.FAILED_NONE
        rcu_read_unlock(self.kernel)
        return result, pmdval

    def get_named(self, mm: MmStruct, pmdval: int) -> TryGet:
        """What pmdval refers to, with a reference taken if it is a table; as
        table_get_unless_zero().
        """
        if pmd_none(pmdval):
            return TryGet.FAILED_NONE
        if pmd_huge(pmdval):
            return TryGet.FAILED_HUGE_PMD
        if self.table_get_unless_zero(mm, entry_pfn(pmdval)):
            return TryGet.SUCCEEDED
        return TryGet.FAILED_ZERO

    def found_zero(self, mm: MmStruct, pmd: EntryPa, addr: int) -> None:
        """A fault found a count of 0, and will look again: do the freer's work, rather than wait
        for one who may be preempted (D2). No spinlock is held.
        """
        pmd_lock(mm, pmd)
        self.free_and_unlock(mm, None, pmd, addr)

    def install_new(self, mm: MmStruct, pmd: EntryPa, addr: int, table: int) -> int:
        """Give a table, just made, its count and publish it; as pmd_install()."""
        self.pte_ref_init(mm, table, pmd, int(self.counts))
        return self.pmd_install(mm, pmd, addr, table)

    def pmd_install(self, mm: MmStruct, pmd: EntryPa, addr: int, table: int) -> int:
        """Publish the table in pmd, under the PMD lock, which is taken here; the table on which a
        visitor's reference is held then, 0: the winner's of an install race, which is being freed.

        What is still owed for the slot is flushed first, under the lock (D4): it may wait for other
        CPUs to acknowledge.
        """
        self.kernel.point("pmd_install")
        pmd_lock(mm, pmd)
        pmdval = self.memory.read_u64(pmd)
        won = pmd_none(pmdval)
        if won:
            self.flush_before_install(mm, pmd, addr)
            xchg_pmd(mm, addr, pmd, table << PAGE_SHIFT | TABLE, "pmd_install")
            mm_inc_pgtables(mm)
            mm.c.counter[_ALLOCATED] += 1
            emit(self.kernel, _PTE_ALLOC, addr & PMD_MASK, table, mm.c.pgd, pmd)
            pmd_entry_set(mm, pmd)
            held = table
        else:
            named = entry_pfn(pmdval)
            held = 0
            if not pmd_huge(pmdval) and self.table_get_unless_zero(mm, named):
                held = named
        pmd_unlock(mm, pmd)
        if not won:
            self.frame_freed(table)
            self.memory.page(table).flags &= ~lib.PG_table
            self.memory.free_pages(table, zero=True)
        return held

    def flush_before_install(self, mm: MmStruct, pmd: EntryPa, addr: int) -> None:
        """A table is about to come into the empty pmd: flush what a gather still owes for the one
        before (D4). The PMD lock is held.
        """
        flush_freed_tables(mm, pmd, addr)

    # Dropping references, and freeing.

    def put_many(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Drop nr > 0 references, and free the table if they were the last: without a lock unless
        they are (as refcount_dec_and_lock()). No PTE lock and no PMD lock is held.
        """
        self.kernel.point("pte_put")
        self.kernel.lock_prefix()  # the look and the drop are one: LOCK CMPXCHG
        if self.memory.page(table).pte_refcount > nr:
            self.table_put(mm, table, nr, holder)
        else:
            self.put_last(mm, tlb, table, addr, nr, holder)

    def put_last(
        self, mm: MmStruct, tlb: Gather | None, table: int, addr: int, nr: int, holder: Holder
    ) -> None:
        """Drop nr references that may be the last. Once the count is 0, anybody may free the table;
        RCU keeps its frame until the back pointer was read.
        """
        rcu_read_lock(self.kernel)
        if self.table_put(mm, table, nr, holder):
            pmd = EntryPa(self.memory.page(table).pmd)
            self.kernel.point("free_pte_table")
            pmd_lock(mm, pmd)
            self.free_and_unlock(mm, tlb, pmd, pmd_address(mm, pmd, addr))
        rcu_read_unlock(self.kernel)

    def free_and_unlock(self, mm: MmStruct, tlb: Gather | None, pmd: EntryPa, addr: int) -> None:
        """Free the table under pmd if it is dead, exactly once, whoever asks and however often. The
        PMD lock is held, and dropped here.

        The flush comes before the lock is dropped, so that no new table can be installed beside old
        translations (D3, D4); with a gather it is the gather's.
        """
        start = addr & PMD_MASK
        with Span(self.kernel, _FREEING, start, start + PMD_SIZE, mm.c.pgd):
            table = self.detach(mm, pmd, addr)
            if table is not None:
                self.kernel.point("pmd_cleared")
                self.flush_detached(mm, tlb, table, addr)
            pmd_unlock(mm, pmd)
            if table is not None:
                mm_dec_nr_ptes(mm)
                if tlb is None:
                    self.tlb_remove_tables([table])
                    pmd_entry_cleared(mm, pmd, addr)
                else:
                    pmd_entry_cleared_tlb(tlb, pmd, addr)

    def detach(self, mm: MmStruct, pmd: EntryPa, addr: int) -> int | None:
        """Take the dead table out of pmd; its frame, or None if another did, or it lives. The PMD
        lock is held. A dead table that is not empty is the bug PTE_TABLE_NOT_EMPTY.
        """
        pmdval = self.memory.read_u64(pmd)
        if pmd_none(pmdval) or pmd_huge(pmdval) or not self.is_dead(mm, entry_pfn(pmdval)):
            return None
        xchg_pmd(mm, addr, pmd, 0, _FREEING)
        if not table_is_empty(self.memory, pmdval & ADDR_MASK):
            self.kernel.bug(Bug.PTE_TABLE_NOT_EMPTY, addr)
            xchg_pmd(mm, addr, pmd, pmdval, _FREEING)
            return None
        emit(self.kernel, _PTE_FREE, addr & PMD_MASK, entry_pfn(pmdval), mm.c.pgd, pmd, _FREEING)
        return entry_pfn(pmdval)

    def is_dead(self, mm: MmStruct, table: int) -> bool:
        """Whether nobody can get a reference of the table any more."""
        return not self.memory.page(table).pte_refcount

    def flush_detached(self, mm: MmStruct, tlb: Gather | None, table: int, addr: int) -> None:
        """Flush what any CPU has cached of the table, which left its PMD, or have the gather do it.
        The PMD lock is held; it waits for other CPUs to acknowledge.
        """
        if tlb is None:
            flush_pte_table(mm, addr)
        else:
            tlb_gather_owed(tlb, addr, 1)
            pte_free_tlb(tlb, table, addr)

    def tlb_remove_tables(self, tables: Sequence[int]) -> None:
        """Free tables that no translation leads to any more: after a grace period. No lock of
        theirs is held; their PMD lock may be. Called for PMD and PUD tables too.
        """
        for table in tables:
            call_rcu(self.kernel, table)

    # A zap that looks whether it emptied the table (CONFIG_PT_RECLAIM).

    def reclaim_pt_is_enabled(self, mm: MmStruct, start: int, end: int, details: int) -> bool:
        """Whether this zap of [start, end), a part or all of one table, frees the table if it finds
        all 512 entries none, though nobody counts. ``details`` are zap_pte_range()'s.
        """
        return False

    def try_get_and_clear_pmd(self, mm: MmStruct, pmd: EntryPa, addr: int) -> int | None:
        """Take the table out of pmd if the PMD lock is free; the PMD's value, or None
        (mm/pt_reclaim.c, v6.14).

        The zap is of all 2 MiB. Every entry was cleared under the PTE lock, which is still held:
        nobody can have refilled it.
        """
        if not pmd_trylock(mm, pmd):
            return None
        pmdval = xchg_pmd(mm, addr, pmd, 0)
        pmd_unlock(mm, pmd)
        return pmdval

    def try_to_free_pte(self, tlb: Gather, pmd: EntryPa, addr: int) -> None:
        """Free the table under pmd if, under both locks, all its entries are none (mm/pt_reclaim.c,
        v6.14).

        For a zap of a part of the table, and one that let the PTE lock go midway: another may have
        refilled what it cleared, or freed the table.
        """
        mm = tlb.mm
        pmd_lock(mm, pmd)
        pmdval = self.memory.read_u64(pmd)
        empty = False
        if not pmd_none(pmdval) and not pmd_huge(pmdval):
            pte_lock(mm, entry_pfn(pmdval))
            empty = table_is_empty(self.memory, pmdval & ADDR_MASK)
            if empty:
                xchg_pmd(mm, addr, pmd, 0)
            pte_unlock(mm, entry_pfn(pmdval))
        pmd_unlock(mm, pmd)
        if empty:
            free_pte(tlb, pmd, pmdval, addr)

    # What it is told.

    def unmapping(self, tlb: Gather, start: int, end: int) -> None:
        """The entries of [start, end) are cleared, and the tables that lie in it alone must be
        gone next: drop the references that are kept of them, by the gather. mmap_lock is held, by
        munmap() only for reading; nobody comes by the VMAs any more, nor by their files. It may
        wait. At exit it is told of all of user space: nothing may be left. Also before a table of
        [start, end) is deposited for a huge page.
        """

    def table_moved(self, mm: MmStruct, table: int, addr: int) -> None:
        """mremap() moved the table, whole, to addr. mmap_lock is held for writing, and the PMD
        locks: it may not wait.
        """

    def task_work(self) -> None:
        """A task goes back to user mode, or on after a slice of its time: the place for what was
        put off. No lock is held, not even mmap_lock, and it may wait. ``kernel.now_ns()`` tells the
        virtual time.
        """

    def frame_freed(self, table: int) -> None:
        """The frame of a PTE, PMD or PUD table goes back to the allocator now: nobody can come to
        it. It may not wait.
        """

    def memory_kept(self) -> int:
        """Bytes of memory that it has in use: counters of its own, and tables that it could have
        freed. Nothing runs meanwhile.
        """
        return 0

    def figures(self) -> dict[str, int]:
        """What a report says of it at the end, by name; nothing runs meanwhile."""
        return {}

    # For subclasses.

    def tell_get(self, table: int, old: int, new: int, holder: Holder) -> None:
        """Record pte_get: the table's count went from old to new. It is called right after the
        change: nothing that another CPU could see comes between the two.
        """
        emit(self.kernel, _PTE_GET, table, old, new, holder)

    def tell_put(self, table: int, old: int, new: int, holder: Holder) -> None:
        """Record pte_put, as tell_get()."""
        emit(self.kernel, _PTE_PUT, table, old, new, holder)

    def peek(self, table: int) -> struct_page:
        """The table's ``struct page``, for checks and reports: no CPU's access, as far as the race
        explorer knows.
        """
        return self.memory.c.pages[table - (self.memory.base >> PAGE_SHIFT)]
