# SPDX-License-Identifier: GPL-2.0-or-later
"""wait4(2), waitid(2), getrusage(2), times(2)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.pidfd import PIDFD_NONBLOCK, pidfd_of
from cpu.siginfo import SigInfo
from cpu.syscalls.registry import s32, syscall
from cpu.usage import rusage_of, rusage_of_thread
from cpu.wait import (
    WALL,
    WCLONE,
    WCONTINUED,
    WEXITED,
    WNOHANG,
    WNOTHREAD,
    WNOWAIT,
    WSTOPPED,
    WUNTRACED,
    Wanted,
    do_wait,
)
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Process, Task

INT_MIN: Final = -(1 << 31)
P_ALL, P_PID, P_PGID, P_PIDFD = 0, 1, 2, 3
RUSAGE_SELF, RUSAGE_CHILDREN, RUSAGE_BOTH, RUSAGE_THREAD = 0, -1, -2, 1
CLOCK_TICK_NS: Final = 10**7
"""Nanoseconds of a clock_t's tick (USER_HZ)."""


@syscall("wait4")
def sys_wait4(task: Task, pid: int, status: int, options: int, usage: int, *_: int) -> int:
    """wait4(2)."""
    options, pid = options & U32, s32(pid)
    if options & ~(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WCLONE | WALL):
        raise LinuxError(errno.EINVAL)
    if pid == INT_MIN:
        raise LinuxError(errno.ESRCH)
    own = task.process.pgrp
    waited = do_wait(task, _wanted(pid, own), options | WEXITED)
    if waited is None:
        return 0
    if status:
        task.mm.copy_to_user(status, struct.pack("<I", waited.status))
    if usage:
        task.mm.copy_to_user(usage, waited.usage.pack())
    return waited.pid


def _wanted(pid: int, own_pgrp: int) -> Wanted:
    """Whom wait4() means: -1 any child, 0 one of the own group, < -1 one of that group."""
    if pid == -1:
        return lambda child: True
    if pid > 0:
        return lambda child: child.pid == pid
    pgrp = -pid or own_pgrp
    return lambda child: child.pgrp == pgrp


@syscall("waitid")
def sys_waitid(
    task: Task, which: int, pid: int, info: int, options: int, usage: int, *_: int
) -> int:
    """waitid(2)."""
    options, which, pid = options & U32, s32(which), s32(pid)
    changes = WEXITED | WSTOPPED | WCONTINUED
    if options & ~(WNOHANG | WNOWAIT | changes | WNOTHREAD | WCLONE | WALL):
        raise LinuxError(errno.EINVAL)
    if not options & changes:
        raise LinuxError(errno.EINVAL)
    pidfd, nonblocking = None, options & WNOHANG
    if which == P_ALL:
        pid = -1
    elif which == P_PID:
        if pid <= 0:
            raise LinuxError(errno.EINVAL)
    elif which == P_PGID:
        if pid < 0:
            raise LinuxError(errno.EINVAL)
        pid = -pid
    elif which == P_PIDFD and pid >= 0:
        pidfd = pidfd_of(task.files.get(pid))
        if pidfd.flags & PIDFD_NONBLOCK:
            options |= WNOHANG
    else:
        raise LinuxError(errno.EINVAL)
    pgrp = task.process.pgrp
    if pidfd is not None:
        wanted = _is(pidfd.process)
    else:
        wanted = _wanted(pid, pgrp) if which != P_PGID else _of_group(-pid or pgrp)
    waited = do_wait(task, wanted, options)
    if waited is None and pidfd is not None and not nonblocking:
        raise LinuxError(errno.EAGAIN)
    if waited is not None and usage:
        task.mm.copy_to_user(usage, waited.usage.pack())
    if info:
        told = bytes(28)
        if waited is not None:
            child = SigInfo.child(waited.code, waited.pid, waited.uid, waited.value)
            told = child.pack()[:28]
        task.mm.copy_to_user(info, told)
    return 0


def _is(process: Process) -> Wanted:
    return lambda child: child is process


def _of_group(pgrp: int) -> Wanted:
    return lambda child: child.pgrp == pgrp


@syscall("getrusage")
def sys_getrusage(task: Task, who: int, usage: int, *_: int) -> int:
    """getrusage(2)."""
    who = s32(who)
    if who == RUSAGE_SELF:
        used = rusage_of(task.process)
    elif who == RUSAGE_CHILDREN:
        used = task.process.rusage_children
    elif who == RUSAGE_THREAD:
        used = rusage_of_thread(task)
    else:
        raise LinuxError(errno.EINVAL)
    task.mm.copy_to_user(usage, used.pack())
    return 0


@syscall("times")
def sys_times(task: Task, buffer: int, *_: int) -> int:
    """times(2): clock ticks of CPU time; returns those since the machine was made."""
    if buffer:
        own, children = rusage_of(task.process), task.process.rusage_children
        ticks = (own.utime, own.stime, children.utime, children.stime)
        task.mm.copy_to_user(buffer, struct.pack("<4q", *(ns // CLOCK_TICK_NS for ns in ticks)))
    return task.system.clock.now_ns() // CLOCK_TICK_NS
