# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals on the way back to user mode: a handler's frame, the end, a stop, a call made again
(kernel/signal.c, arch/x86/kernel/signal.c, v6.18).

::

    do_signal(task)                             from exit_to_user_mode(), if signals wait
      get_signal()    what was raised by the last instruction, then the thread's own, then its
                      process's; ignored ones are dropped, stops stop, fatal ones raise TaskEnd
      handle_signal() the system call is to fail or to be made again; setup_rt_frame()
      or, without a handler, the system call is made again
"""

from __future__ import annotations

import errno
import signal
from typing import Any, Final

from cpu.pgrp import will_become_orphaned_pgrp
from cpu.posix_timers import itimer_dequeued, timer_dequeued
from cpu.restart import (
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTSYS,
    RESTARTS,
)
from cpu.siginfo import CLD_STOPPED, SI_TIMER, SI_USER, SigInfo
from cpu.signal_frame import setup_rt_frame, signal_delivered
from cpu.signal_send import (
    do_notify_parent_cldstop,
    force_sig,
    force_sig_info,
    signal_wake_up,
)
from cpu.signal_state import participate_group_stop, restore_saved_sigmask
from cpu.signals import (
    SA_NODEFER,
    SA_RESETHAND,
    SA_RESTART,
    SIG_DFL,
    SIG_IGN,
    STOP_MASK,
    Action,
    SigAction,
    SignalReport,
    default_action,
    sigmask,
    signal_name,
)
from cpu.syscalls.numbers import SYSCALL_NUMBERS
from cpu.task import Process, Task, TaskEnd
from cpu.thread import State
from cpu.traced import ptrace_signal
from mmu.units import U64

SYSCALL_LENGTH = 2
"""Bytes of the SYSCALL instruction."""
_RESTART_SYSCALL = SYSCALL_NUMBERS["restart_syscall"]


def do_signal(task: Task) -> None:
    """Let the signals that wait act (arch_do_signal_or_restart()). Raises TaskEnd if one ends the
    process; returns when the thread may go on, in a handler or where it was.
    """
    while (found := get_signal(task)) is not None:
        info, action = found
        _restart_in_handler(task, action)
        mask = task.blocked if task.saved_sigmask is None else task.saved_sigmask
        if not setup_rt_frame(task, info, action, mask):
            force_sigsegv(task, info)
            continue
        blocked = action.mask | (0 if action.flags & SA_NODEFER else sigmask(info.signo))
        signal_delivered(task, info.signo, blocked)
        task.orig_ax = -1
    restart_syscall(task)
    restore_saved_sigmask(task)


def force_sigsegv(task: Task, info: SigInfo) -> None:
    """A handler's frame could not be made: SIGSEGV, and if that is the signal, by default."""
    sp = int(task.vcpu.get_regs().sp)
    reason = f"the frame of the handler of {signal_name(info.signo)} cannot be made at RSP {sp:#x}"
    if info.signo == signal.SIGSEGV:
        force_sig_info(SigInfo.kernel(signal.SIGSEGV, reason), task, default=True)
    else:
        force_sig(signal.SIGSEGV, task, reason)


# System calls that were interrupted.


def _error_of(task: Task, regs: Any) -> int:
    """Which of RESTARTS the system call ended with that the thread comes from; else 0."""
    error = (1 << 64) - int(regs.ax)
    return error if task.orig_ax >= 0 and error in RESTARTS else 0


def _restart_in_handler(task: Task, action: SigAction) -> None:
    """A handler runs first: when it returns the call fails with EINTR, or is made again."""
    if task.orig_ax < 0:
        return
    regs = task.vcpu.get_regs()
    error = _error_of(task, regs)
    if error in (ERESTART_RESTARTBLOCK, ERESTARTNOHAND) or (
        error == ERESTARTSYS and not action.flags & SA_RESTART
    ):
        regs.ax = -errno.EINTR & U64
    elif error:
        regs.ax, regs.ip = task.orig_ax, regs.ip - SYSCALL_LENGTH
    else:
        return
    task.orig_ax = -1
    task.vcpu.set_regs(regs)


def restart_syscall(task: Task) -> None:
    """No handler runs: the call is made again, or restart_syscall() is."""
    if task.orig_ax < 0:
        return
    regs = task.vcpu.get_regs()
    error = _error_of(task, regs)
    if error:
        regs.ax = _RESTART_SYSCALL if error == ERESTART_RESTARTBLOCK else task.orig_ax
        regs.ip -= SYSCALL_LENGTH
        task.vcpu.set_regs(regs)
    task.orig_ax = -1


# Which signal.


