# SPDX-License-Identifier: GPL-2.0-or-later
"""Sending signals: who is to take one, and what happens at once (kernel/signal.c, v6.18).

::

    kill()                  group_send_sig_info() ─┐
    tgkill(), SIGPIPE       send_sig_info()        ├─ send_signal()
    a faulting instruction  force_sig_info()      ─┘    prepare_signal()   stop, continue, ignored
                                                        SigPending.add()   it waits
                                                        complete_signal()  who takes it

Nothing here ends a task: each finds out on its way back to user mode (cpu.signal_delivery). A task
that runs on another CPU does so at the end of its slice.
"""

from __future__ import annotations

import errno
import signal
from dataclasses import replace
from typing import Final

from cpu.siginfo import (
    CLD_CONTINUED,
    CLD_EXITED,
    CLD_KILLED,
    CLD_STOPPED,
    SI_KERNEL,
    SI_USER,
    Blame,
    SigInfo,
)
from cpu.signals import (
    SA_NOCLDSTOP,
    SA_NOCLDWAIT,
    SIG_DFL,
    SIG_IGN,
    SIGRTMIN,
    STOP_MASK,
    dumps_core,
    sigmask,
)
from cpu.system import System
from cpu.task import Process, Task
from cpu.thread import State
from mmu.errors import LinuxError
from mmu.linux.resource import Resource

CLOCK_TICK_NS: Final = 10**7
"""Nanoseconds of a clock_t's tick (USER_HZ)."""


# To a task, to a process, to a group.


def send_sig_info(info: SigInfo, task: Task) -> None:
    """Send to this very thread. EAGAIN: too many real-time signals wait (RLIMIT_SIGPENDING)."""
    send_signal(info, task, group=False)


def send_sig(signo: int, task: Task, *, priv: bool = False) -> None:
    """Send what the kernel has to say to this thread, as the thread's own doing, or, with ``priv``,
    as the kernel's.
    """
    info = SigInfo.kernel(signo) if priv else SigInfo.kill(signo, SI_USER, task.tgid, task.uid)
    send_signal(info, task, group=False)


def group_send_sig_info(info: SigInfo, process: Process) -> None:
    """Send to a process: any of its threads takes it. EAGAIN as send_sig_info()."""
    if process.threads:
        send_signal(info, process.leader, group=True)


def processes_of_group(system: System, pgrp: int) -> list[Process]:
    """The processes of a group that have not been waited for, in the order of their making."""
    return [process for process in system.alive() if process.pgrp == pgrp]


def kill_pgrp(info: SigInfo, system: System, pgrp: int) -> None:
    """Send to all processes of a group. ESRCH: there is none."""
    processes = processes_of_group(system, pgrp)
    if not processes:
        raise LinuxError(errno.ESRCH)
    for process in processes:
        group_send_sig_info(info, process)


def force_sig(signo: int, task: Task, reason: str = "") -> None:
    """As force_sig_info(), of the kernel's own; ``reason`` for a report."""
    force_sig_info(SigInfo.kernel(signo, reason), task)


def force_sig_info(info: SigInfo, task: Task, *, default: bool = False) -> None:
    """Send what the thread's instruction has raised, which it can neither block nor ignore: if it
    does, or with ``default``, the signal acts by default (force_sig_info_to_task()).
    """
    signo, sighand = info.signo, task.sighand
    handler = sighand.action(signo).handler
    blocked = bool(task.blocked & sigmask(signo))
    if blocked or default or handler == SIG_IGN:
        if handler not in (SIG_DFL, SIG_IGN):
            why = "the signal was blocked" if blocked else "its frame could not be made"
            blame = info.blame or Blame("sent by the kernel")
            info = replace(info, blame=replace(blame, handler=handler, why_not=why))
        sighand.set_default(signo)
        task.blocked &= ~sigmask(signo)
    send_signal(info, task, group=False)


# The common part.


def send_signal(info: SigInfo, task: Task, *, group: bool) -> None:
    """Send to the thread, or to its process (__send_signal_locked()). EAGAIN as send_sig_info()."""
    signo, process = info.signo, task.process
    if not prepare_signal(signo, task):
        return
    pending = process.shared_pending if group else task.pending
    if signo < SIGRTMIN and pending.signal & sigmask(signo):
        return
    told: SigInfo | None = info
    if signo == signal.SIGKILL:
        told = None
    elif (signo >= SIGRTMIN or info.code < 0) and _queue_is_full(task):
        if signo >= SIGRTMIN and info.code not in (SI_USER, SI_KERNEL):
            raise LinuxError(errno.EAGAIN)
        told = None
    pending.add(signo, told)
    signalfd_notify(task, signo)
    complete_signal(info, task, group=group)


def _queue_is_full(task: Task) -> bool:
    """Whether as many signals wait, of all processes of the user, as RLIMIT_SIGPENDING allows."""
    system = task.system
    waiting = sum(len(other.pending.queue) for other in system.tasks.values())
    waiting += sum(len(process.shared_pending.queue) for process in system.alive())
    return waiting >= task.rlimits[Resource.SIGPENDING].cur


def signalfd_notify(task: Task, signo: int) -> None:
    """Have those look who read or poll a signalfd for it."""
    for hear in list(task.sighand.signalfds):
        hear(signo)


