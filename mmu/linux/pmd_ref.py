# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference counts of PMD and PUD tables: free those too when their last entry becomes none.

On with ``Kernel(free_levels=FreeLevels.PMD)``, or PUD, which counts both; never without counted PTE
tables below (mmu.linux.pte_ref), of whose count this one is the copy, one or two levels up:

- every entry that is not none holds one reference: a PTE table, or a 2 MiB page, is one entry of
  its PMD table, and a PMD table one entry of its PUD table;
- every visitor holds one, while it looks for an entry of the table, or is about to set one. A
  visitor of a PTE table needs none here: the table it holds is an entry of those above.

The life of a PMD table::

    pmd_alloc ── count 1 ── page_table_lock: PUD entry set ──┐   the installer's own reference
                                                             │
       pmd_install: +1 ... free_pte_table: -1                │   n entries + visitors
                                                             │
    pmd_put of the last ── free_pmd_table ───────────────────┘
       page_table_lock · PUD entry exchanged with none · all 512 none? · TLB and paging-structure
       caches flushed · unlock · VmPTE less one table · one reference less of the PUD table ·
       grace period · frame freed, and with it the lock of its entries (the PMD lock)

Both designs look up in an RCU read section: under a lock it would be the one page_table_lock of the
mm, at each fault. So frames of counted PMD and PUD tables are freed after a grace period by
``refcount-pmdlock`` too. Who finds a count of 0 does the freer's work itself and looks again at the
entry above, whose table it visits: nobody waits for a freer that is preempted (D2).

The count lives in ``struct page.pte_refcount``, and ``struct page.pmd`` is where the entry is that
refers to the table. Neither a PMD nor a PUD table ever moves: who got a reference has the right
one. Where a level is not counted, its functions find or make, and "put" does nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.bug import Bug
from mmu.linux.locks import page_table_lock, page_table_unlock
from mmu.linux.mmu_gather import (
    Gather,
    flush_freed_tables,
    flush_is_owed,
    flush_upper_table,
    table_free_tlb,
    tlb_gather_owed,
)
from mmu.linux.pgalloc import entry_alloc, mm_dec_pgtables, mm_inc_pgtables, populate, table_alloc
from mmu.linux.pgtable import (
    ADDR_MASK,
    P,
    entry_offset,
    entry_pfn,
    level_size,
    mm_find_pmd,
    table_is_empty,
    table_page,
)
from mmu.linux.pt_reclaim import table_is_counted
from mmu.linux.rcu import call_rcu, rcu_read_lock, rcu_read_unlock
from mmu.linux.state import MmStruct
from mmu.linux.tlbflush import flush_tlb_is_local
from mmu.linux.tracepoint import Span, emit
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT

TABLE_REF_MAX: Final = 0x7FFF_FFFF
"""A count above this is an overflow."""

_VISITOR, _ENTRIES = 0, 1  # whose the references of an event are


class _Level(NamedTuple):
    """What tables of a level are called."""

    alloc: str
    freeing: str
    alloc_event: int
    free_event: int
    get_event: int
    put_event: int
    set_event: int  # of the entry that refers to one


_LEVELS: Final = {
    2: _Level(
        "pmd_alloc",
        "free_pmd_table",
        EVENT_ID["pmd_alloc"],
        EVENT_ID["pmd_free"],
        EVENT_ID["pmd_get"],
        EVENT_ID["pmd_put"],
        EVENT_ID["set_pud"],
    ),
    3: _Level(
        "pud_alloc",
        "free_pud_table",
        EVENT_ID["pud_alloc"],
        EVENT_ID["pud_free"],
        EVENT_ID["pud_get"],
        EVENT_ID["pud_put"],
        EVENT_ID["set_p4d"],
    ),
}


# Finding and making.


