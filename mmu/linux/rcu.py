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

from collections.abc import Sequence
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
    kernel.instrument_write(kernel, "rcu_cblist")
    kernel.instrument_read(kernel, "rcu_gp")  # where none runs this makes one begin
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
    left to report: both are left to the thread, with ``kernel.gp_kthread``. Returns the number of
    frames that were freed.
    """
    rcu, freed = kernel.c.rcu, 0
    if kernel.gp_kthread:
        _gp_note_qs(kernel, kernel.cpus[number : number + 1], number)
        return 0
    while rcu.gp_running or rcu_needs_gp(kernel):
        if not rcu.gp_running:
            _gp_start(kernel)
        _gp_note_qs(kernel, kernel.cpus, number)
        if rcu.qs_mask:
            return freed
        freed += _gp_end(kernel)
    return freed


# The grace-period thread, where the scheduler runs one: begins one as soon as it is needed, and
# ends it some time after it could end.


def rcu_needs_gp(kernel: Kernel) -> bool:
    """Whether something waits for a grace period, and none has begun."""
    rcu = kernel.c.rcu
    return not rcu.gp_running and (rcu.head != lib.PAGE_NONE or rcu.gp_seq < rcu.gp_seq_needed)


def rcu_gp_is_over(kernel: Kernel) -> bool:
    """Whether a grace period waits for no CPU that is not idle."""
    rcu = kernel.c.rcu
    return bool(rcu.gp_running) and all(
        rcu_is_idle_cpu(cpu) for cpu in kernel.cpus if rcu.qs_mask >> cpu.id & 1
    )


def rcu_gp_kthread(kernel: Kernel) -> int:
    """End a grace period that is over, and begin another if anything waits for one. Returns the
    number of frames that were freed.
    """
    freed = 0
    if rcu_gp_is_over(kernel):
        _gp_note_qs(kernel, kernel.cpus)
        freed = _gp_end(kernel)
    if rcu_needs_gp(kernel):
        _gp_start(kernel)
    return freed


def rcu_process_callbacks(kernel: Kernel) -> int:
    """rcu_report_qs() of the CPU that runs: it could sleep here."""
    return rcu_report_qs(kernel, int(kernel.c.this_cpu.id))


def rcu_is_idle_cpu(cpu: Cpu) -> bool:
    """Whether the CPU is in a quiescent state without saying so: RCU does not watch it
    (rcu_is_watching(), kernel/rcu/tree.c, v6.18), and it is in no read section.
    """
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
    for field in ("rcu_cblist", "rcu_gp"):
        kernel.instrument_write(kernel, field)
    for cpu in kernel.cpus:
        kernel.instrument_write(cpu, "rcu_qs")
    rcu.wait_head = rcu.head
    rcu.head = rcu.tail = lib.PAGE_NONE
    rcu.gp_running = 1
    waited_for = (cpu for cpu in kernel.cpus if kernel.gp_kthread or not rcu_is_idle_cpu(cpu))
    rcu.qs_mask = sum(1 << cpu.id for cpu in waited_for)
    emit(kernel, _GRACE_PERIOD, rcu.gp_seq + 1, lib.RCU_GP_START)


def _gp_note_qs(kernel: Kernel, cpus: Sequence[Cpu], number: int = -1) -> None:
    """Clear of these from the mask CPU ``number``, if it is in no read section, and who is idle."""
    rcu = kernel.c.rcu
    for cpu in cpus:
        kernel.instrument_read(cpu, "rcu_qs")
        if not rcu.qs_mask >> cpu.id & 1:
            continue
        if rcu_is_idle_cpu(cpu) or (cpu.id == number and not _in_read_section(cpu)):
            kernel.smp_mb()  # who ends the grace period sees what the CPU did before
            rcu.qs_mask &= ~(1 << cpu.id)
            emit(kernel, _GRACE_PERIOD, rcu.gp_seq + 1, lib.RCU_GP_CPUQS)


def _gp_end(kernel: Kernel) -> int:
    """The grace period is over: free what waited for it; how many frames."""
    kernel.instrument_write(kernel, "rcu_gp")
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