def prepare_signal(signo: int, task: Task) -> bool:
    """What a stop signal and SIGCONT do when they are sent, whoever takes them; whether the signal
    is to wait at all.
    """
    process = task.process
    if process.end is not None or process.killed is not None:
        return signo == signal.SIGKILL
    if sigmask(signo) & STOP_MASK:
        _flush(process, sigmask(signal.SIGCONT))
    elif signo == signal.SIGCONT:
        _continue(process)
    return not _sig_ignored(signo, task)


def _flush(process: Process, mask: int) -> None:
    process.shared_pending.flush(mask)
    for task in process.threads:
        task.pending.flush(mask)


def _continue(process: Process) -> None:
    """Stop signals that wait are dropped, and all threads go on."""
    stop, scheduler = process.stop, process.system.scheduler
    _flush(process, STOP_MASK)
    if stop.stopped:
        stop.notify = CLD_CONTINUED
    elif stop.count:
        stop.notify = CLD_STOPPED
    if stop.notify:
        stop.stopped, stop.continued = False, True
        stop.count = stop.code = 0
    for task in process.threads:
        task.stop_pending = task.stop_dequeued = False
        scheduler.resume(task)


def _sig_ignored(signo: int, task: Task) -> bool:
    """Whether it is dropped: what is blocked is not, for its handler may change until then."""
    if (task.blocked | task.real_blocked) & sigmask(signo):
        return False
    if task.traced is not None and signo != signal.SIGKILL:
        return False
    return task.sighand.ignores(signo)


def complete_signal(info: SigInfo, task: Task, *, group: bool) -> None:
    """Wake a thread that takes it; if it ends the process, all threads end from now on."""
    signo, process = info.signo, task.process
    target = _find_target(signo, task, group=group)
    if target is None:
        return
    fatal = task.sighand.is_fatal(signo) and target.traced is None
    fatal |= signo == signal.SIGKILL
    if fatal and not dumps_core(signo) and not target.real_blocked & sigmask(signo):
        process.killed = process.killed or info
        process.stop.count = 0
        for thread in process.threads:
            thread.stop_pending = False
            signal_wake_up(thread)
        return
    signal_wake_up(target)


def _find_target(signo: int, task: Task, *, group: bool) -> Task | None:
    """Who takes it: the thread it was sent to, or, of a process, its leader, or the next of its
    threads that wants it.
    """
    if _wants_signal(signo, task):
        return task
    process = task.process
    threads = process.threads
    if not group or threads in ([], [task]):
        return None
    begin = threads.index(process.curr_target) if process.curr_target in threads else 0
    for thread in threads[begin:] + threads[:begin]:
        if _wants_signal(signo, thread):
            process.curr_target = thread
            return thread
    return None


def _wants_signal(signo: int, task: Task) -> bool:
    if task.blocked & sigmask(signo) or task.exiting:
        return False
    if signo == signal.SIGKILL:
        return True
    if task.state is State.STOPPED:
        return False
    if task.rq is not None and task.rq.curr is task:
        return True
    waiting = task.pending.signal | task.process.shared_pending.signal
    others = waiting & ~task.blocked & ~sigmask(signo)
    return not others and not task.stop_pending


def signal_wake_up(task: Task) -> None:
    """Have a thread look at its signals: from a sleep that they end, or, if the process ends, from
    a stop too.
    """
    scheduler = task.system.scheduler
    scheduler.wake_signalled(task)
    if task.fatal_signal_pending():
        scheduler.resume(task)


# To the parent.


def do_notify_parent(process: Process, status: int, signo: int = signal.SIGCHLD) -> bool:
    """Tell the parent of a process that has ended: ``status`` is wait()'s word, ``signo`` the
    signal that clone() was told, 0: none. Whether the parent will not wait for it, so that it goes
    at once.
    """
    parent = process.parent
    if parent is None or not parent.threads:
        return True
    killer = status & 0x7F
    code, value = (CLD_KILLED, killer) if killer else (CLD_EXITED, status >> 8 & 0xFF)
    action = parent.leader.sighand.action(signal.SIGCHLD)
    autoreap = signo == signal.SIGCHLD and (
        action.handler == SIG_IGN or bool(action.flags & SA_NOCLDWAIT)
    )
    if signo and not (autoreap and action.handler == SIG_IGN):
        _tell_parent(process, replace(_child_info(process, code, value), signo=signo))
    _wake_up_parent(parent)
    return autoreap


def do_notify_parent_cldstop(process: Process, why: int) -> None:
    """Tell the parent of a process that has stopped or goes on: ``why`` is CLD_STOPPED or
    CLD_CONTINUED.
    """
    parent = process.parent
    if parent is None or not parent.threads:
        return
    status = process.stop.code if why == CLD_STOPPED else int(signal.SIGCONT)
    action = parent.leader.sighand.action(signal.SIGCHLD)
    if action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
        _tell_parent(process, _child_info(process, why, status))
    _wake_up_parent(parent)


def _child_info(process: Process, code: int, status: int) -> SigInfo:
    uid = process.leader.uid
    utime = process.executed() // CLOCK_TICK_NS if process.system.scheduler.counting else 0
    return SigInfo.child(code, process.pid, uid, status, utime)


def _tell_parent(process: Process, info: SigInfo) -> None:
    assert process.parent is not None
    group_send_sig_info(info, process.parent)


def _wake_up_parent(parent: Process) -> None:
    """Those who wait for children look again (__wake_up_parent())."""
    parent.system.scheduler.wake_up(parent.wait_chldexit)