def pmd_tryget(mm: MmStruct, addr: int) -> EntryPa | None:
    """Address of addr's PMD entry, a visitor's reference taken on its PMD table; None where there
    is no PMD table, or one that is being freed, so that all its entries are none: nothing is held.

    No lock is held, none taken. Where PMD tables are not counted: mm_find_pmd().
    """
    if not table_is_counted(mm, 2):
        return mm_find_pmd(mm, addr)
    rcu_read_lock(mm.kernel)
    pmd = _find_pmd(mm, addr)
    if pmd is not None and not _get_unless_zero(mm, pmd >> PAGE_SHIFT, 2, "pmd_tryget"):
        pmd = None
    rcu_read_unlock(mm.kernel)
    return pmd


def _find_pmd(mm: MmStruct, addr: int) -> EntryPa | None:
    """mm_find_pmd() in steps that another CPU could see; in an RCU read section."""
    table = mm.c.pgd
    for level in (4, 3):
        entry = mm.memory.read_u64(table + entry_offset(addr, level))
        mm.kernel.point("pmd_tryget")
        if not entry & P:
            return None
        table = entry & ADDR_MASK
    return EntryPa(table + entry_offset(addr, 2))


def pmd_alloc(mm: MmStruct, addr: int) -> EntryPa | None:
    """Address of addr's PMD entry, missing PUD and PMD tables made; None: out of memory. No
    spinlock is held.

    Where PMD tables are counted, a visitor's reference is taken on the table, the caller's to
    pmd_put(). Who loses the race to make a table frees its own (__pud_alloc(), __pmd_alloc()).
    """
    if not table_is_counted(mm, 2):
        return entry_alloc(mm, addr, 2)
    pmd = pmd_tryget(mm, addr)
    if pmd is not None:
        return pmd
    pud = pud_alloc(mm, addr)
    if pud is None:
        return None
    table = _table_alloc_get(mm, pud, addr, 2)
    pud_put(mm, pud, addr)
    return EntryPa((table << PAGE_SHIFT) + entry_offset(addr, 2)) if table else None


def pud_alloc(mm: MmStruct, addr: int) -> EntryPa | None:
    """Address of addr's PUD entry, a missing PUD table made; None: out of memory. As pmd_alloc(),
    one level up.
    """
    if not table_is_counted(mm, 3):
        return entry_alloc(mm, addr, 3)
    table = _table_alloc_get(mm, EntryPa(mm.c.pgd + entry_offset(addr, 4)), addr, 3)
    return EntryPa((table << PAGE_SHIFT) + entry_offset(addr, 3)) if table else None


def _table_alloc_get(mm: MmStruct, entry: EntryPa, addr: int, level: int) -> int:
    """Find or install the table of this level under entry, whose own table stays meanwhile, and
    take a visitor's reference: its frame, 0 if memory is out.
    """
    site = _LEVELS[level].alloc
    while True:
        rcu_read_lock(mm.kernel)
        value = mm.memory.read_u64(entry)
        mm.kernel.point(site)
        got = value & P and _get_unless_zero(mm, entry_pfn(value), level, site)
        rcu_read_unlock(mm.kernel)
        if got:
            return entry_pfn(value)
        if value & P:
            _free_table(mm, entry, addr, level)
            continue
        made = table_alloc(mm)
        if made is None:
            return 0
        page = mm.memory.page(made)
        page.flags |= lib.PG_upper
        page.pmd, page.pte_refcount = entry, 1
        if held := _install(mm, entry, addr, made, level):
            return held


def _install(mm: MmStruct, entry: EntryPa, addr: int, table: int, level: int) -> int:
    """Publish the frame ``table``, whose count is 1, in entry; as pmd_install(), of which this is
    the copy for PMD and PUD tables: the frame on which a reference is held, or 0.
    """
    names = _LEVELS[level]
    page_table_lock(mm)
    value = mm.memory.read_u64(entry)
    won = not value & P
    if won:
        flush_freed_tables(mm, entry, addr, level)
        populate(mm, addr, entry, level + 1, table)
        mm_inc_pgtables(mm)
        start = addr & -level_size(level + 1)
        emit(mm.kernel, names.alloc_event, start, table, mm.c.pgd, entry, names.alloc)
        _entry_set(mm, entry, level + 1, names.alloc)
        held = table
    else:
        got = _get_unless_zero(mm, entry_pfn(value), level, names.alloc)
        held = entry_pfn(value) if got else 0
    page_table_unlock(mm)
    if not won:
        mm.memory.page(table).flags &= ~(lib.PG_table | lib.PG_upper)
        mm.memory.free_pages(table, zero=True)
    return held


