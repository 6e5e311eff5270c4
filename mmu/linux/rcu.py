# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU: what was unlinked is freed after a grace period (kernel/rcu/tree.c, v6.18).

::

    call_rcu ──> queued ──gp begins──> waits for this one ──gp ends──> freed
                             │                                 ▲
                             └── every CPU that is not idle ───┘
                                 passes a quiescent state

A quiescent state of a CPU is a moment in which it is in no read section: user mode at the end of a
slice, a context switch, idleness. Who runs a CPU reports it (mmu.linux.rcupdate.rcu_qs()); an idle
CPU need not. Only frames of page tables wait. They are lists through ``struct page.next``, so that
nothing need be allocated to free something.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID
from mmu.linux.bug import Bug
from mmu.linux.pgtable import table_is_empty
from mmu.linux.state import Cpu, Kernel
from mmu.linux.tlb_check import check_speculation_everywhere
from mmu.linux.tracepoint import emit
from mmu.units import PAGE_SHIFT

_RCU_CALLBACK: Final = EVENT_ID["rcu_invoke_callback"]
_CALLBACK_QUEUED: Final = EVENT_ID["rcu_callback"]
_GRACE_PERIOD: Final = EVENT_ID["rcu_grace_period"]
_CALLBACKS: Final = KERNEL_COUNTER_ID["rcu_callbacks"]
_PENDING_MAX: Final = KERNEL_COUNTER_ID["rcu_pending_max"]


def rcu_read_lock(kernel: Kernel) -> None:
    """Enter a read section on this CPU: no table frame queued from now on is freed before it is
    left. They nest.
    """
    kernel.c.this_cpu.rcu_nesting += 1
    kernel.point("rcu_read_lock")


def rcu_read_unlock(kernel: Kernel) -> None:
    """Leave a read section of this CPU."""
    if not kernel.c.this_cpu.rcu_nesting:
        kernel.bug(Bug.RCU_UNBALANCED)
        return
    kernel.c.this_cpu.rcu_nesting -= 1
    kernel.point("rcu_read_unlock")


def call_rcu(kernel: Kernel, pfn: int) -> None:
    """Queue a table's frame, which no PMD refers to any more, to be freed after a grace period."""
    kernel.instrument_write(kernel, "rcu")
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
    counter = kernel.c.counter
    counter[_CALLBACKS] += 1
    counter[_PENDING_MAX] = max(counter[_PENDING_MAX], rcu.nr_pending)
    emit(kernel, _CALLBACK_QUEUED, pfn, rcu.nr_pending)


def rcu_report_qs(kernel: Kernel, number: int) -> int:
    """CPU ``number`` is in a quiescent state, unless it is in a read section.

    Begins a grace period if something waits for one and there is none, and ends it when no CPU is
    left to report. Returns the number of frames that were freed.
    """
    rcu, freed = kernel.c.rcu, 0
    kernel.instrument_write(kernel, "rcu")
    while True:
        if not rcu.gp_running:
            if rcu.head == lib.PAGE_NONE and rcu.gp_seq >= rcu.gp_seq_needed:
                return freed
            _gp_start(kernel)
        _gp_note_qs(kernel, number)
        if rcu.qs_mask:
            return freed
        freed += _gp_end(kernel)


def rcu_process_callbacks(kernel: Kernel) -> int:
    """rcu_report_qs() of the CPU that runs: it could sleep here."""
    return rcu_report_qs(kernel, int(kernel.c.this_cpu.id))


def _is_idle(cpu: Cpu) -> bool:
    """Whether the CPU is in a quiescent state without saying so."""
    cpu.kernel.instrument_read(cpu, "rcu_watching")
    if cpu.c.rcu_watching:
        return False
    cpu.kernel.instrument_read(cpu, "rcu_nesting")
    cpu.kernel.instrument_read(cpu, "irqs")
    return not _in_read_section(cpu)


def _in_read_section(cpu: Cpu) -> bool:
    """Interrupts that are off are a read section too: fast GUP relies on it."""
    return bool(cpu.c.rcu_nesting or cpu.c.irqs_disabled)


def _gp_start(kernel: Kernel) -> None:
    """Begin a grace period for all that is queued: every CPU that is not idle must report."""
    rcu = kernel.c.rcu
    rcu.wait_head = rcu.head
    rcu.head = rcu.tail = lib.PAGE_NONE
    rcu.gp_running = 1
    rcu.qs_mask = sum(1 << cpu.id for cpu in kernel.cpus if not _is_idle(cpu))
    emit(kernel, _GRACE_PERIOD, rcu.gp_seq + 1, lib.RCU_GP_START)


def _gp_note_qs(kernel: Kernel, number: int) -> None:
    """Clear from the mask that CPU, if it is in no read section, and all that went idle."""
    rcu = kernel.c.rcu
    for cpu in kernel.cpus:
        if not rcu.qs_mask >> cpu.id & 1:
            continue
        if _is_idle(cpu) or (cpu.id == number and not _in_read_section(cpu)):
            rcu.qs_mask &= ~(1 << cpu.id)
            emit(kernel, _GRACE_PERIOD, rcu.gp_seq + 1, lib.RCU_GP_CPUQS)


def _gp_end(kernel: Kernel) -> int:
    """The grace period is over: free what waited for it; how many frames."""
    rcu, memory = kernel.c.rcu, kernel.memory
    index, freed = int(rcu.wait_head), 0
    rcu.gp_seq += 1
    rcu.gp_running = 0
    rcu.wait_head = lib.PAGE_NONE
    emit(kernel, _GRACE_PERIOD, rcu.gp_seq, lib.RCU_GP_END)
    while index != lib.PAGE_NONE:
        following = int(memory.c.pages[index].next)
        pfn = index + (memory.base >> PAGE_SHIFT)
        emit(kernel, _RCU_CALLBACK, pfn)
        free_table_frame(kernel, pfn)
        index = following
        freed += 1
    rcu.nr_pending -= freed
    check_speculation_everywhere(kernel)
    return freed


def free_table_frame(kernel: Kernel, pfn: int) -> None:
    """Free a table's frame, and its lock with it, now: nobody can come to it any more (D5)."""
    kernel.free_tables.frame_freed(pfn)
    page = kernel.memory.page(pfn)
    page.flags &= ~(lib.PG_table | lib.PG_upper)
    page.ptl = page.pte_refcount = page.pmd = 0
    kernel.memory.free_pages(pfn, zero=table_is_empty(kernel.memory, pfn << PAGE_SHIFT))
