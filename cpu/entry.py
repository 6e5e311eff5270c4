# SPDX-License-Identifier: GPL-2.0-or-later
"""The way between a task's guest code and its kernel code, and back (arch/x86/entry, v6.18).

::

    run_task(task)                        on the task's greenlet
      loop: scheduler.end_slice_if_over()                the others' turn
        exit_to_user_mode(task)                          signals, what RCU has to free
        scheduler.user_slice()
        SYSCALL      TABLE[nr](task, arguments...)      cpu/syscalls/
        PAGE_FAULT   handle_page_fault(task, exit)      cpu/exceptions.py
        EXCEPTION    handle_exception(task, exit)
        LIMIT        the slice is over, or a sample or a timer is due
      do_exit(task, how)                                cpu/exit.py
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.exceptions import handle_exception, handle_page_fault
from cpu.exit import do_exit
from cpu.restart import RESTARTS
from cpu.signal_delivery import do_signal, restart_syscall
from cpu.signal_state import restore_saved_sigmask
from cpu.syscalls.table import NR_SYSCALLS, TABLE
from cpu.task import Task, TaskEnd, stopped
from cpu.thread import NEVER
from cpu.timers import run_cpu_timers
from cpu.vcpu import VmExit
from mmu.errors import LinuxError
from mmu.events import EVENT_ID
from mmu.linux.rcupdate import rcu_qs
from mmu.units import U32, U64
from mmu.x86.check import ChangedBy

if TYPE_CHECKING:
    from collections.abc import Callable

_SYS_ENTER: Final = EVENT_ID["sys_enter"]
_SYS_EXIT: Final = EVENT_ID["sys_exit"]
_SYSCALL: Final = VmExit.SYSCALL
_PAGE_FAULT: Final = VmExit.PAGE_FAULT
_LIMIT: Final = VmExit.LIMIT


def run_task(task: Task, start: Callable[[], None] | None = None) -> None:
    """Run the task from ``start``, kernel code that comes first, to its end."""
    try:
        if start is not None:
            start()
        end_slice_if_over = task.system.scheduler.end_slice_if_over
        while True:
            end_slice_if_over(task)
            exit_to_user_mode(task)
            _step(task)
    except TaskEnd as end:
        if task.system.tracer is not None:
            task.system.tracer.ended(task, end)
        task.leaves_kernel()
        do_exit(task, end)


def exit_to_user_mode(task: Task) -> None:
    """What is due before guest code goes on: signals act, and calls that they interrupted are made
    again. Raises TaskEnd if the process is to end.
    """
    process, system = task.process, task.system
    if (
        (task.pending.signal | process.shared_pending.signal) & ~task.blocked
        or process.end is not None
        or process.killed is not None
        or task.stop_pending
        or process.stop.notify
        or task.dethreaded
        or system.scheduler.stopping
    ):
        _handle_signals(task)
    elif task.orig_ax >= 0 or task.saved_sigmask is not None:
        restart_syscall(task)
        restore_saved_sigmask(task)
    task.resume_flag = False
    if system.kernel.task_work is not None:
        system.kernel.task_work()
    if task.operation is not None:
        task.leaves_kernel()
    if system.rcu_pending[0]:
        rcu_qs(system.kernel, system.kernel.this_cpu)
    dirty = system.dirty_free
    if dirty[0] > dirty[1]:
        system.kernel.memory.trim(dirty[1] // 2)


def _handle_signals(task: Task) -> None:
    if task.system.stopping:
        raise stopped()
    do_signal(task)
    if task.system.stopping:
        raise stopped()


def _step(task: Task) -> None:
    """Guest code until the kernel is needed, then that."""
    process, rq = task.process, task.rq
    assert rq is not None
    due = process.timers_due_on(rq) if process.cpu_timers else NEVER
    look = process.sample_due_on(rq)
    reason = task.system.scheduler.user_slice(task, due, look)
    if rq.count[0] >= look or reason == _LIMIT:
        process.take_samples()
    if reason == _SYSCALL:
        do_syscall_64(task)
    elif reason == _PAGE_FAULT:
        handle_page_fault(task, task.vcpu.exit)
    elif reason == VmExit.EXCEPTION:
        handle_exception(task, task.vcpu.exit)
    elif reason == VmExit.STOPPED:
        raise stopped()
    if process.cpu_timers:
        run_cpu_timers(process.cpu_timers)


def do_syscall_64(task: Task) -> None:
    """Carry out the system call that the task's vCPU has just executed (VmExit.SYSCALL)."""
    system, rq = task.system, task.rq
    assert rq is not None
    vcpu = rq.vcpu
    ring = system.kernel.ring
    # read all at once: others may run before the call is made
    rip, nr, di, si, dx, r10, r8, r9 = vcpu.syscall_frame.tolist()
    task.orig_ax = nr
    if vcpu.mmu.check is not None:
        task.entered_kernel(ChangedBy.SYSCALL, nr, rip)
    system.scheduler.entered_kernel()
    if ring is not None:
        ring.emit(_SYS_ENTER, nr, di, si, dx)
    if nr >= NR_SYSCALLS:
        nr &= U32  # the kernel looks at eax alone
    task.process.calls[nr if nr < NR_SYSCALLS else NR_SYSCALLS] += 1
    tracer = system.tracer
    if tracer is not None:
        tracer.enter(task, nr, (di, si, dx, r10, r8, r9))
    handler = TABLE[nr] if nr < NR_SYSCALLS else None
    try:
        if handler is None:
            system.notes.add_unknown_syscall(nr, rip)
            result = -errno.ENOSYS
        else:
            result = handler(task, di, si, dx, r10, r8, r9)
    except LinuxError as error:
        result = -error.errno
    if task.held_files:
        task.put_held_files()
    if result >= 0 or -result not in RESTARTS:
        task.orig_ax = -1
    if task.rq is not rq:
        vcpu = task.vcpu
    result &= U64
    vcpu.set_result(result)
    if tracer is not None:
        tracer.leave(task, result)
    if ring is not None:
        ring.emit(_SYS_EXIT, nr, result)