def get_signal(task: Task) -> tuple[SigInfo, SigAction] | None:
    """Take the signals that wait, one after the other, until one has a handler: what is told of
    it, and what was asked for. None: none is left. Raises TaskEnd.
    """
    while True:
        _notify_of_stop(task.process)
        end_if_killed(task)
        if task.stop_pending and do_signal_stop(task, 0):
            continue
        info = task.pending.dequeue_synchronous(task.blocked) or dequeue_signal(task, task.blocked)
        if info is None:
            return None
        if task.system.tracer is not None:
            task.system.tracer.signalled(task, info)
        if task.traced is not None and info.signo != signal.SIGKILL:
            told = ptrace_signal(task, info)
            if told is None:
                continue
            info = told
        signo = info.signo
        action = task.sighand.action(signo)
        if action.handler == SIG_IGN:
            continue
        if action.handler != SIG_DFL:
            if action.flags & SA_RESETHAND:
                task.sighand.set_default(signo)
            return info, action
        default = default_action(signo)
        if default is Action.STOP:
            if signo == signal.SIGSTOP or not is_orphaned_pgrp(task):
                do_signal_stop(task, signo)
        elif default is Action.TERMINATE:
            raise end_by(task, info)


def dequeue_signal(task: Task, mask: int) -> SigInfo | None:
    """Take the first signal that is not in ``mask``: the thread's own, else its process's; None if
    there is none. Timers whose signal it is go on.
    """
    info = task.pending.dequeue(mask) or task.process.shared_pending.dequeue(mask)
    if info is None:
        return None
    if sigmask(info.signo) & STOP_MASK:
        task.stop_dequeued = True
    if info.signo == signal.SIGALRM:
        itimer_dequeued(task.process)
    return timer_dequeued(task.process, info) if info.code == SI_TIMER else info


# The end.


def end_if_killed(task: Task) -> None:
    """Raises TaskEnd if the process is to end: by the signal that was sent, or as another thread
    says.
    """
    process = task.process
    if process.end is not None:
        raise process.end
    if task.dethreaded:
        raise TaskEnd(0, "exit", group=False)
    if process.killed is not None:
        if task.system.tracer is not None:
            task.system.tracer.signalled(task, process.killed)
        raise end_by(task, process.killed)


def end_by(task: Task, info: SigInfo) -> TaskEnd:
    """The end by that signal, with a report of where the thread stands."""
    vcpu, blame, addr = task.vcpu, info.blame, info.addr
    at = blame.at if blame is not None and blame.at is not None else vcpu.rip
    walk = ""
    if blame is not None and blame.access is not None and addr is not None:
        walk = str(vcpu.mmu.walk(addr, blame.access))
    report = SignalReport(
        signo=info.signo,
        code=info.code_name,
        reason=blame.reason if blame is not None else _sender(task, info),
        rip=vcpu.rip,
        address=addr,
        instruction=task.disassemble(at),
        walk=walk,
        handler=SIG_DFL if blame is None else blame.handler,
        why_not="" if blame is None else blame.why_not,
        backtrace=_backtrace(task, info.signo),
    )
    return TaskEnd(128 + info.signo, "signal", report)


_CRASHES: Final = frozenset(
    {
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGSEGV,
        signal.SIGSYS,
    }
)
"""Signals whose report says where the program stood."""


def _backtrace(task: Task, signo: int) -> tuple[str, ...]:
    """Of the first crashes of a machine: it takes its time."""
    system = task.system
    if signo not in _CRASHES or not system.backtraces_left:
        return ()
    system.backtraces_left -= 1
    from cpu.symbols.backtrace import backtrace

    return backtrace(task)


def _sender(task: Task, info: SigInfo) -> str:
    """Who sent it, in words."""
    if info.code == SI_TIMER:
        return "a timer of the guest's has expired"
    if info.code > SI_USER:
        return "sent by the kernel"
    if info.pid in (task.tgid, 0):
        return "sent by the guest itself"
    return f"sent by process {info.pid}"


# Stopping.


def do_signal_stop(task: Task, signo: int) -> bool:
    """Stop all threads of the process, this one now; returns when it goes on. False: SIGCONT came
    meanwhile.

    ``signo`` 0: another thread has begun it.
    """
    process, scheduler = task.process, task.system.scheduler
    stop = process.stop
    if not task.stop_pending:
        if not task.stop_dequeued or process.killed is not None:
            return False
        if not stop.stopped:
            stop.code = signo
        task.stop_pending, stop.count = True, 1
        for other in process.threads:
            if other is not task and not other.exiting and other.state is not State.STOPPED:
                other.stop_pending = True
                stop.count += 1
                signal_wake_up(other)
    task.stop_pending = False
    if participate_group_stop(process):
        do_notify_parent_cldstop(process, CLD_STOPPED)
    scheduler.stop_task(
        task,
        lambda: (not stop.stopped and not stop.count) or task.fatal_signal_pending(),
        f"SIGCONT, after {signal_name(stop.code)}",
    )
    return True


def _notify_of_stop(process: Process) -> None:
    """The first thread that goes on tells the parent."""
    why, process.stop.notify = process.stop.notify, 0
    if why:
        do_notify_parent_cldstop(process, why)


def is_orphaned_pgrp(task: Task) -> bool:
    """Whether nobody of the session but outside of the group could continue it: terminal stops are
    ignored then (is_current_pgrp_orphaned()).
    """
    return will_become_orphaned_pgrp(task.system, task.process.pgrp, None)
