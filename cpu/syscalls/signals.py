# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: asking for them is remembered, sending one acts at once or waits until it is unblocked."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.signals import NSIG, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK, UNCATCHABLE, SigAction, sigmask
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.process import LinuxProcess

SIGSET_SIZE = 8
SS_DISABLE = 2
SS_AUTODISARM = 1 << 31
MINSIGSTKSZ = 2048
_ACTION = struct.Struct("<QQQQ")
_STACK = struct.Struct("<QiIQ")
_UNBLOCKABLE = sum(sigmask(signo) for signo in UNCATCHABLE)


@syscall("rt_sigaction")
def sys_rt_sigaction(p: LinuxProcess, signo: int, new: int, old: int, size: int, *_: int) -> int:
    """sigaction(2)."""
    signo = s32(signo)
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    wanted = _ACTION.unpack(p.mm.copy_from_user(new, _ACTION.size)) if new else None
    if not 1 <= signo <= NSIG or (wanted and signo in UNCATCHABLE):
        raise LinuxError(errno.EINVAL)
    was = p.signals.action(signo)
    if wanted:
        handler, flags, restorer, mask = wanted
        p.signals.actions[signo] = SigAction(handler, flags, restorer, mask & ~_UNBLOCKABLE)
        if p.signals.ignores(signo):
            p.signals.pending &= ~sigmask(signo)
    if old:
        p.mm.copy_to_user(old, _ACTION.pack(was.handler, was.flags, was.restorer, was.mask))
    return 0


@syscall("rt_sigprocmask")
def sys_rt_sigprocmask(p: LinuxProcess, how: int, new: int, old: int, size: int, *_: int) -> int:
    """sigprocmask(2)."""
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    was = p.signals.blocked
    if new:
        (mask,) = struct.unpack("<Q", p.mm.copy_from_user(new, SIGSET_SIZE))
        mask &= ~_UNBLOCKABLE
        if how == SIG_BLOCK:
            p.signals.blocked |= mask
        elif how == SIG_UNBLOCK:
            p.signals.blocked &= ~mask
        elif how == SIG_SETMASK:
            p.signals.blocked = mask
        else:
            raise LinuxError(errno.EINVAL)
    if old:
        p.mm.copy_to_user(old, struct.pack("<Q", was))
    p.deliver_signals()
    return 0


@syscall("rt_sigpending")
def sys_rt_sigpending(p: LinuxProcess, mask: int, size: int, *_: int) -> int:
    """sigpending(2)."""
    if size > SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    p.mm.copy_to_user(mask, struct.pack("<Q", p.signals.pending & p.signals.blocked)[:size])
    return 0


@syscall("sigaltstack")
def sys_sigaltstack(p: LinuxProcess, new: int, old: int, *_: int) -> int:
    """sigaltstack(2)."""
    was = p.signals.altstack
    if new:
        pointer, flags, _pad, size = _STACK.unpack(p.mm.copy_from_user(new, _STACK.size))
        mode = flags & ~SS_AUTODISARM & 0xFFFFFFFF
        if mode not in (0, 1, SS_DISABLE):
            raise LinuxError(errno.EINVAL)
        if mode == SS_DISABLE:
            pointer = size = 0
        elif size < MINSIGSTKSZ:
            raise LinuxError(errno.ENOMEM)
        p.signals.altstack = (pointer, flags, size)
    if old:
        p.mm.copy_to_user(old, _STACK.pack(was[0], was[1], 0, was[2]))
    return 0


@syscall("kill")
def sys_kill(p: LinuxProcess, pid: int, signo: int, *_: int) -> int:
    """kill(2): there is one process, alone in its group."""
    if s32(pid) not in (0, p.pid, -p.pid):
        raise LinuxError(errno.ESRCH)
    return _send(p, s32(signo))


@syscall("tkill")
def sys_tkill(p: LinuxProcess, tid: int, signo: int, *_: int) -> int:
    """tkill(2)."""
    return sys_tgkill(p, p.pid, tid, signo)


@syscall("tgkill")
def sys_tgkill(p: LinuxProcess, tgid: int, tid: int, signo: int, *_: int) -> int:
    """tgkill(2)."""
    if s32(tgid) <= 0 or s32(tid) <= 0:
        raise LinuxError(errno.EINVAL)
    if s32(tgid) != p.pid or s32(tid) != p.pid:
        raise LinuxError(errno.ESRCH)
    return _send(p, s32(signo))


def _send(p: LinuxProcess, signo: int) -> int:
    if not 0 <= signo <= NSIG:
        raise LinuxError(errno.EINVAL)
    if signo:
        p.send_signal(signo)
    return 0


@syscall("pause")
def sys_pause(p: LinuxProcess, *_: int) -> int:
    """pause(2): nobody is there to send a signal."""
    p.deadlock("pause() that no signal can end")
