# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU of one CPU: a grace period is over when no read section is open (kernel/rcu/, v6.18).

Only frames of page tables wait here. They are a list through ``struct page.next``, so that nothing
need be allocated to free something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.bug import Bug, mm_bug
from mmu.linux.pgtable import PAGE_SHIFT, emit, table_is_empty

if TYPE_CHECKING:
    from mmu.linux.mm import MmStruct

_RCU_CALLBACK: Final = EVENT_ID["rcu_invoke_callback"]


def rcu_read_lock(mm: MmStruct) -> None:
    """Enter a read section: no table frame queued from now on is freed before it is left. They
    nest.
    """
    mm.c.rcu.nesting += 1


def rcu_read_unlock(mm: MmStruct) -> None:
    """Leave a read section."""
    if not mm.c.rcu.nesting:
        mm_bug(mm, Bug.RCU_UNBALANCED)
        return
    mm.c.rcu.nesting -= 1


def call_rcu(mm: MmStruct, pfn: int) -> None:
    """Queue a table's frame, which no PMD refers to any more, to be freed after a grace period."""
    rcu = mm.c.rcu
    index = pfn - (mm.memory.base >> PAGE_SHIFT)
    pages = mm.memory.c.pages
    pages[index].next = lib.PAGE_NONE
    if rcu.head == lib.PAGE_NONE:
        rcu.head = index
    else:
        pages[rcu.tail].next = index
    rcu.tail = index
    rcu.nr_pending += 1


def rcu_process_callbacks(mm: MmStruct) -> int:
    """If no read section is open, end a grace period and free what waits. Returns the number of
    frames freed.
    """
    rcu = mm.c.rcu
    index, freed = rcu.head, int(rcu.nr_pending)
    if rcu.nesting or index == lib.PAGE_NONE:
        return 0
    rcu.gp_seq += 1
    rcu.head = rcu.tail = lib.PAGE_NONE
    rcu.nr_pending = 0
    while index != lib.PAGE_NONE:
        following = mm.memory.c.pages[index].next
        _free_table_frame(mm, index + (mm.memory.base >> PAGE_SHIFT))
        index = following
    return freed


def _free_table_frame(mm: MmStruct, pfn: int) -> None:
    # The table's lock dies with it: not before the grace period (D5).
    emit(mm, _RCU_CALLBACK, pfn)
    page = mm.memory.page(pfn)
    page.flags &= ~lib.PG_table
    page.ptl = page.pte_refcount = page.pmd = 0
    mm.memory.free_pages(pfn, zero=table_is_empty(mm, pfn << PAGE_SHIFT))
