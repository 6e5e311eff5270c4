# SPDX-License-Identifier: GPL-2.0-or-later
"""A thread's signals through its life: clone(), exec(), masks, its end (kernel/fork.c, fs/exec.c,
kernel/signal.c, v6.18).
"""

from __future__ import annotations

from typing import Final

from cpu.siginfo import CLD_STOPPED
from cpu.signal_send import do_notify_parent_cldstop, signal_wake_up
from cpu.signals import SS_DISABLE, UNBLOCKABLE
from cpu.task import Process, Task

CLONE_VM: Final = 0x100
CLONE_SIGHAND: Final = 0x800
CLONE_VFORK: Final = 0x4000
CLONE_CLEAR_SIGHAND: Final = 1 << 32
NO_ALTSTACK: Final = (0, SS_DISABLE, 0)
"""What sas_ss_reset() leaves."""


def copy_signals(parent: Task, child: Task, flags: int) -> None:
    """Give ``child``, which is new, what it has of ``parent``'s signals; ``flags`` are clone()'s.

    Handlers are shared by CLONE_SIGHAND, else copied; masks are copied, what waits is not
    (copy_sighand(), copy_process()).
    """
    if flags & CLONE_SIGHAND:
        child.sighand = parent.sighand
        child.sighand.users += 1
    else:
        child.sighand = parent.sighand.copy()
        child.sighand.users = 1
        if flags & CLONE_CLEAR_SIGHAND:
            child.sighand.flush(force_default=False)
    child.blocked = parent.blocked
    child.altstack = parent.altstack
    if flags & (CLONE_VM | CLONE_VFORK) == CLONE_VM:
        child.altstack = NO_ALTSTACK
    child.trap_nr, child.error_code, child.cr2 = parent.trap_nr, parent.error_code, parent.cr2


def exec_signals(task: Task) -> None:
    """A new program begins: handlers are gone, what is ignored stays, POSIX timers go, what waits
    and the mask stay (begin_new_exec()).
    """
    process = task.process
    for timer in process.posix_timers.values():
        timer.timer.cancel()
    process.posix_timers.clear()
    for pending in (process.shared_pending, task.pending):
        pending.drop_timers()
    if task.sighand.users > 1:
        task.sighand.users -= 1
        task.sighand = task.sighand.copy()
        task.sighand.users = 1
    task.sighand.flush(force_default=False)
    task.altstack = (0, task.altstack[1], 0)
    task.restart_fn = None


def exit_signals(task: Task) -> None:
    """The thread takes no signal from now on: what waits for its process is another's; it does not
    stop any more. Its process's timers go with its last thread.
    """
    process = task.process
    task.exiting = True
    others = [other for other in process.threads if other is not task and not other.exiting]
    if not others:
        _exit_timers(process)
    else:
        waiting = process.shared_pending.signal & ~task.blocked
        for other in others:
            if waiting & ~other.blocked:
                waiting &= other.blocked
                signal_wake_up(other)
    if task.stop_pending:
        task.stop_pending = False
        if others and participate_group_stop(process):
            do_notify_parent_cldstop(process, CLD_STOPPED)
    task.sighand.users -= 1


def _exit_timers(process: Process) -> None:
    for itimer in process.itimers.values():
        itimer.timer.cancel()
    for timer in process.posix_timers.values():
        timer.timer.cancel()
    process.posix_timers.clear()


def participate_group_stop(process: Process) -> bool:
    """One thread fewer is still to stop; whether it was the last, so that the process has stopped
    (task_participate_group_stop()).
    """
    stop = process.stop
    stop.count = max(0, stop.count - 1)
    if stop.count or stop.stopped:
        return False
    stop.stopped, stop.continued = True, False
    return True


def set_current_blocked(task: Task, mask: int) -> None:
    """Block these signals from now on, SIGKILL and SIGSTOP never. Signals of its process that it
    does not take any more go to another thread (__set_task_blocked()).
    """
    mask &= ~UNBLOCKABLE
    process = task.process
    newly = mask & ~task.blocked & process.shared_pending.signal
    task.blocked = mask
    for other in process.threads:
        if newly and other is not task and not other.exiting and newly & ~other.blocked:
            newly &= other.blocked
            signal_wake_up(other)


def set_user_sigmask(task: Task, mask: int) -> None:
    """Block these signals until the system call that runs has ended: it comes back to the mask of
    before then, or, if a handler runs, when that returns.
    """
    task.saved_sigmask = task.blocked
    set_current_blocked(task, mask)


def restore_saved_sigmask(task: Task) -> None:
    """The mask of before set_user_sigmask(), if that was called."""
    if task.saved_sigmask is not None:
        mask, task.saved_sigmask = task.saved_sigmask, None
        set_current_blocked(task, mask)
