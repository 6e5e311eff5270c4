# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: asking for them is remembered, sending one acts at once or waits until it is
unblocked.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.signals import (
    MINSIGSTKSZ,
    NSIG,
    SIG_BLOCK,
    SIG_SETMASK,
    SIG_UNBLOCK,
    UNCATCHABLE,
    SigAction,
    sigmask,
)
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

SIGSET_SIZE = 8
SS_DISABLE = 2
SS_AUTODISARM = 1 << 31
_ACTION = struct.Struct("<QQQQ")
_STACK = struct.Struct("<QiIQ")
_UNBLOCKABLE = sum(sigmask(signo) for signo in UNCATCHABLE)


@syscall("rt_sigaction")
def sys_rt_sigaction(task: Task, signo: int, new: int, old: int, size: int, *_: int) -> int:
    """sigaction(2)."""
    signo = s32(signo)
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    wanted = _ACTION.unpack(task.mm.copy_from_user(new, _ACTION.size)) if new else None
    if not 1 <= signo <= NSIG or (wanted and signo in UNCATCHABLE):
        raise LinuxError(errno.EINVAL)
    was = task.signals.action(signo)
    if wanted:
        handler, flags, restorer, mask = wanted
        task.signals.actions[signo] = SigAction(handler, flags, restorer, mask & ~_UNBLOCKABLE)
        if task.signals.ignores(signo):
            task.signals.pending &= ~sigmask(signo)
    if old:
        task.mm.copy_to_user(old, _ACTION.pack(was.handler, was.flags, was.restorer, was.mask))
    return 0


@syscall("rt_sigprocmask")
def sys_rt_sigprocmask(task: Task, how: int, new: int, old: int, size: int, *_: int) -> int:
    """sigprocmask(2)."""
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    was = task.signals.blocked
    if new:
        (mask,) = struct.unpack("<Q", task.mm.copy_from_user(new, SIGSET_SIZE))
        mask &= ~_UNBLOCKABLE
        if how == SIG_BLOCK:
            task.signals.blocked |= mask
        elif how == SIG_UNBLOCK:
            task.signals.blocked &= ~mask
        elif how == SIG_SETMASK:
            task.signals.blocked = mask
        else:
            raise LinuxError(errno.EINVAL)
    if old:
        task.mm.copy_to_user(old, struct.pack("<Q", was))
    task.deliver_signals()
    return 0


@syscall("rt_sigpending")
def sys_rt_sigpending(task: Task, mask: int, size: int, *_: int) -> int:
    """sigpending(2)."""
    if size > SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    task.mm.copy_to_user(
        mask, struct.pack("<Q", task.signals.pending & task.signals.blocked)[:size]
    )
    return 0


@syscall("sigaltstack")
def sys_sigaltstack(task: Task, new: int, old: int, *_: int) -> int:
    """sigaltstack(2)."""
    was = task.signals.altstack
    if new:
        pointer, flags, _pad, size = _STACK.unpack(task.mm.copy_from_user(new, _STACK.size))
        mode = flags & ~SS_AUTODISARM & U32
        if mode not in (0, 1, SS_DISABLE):
            raise LinuxError(errno.EINVAL)
        if mode == SS_DISABLE:
            pointer = size = 0
        elif size < MINSIGSTKSZ:
            raise LinuxError(errno.ENOMEM)
        task.signals.altstack = (pointer, flags, size)
    if old:
        task.mm.copy_to_user(old, _STACK.pack(was[0], was[1], 0, was[2]))
    return 0


@syscall("kill")
def sys_kill(task: Task, pid: int, signo: int, *_: int) -> int:
    """kill(2): there is one process, alone in its group."""
    if s32(pid) not in (0, task.pid, -task.pid):
        raise LinuxError(errno.ESRCH)
    return _send(task, s32(signo))


@syscall("tkill")
def sys_tkill(task: Task, tid: int, signo: int, *_: int) -> int:
    """tkill(2)."""
    return sys_tgkill(task, task.pid, tid, signo)


@syscall("tgkill")
def sys_tgkill(task: Task, tgid: int, tid: int, signo: int, *_: int) -> int:
    """tgkill(2)."""
    if s32(tgid) <= 0 or s32(tid) <= 0:
        raise LinuxError(errno.EINVAL)
    if s32(tgid) != task.pid or s32(tid) != task.pid:
        raise LinuxError(errno.ESRCH)
    return _send(task, s32(signo))


def _send(task: Task, signo: int) -> int:
    if not 0 <= signo <= NSIG:
        raise LinuxError(errno.EINVAL)
    if signo:
        task.send_signal(signo)
    return 0


@syscall("pause")
def sys_pause(task: Task, *_: int) -> int:
    """pause(2)."""
    task.system.sleep(None, "a signal, in pause()")
    raise LinuxError(errno.EINTR)
