# SPDX-License-Identifier: GPL-2.0-or-later
"""A task under another's eyes: it stops for each signal until its tracer lets it go on
(ptrace_attach(), ptrace_stop() of kernel/ptrace.c and kernel/signal.c, v6.18).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cpu.siginfo import CLD_TRAPPED, SI_USER, SigInfo
from cpu.signal_send import group_send_sig_info
from cpu.signals import SIG_IGN

if TYPE_CHECKING:
    from cpu.task import Process, Task

SA_NOCLDSTOP: Final = 1


def tracees(process: Process) -> Iterator[Task]:
    """The tasks that threads of the process trace."""
    for task in list(process.system.tasks.values()):
        if task.traced is not None and task.traced.tracer.process is process:
            yield task


def ptrace_signal(task: Task, info: SigInfo) -> SigInfo | None:
    """Stop the task that runs, for a signal that it has taken, and tell its tracer; what it goes on
    with, None: nothing (ptrace_signal()).
    """
    traced = task.traced
    assert traced is not None
    traced.info, traced.told, traced.send = info, False, 0
    _tell(task, traced.tracer, info.signo)
    task.system.scheduler.stop_task(
        task,
        lambda: traced.info is None or task.traced is not traced or task.fatal_signal_pending(),
        f"its tracer, after {signal.Signals(info.signo).name if info.signo < 32 else info.signo}",
    )
    traced.info = None
    if not traced.send:
        return None
    if traced.send == info.signo:
        return info
    return SigInfo.kill(traced.send, SI_USER, traced.tracer.tgid, traced.tracer.uid)


def _tell(task: Task, tracer: Task, signo: int) -> None:
    """do_notify_parent_cldstop() to the tracer, and whoever of its process waits."""
    parent = tracer.process
    action = tracer.sighand.action(signal.SIGCHLD)
    if action.handler != SIG_IGN and not action.flags & SA_NOCLDSTOP:
        group_send_sig_info(SigInfo.child(CLD_TRAPPED, task.pid, task.uid, signo), parent)
    parent.system.scheduler.wake_up(parent.wait_chldexit)


def ptrace_resume(task: Task, signo: int) -> None:
    """Let the tracee, which stands still, go on with this signal, 0: with none."""
    traced = task.traced
    assert traced is not None
    traced.info, traced.send = None, signo
    task.system.scheduler.resume(task)


def ptrace_detach(task: Task, signo: int = 0) -> None:
    """Nobody traces it any more; if it stands still it goes on."""
    traced, task.traced = task.traced, None
    if traced is not None:
        traced.info, traced.send = None, signo
        task.system.scheduler.resume(task)


def exit_ptrace(task: Task) -> None:
    """The task ends: its tracees go on, and its tracer waits for it no more."""
    for other in list(task.system.tasks.values()):
        if other.traced is not None and other.traced.tracer is task:
            ptrace_detach(other)
    if task.traced is not None:
        tracer, task.traced = task.traced.tracer.process, None
        task.system.scheduler.wake_up(tracer.wait_chldexit)
