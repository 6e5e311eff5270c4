# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU: what was unlinked is freed after a grace period (kernel/rcu/, v6.18).

A grace period ends when every CPU has passed a quiescent state: here, when none is inside a read
section. Only frames of page tables wait. They are a list through ``struct page.next``, so that
nothing need be allocated to free something.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.bug import Bug
from mmu.linux.pgtable import emit, table_is_empty
from mmu.linux.state import Kernel
from mmu.units import PAGE_SHIFT

_RCU_CALLBACK: Final = EVENT_ID["rcu_invoke_callback"]


def rcu_read_lock(kernel: Kernel) -> None:
    """Enter a read section on this CPU: no table frame queued from now on is freed before it is
    left. They nest.
    """
    kernel.c.this_cpu.rcu_nesting += 1


def rcu_read_unlock(kernel: Kernel) -> None:
    """Leave a read section of this CPU."""
    if not kernel.c.this_cpu.rcu_nesting:
        kernel.bug(Bug.RCU_UNBALANCED)
        return
    kernel.c.this_cpu.rcu_nesting -= 1


def call_rcu(kernel: Kernel, pfn: int) -> None:
    """Queue a table's frame, which no PMD refers to any more, to be freed after a grace period."""
    rcu, memory = kernel.c.rcu, kernel.memory
    index = pfn - (memory.base >> PAGE_SHIFT)
    pages = memory.c.pages
    pages[index].next = lib.PAGE_NONE
    if rcu.head == lib.PAGE_NONE:
        rcu.head = index
    else:
        pages[rcu.tail].next = index
    rcu.tail = index
    rcu.nr_pending += 1


def rcu_process_callbacks(kernel: Kernel) -> int:
    """If no CPU is in a read section, end a grace period and free what waits.

    Returns the number of frames freed.
    """
    rcu, memory = kernel.c.rcu, kernel.memory
    index, freed = rcu.head, int(rcu.nr_pending)
    if index == lib.PAGE_NONE or any(cpu.c.rcu_nesting for cpu in kernel.cpus):
        return 0
    rcu.gp_seq += 1
    rcu.head = rcu.tail = lib.PAGE_NONE
    rcu.nr_pending = 0
    while index != lib.PAGE_NONE:
        following = memory.c.pages[index].next
        pfn = index + (memory.base >> PAGE_SHIFT)
        emit(kernel, _RCU_CALLBACK, pfn)
        free_table_frame(kernel, pfn)
        index = following
    return freed


def free_table_frame(kernel: Kernel, pfn: int) -> None:
    """Free a table's frame, and its lock with it, now: nobody can come to it any more (D5)."""
    page = kernel.memory.page(pfn)
    page.flags &= ~lib.PG_table
    page.ptl = page.pte_refcount = page.pmd = 0
    kernel.memory.free_pages(pfn, zero=table_is_empty(kernel.memory, pfn << PAGE_SHIFT))