# Counting.


def pmd_entry_set(mm: MmStruct, pmd: EntryPa) -> None:
    """Count the entry at pmd, which became non-none: a PTE table, or a 2 MiB page.

    The caller holds a visitor's reference of the PMD table, or has one of its own entries to hand;
    PMD lock held or not.
    """
    _entry_set(mm, pmd, 2, "pmd_install")


def pmd_entry_cleared(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """Drop the reference of the entry at pmd, which became none; the last one frees the PMD table
    of addr and flushes at once. No PMD lock is held.
    """
    if table_is_counted(mm, 2):
        _put(mm, None, pmd >> PAGE_SHIFT, addr, 2, _ENTRIES, "free_pte_table")


def pmd_entry_cleared_tlb(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """pmd_entry_cleared() whose flush, and whose frame, are left to the gather."""
    if table_is_counted(tlb.mm, 2):
        _put(tlb.mm, tlb, pmd >> PAGE_SHIFT, addr, 2, _ENTRIES, "free_pte_table")


def pmd_put(mm: MmStruct, pmd: EntryPa, addr: int) -> None:
    """Drop a visitor's reference of the PMD table of addr, in which pmd lies; the last one frees
    it and flushes at once. No PMD lock is held, and a PTE lock only of a table that stands in it.
    """
    if table_is_counted(mm, 2):
        _put(mm, None, pmd >> PAGE_SHIFT, addr, 2, _VISITOR, "pmd_put")


def pmd_put_tlb(tlb: Gather, pmd: EntryPa, addr: int) -> None:
    """pmd_put() whose flush, and whose frame, are left to the gather."""
    if table_is_counted(tlb.mm, 2):
        _put(tlb.mm, tlb, pmd >> PAGE_SHIFT, addr, 2, _VISITOR, "pmd_put")


def pud_put(mm: MmStruct, pud: EntryPa, addr: int) -> None:
    """Drop a visitor's reference of the PUD table of addr, in which pud lies; as pmd_put()."""
    if table_is_counted(mm, 3):
        _put(mm, None, pud >> PAGE_SHIFT, addr, 3, _VISITOR, "pud_put")


def _entry_set(mm: MmStruct, entry: EntryPa, level: int, site: str) -> None:
    """One more entry of the table of this level in which entry lies."""
    if not table_is_counted(mm, level):
        return
    mm.kernel.lock_prefix()
    page = table_page(mm, entry)
    old = page.pte_refcount
    if old == 0 or old == TABLE_REF_MAX:
        bug = Bug.TABLE_REF_OVERFLOW if old else Bug.TABLE_REF_FROM_ZERO
        mm.kernel.bug(bug, entry >> PAGE_SHIFT)
        return
    page.pte_refcount = old + 1
    event = _LEVELS[level].get_event
    emit(mm.kernel, event, entry >> PAGE_SHIFT, old, old + 1, _ENTRIES, site)


def _get_unless_zero(mm: MmStruct, table: int, level: int, site: str) -> bool:
    mm.kernel.lock_prefix()
    page = mm.memory.page(table)
    old = page.pte_refcount
    if old == 0:
        return False
    page.pte_refcount = old + 1
    emit(mm.kernel, _LEVELS[level].get_event, table, old, old + 1, _VISITOR, site)
    return True


def _put(
    mm: MmStruct, tlb: Gather | None, table: int, addr: int, level: int, holder: int, site: str
) -> None:
    """Drop one reference. Once the count is 0 anybody may free the table: RCU keeps its frame, and
    the one above, until the entry that refers to it was looked at.
    """
    mm.kernel.point("pmd_put")
    mm.kernel.lock_prefix()  # the look and the drop are one: LOCK CMPXCHG
    if mm.memory.page(table).pte_refcount > 1:
        _table_put(mm, table, level, holder, site)
        return
    rcu_read_lock(mm.kernel)
    if _table_put(mm, table, level, holder, site):
        entry = EntryPa(mm.memory.page(table).pmd)
        mm.kernel.point(_LEVELS[level].freeing)
        page_table_lock(mm)
        _free_and_unlock(mm, tlb, entry, addr, level)
    rcu_read_unlock(mm.kernel)


def _table_put(mm: MmStruct, table: int, level: int, holder: int, site: str) -> bool:
    """Drop one reference; whether none is left."""
    mm.kernel.lock_prefix()
    page = mm.memory.page(table)
    old = page.pte_refcount
    if old == 0:
        mm.kernel.bug(Bug.TABLE_REF_UNDERFLOW, table)
        return False
    page.pte_refcount = old - 1
    emit(mm.kernel, _LEVELS[level].put_event, table, old, old - 1, holder, site)
    return bool(old == 1)


# Freeing.


def _free_table(mm: MmStruct, entry: EntryPa, addr: int, level: int) -> None:
    """Free the table of this level under entry if its count is 0: exactly once, whoever asks. The
    table that entry lies in stays meanwhile; no lock is held.
    """
    page_table_lock(mm)
    _free_and_unlock(mm, None, entry, addr, level)


def _free_and_unlock(
    mm: MmStruct, tlb: Gather | None, entry: EntryPa, addr: int, level: int
) -> None:
    """Detach and flush under page_table_lock, which is then dropped; and the reference of the entry
    in the table above, which nobody drops before: until then that table stays.
    """
    size = level_size(level + 1)
    start = addr & -size
    with Span(mm.kernel, _LEVELS[level].freeing, start, start + size, mm.c.pgd):
        table = _detach(mm, entry, addr, level)
        if table is not None:
            mm.kernel.point("pud_cleared")
            if tlb is not None:
                tlb_gather_owed(tlb, addr, level)
                table_free_tlb(tlb, table, addr, level)
            else:
                flush_upper_table(mm, addr, level)
        page_table_unlock(mm)
        if table is not None:
            mm_dec_pgtables(mm)
            if tlb is None:
                call_rcu(mm.kernel, table)
            if table_is_counted(mm, level + 1):
                above = entry >> PAGE_SHIFT
                _put(mm, tlb, above, addr, level + 1, _ENTRIES, _LEVELS[level].freeing)


def _detach(mm: MmStruct, entry: EntryPa, addr: int, level: int) -> int | None:
    """Take the dead table out of entry; its frame, or None if another did, or it lives. The
    page_table_lock is held.
    """
    names = _LEVELS[level]
    value = mm.memory.read_u64(entry)
    if not value & P or mm.memory.page(entry_pfn(value)).pte_refcount:
        return None
    start = addr & -level_size(level + 1)
    value = mm.memory.xchg_u64(entry, 0)
    emit(mm.kernel, names.set_event, start, value, 0, entry, names.freeing)
    if not table_is_empty(mm.memory, value & ADDR_MASK):
        mm.kernel.bug(Bug.TABLE_NOT_EMPTY, addr)
        mm.memory.write_u64(entry, value)
        emit(mm.kernel, names.set_event, start, 0, value, entry, names.freeing)
        return None
    emit(mm.kernel, names.free_event, start, entry_pfn(value), mm.c.pgd, entry, names.freeing)
    return entry_pfn(value)


def pmd_alloc_waits(mm: MmStruct, addr: int) -> bool:
    """Whether pmd_alloc() could have to wait for another CPU, for a lock or a flush. Looks only."""
    if mm.kernel.read_once(mm, "page_table_lock"):
        return True
    if not table_is_counted(mm, 2):
        return False
    table = mm.c.pgd
    for level in (4, 3):
        entry = EntryPa(table + entry_offset(addr, level))
        value = mm.memory.read_u64(entry)
        if not value & P:
            return flush_is_owed(mm, entry) and not flush_tlb_is_local(mm)
        below = mm.memory.page(entry_pfn(value))
        if table_is_counted(mm, level - 1) and not below.pte_refcount:
            return True
        table = value & ADDR_MASK
    return False
