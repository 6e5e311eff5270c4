# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals: what a program asks for, blocks, waits for and sends (kernel/signal.c, v6.18)."""

from __future__ import annotations

import errno
import signal
import struct
from typing import TYPE_CHECKING

from cpu.fs.files import O_CLOEXEC, O_NONBLOCK
from cpu.fs.signalfd import SignalFd
from cpu.restart import ERESTARTNOHAND, do_no_restart_syscall
from cpu.siginfo import SI_TKILL, SI_USER, SIGINFO_SIZE, SigInfo
from cpu.signal_delivery import dequeue_signal
from cpu.signal_frame import STACK_T, do_sigaltstack, rt_sigreturn, sas_ss_flags
from cpu.signal_send import (
    force_sig,
    group_send_sig_info,
    processes_of_group,
    send_sig_info,
)
from cpu.signal_state import set_current_blocked, set_user_sigmask
from cpu.signals import (
    NSIG,
    SIG_BLOCK,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SS_AUTODISARM,
    UAPI_SA_FLAGS,
    UNBLOCKABLE,
    UNCATCHABLE,
    SigAction,
    sigmask,
)
from cpu.syscalls.clock import read_timespec
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep, WaitQueue
from mmu.units import U32, U64

if TYPE_CHECKING:
    from cpu.task import Process, Task

SIGSET_SIZE = 8
_ACTION = struct.Struct("<QQQQ")


# Asking for signals.


@syscall("rt_sigaction")
def sys_rt_sigaction(task: Task, signo: int, new: int, old: int, size: int, *_: int) -> int:
    """sigaction(2)."""
    signo = s32(signo)
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    wanted = _ACTION.unpack(task.mm.copy_from_user(new, _ACTION.size)) if new else None
    if not 1 <= signo <= NSIG or (wanted and signo in UNCATCHABLE):
        raise LinuxError(errno.EINVAL)
    was = task.sighand.action(signo)
    if wanted:
        handler, flags, restorer, mask = wanted
        action = SigAction(handler, flags & UAPI_SA_FLAGS, restorer, mask & ~UNBLOCKABLE)
        task.sighand.actions[signo] = action
        if task.sighand.ignores(signo):
            task.process.shared_pending.flush(sigmask(signo))
            for thread in task.process.threads:
                thread.pending.flush(sigmask(signo))
    if old:
        task.mm.copy_to_user(old, _ACTION.pack(was.handler, was.flags, was.restorer, was.mask))
    return 0


@syscall("rt_sigprocmask")
def sys_rt_sigprocmask(task: Task, how: int, new: int, old: int, size: int, *_: int) -> int:
    """sigprocmask(2), of the thread."""
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    was = task.blocked
    if new:
        mask = _read_sigset(task, new)
        how = s32(how)
        if how == SIG_BLOCK:
            set_current_blocked(task, was | mask)
        elif how == SIG_UNBLOCK:
            set_current_blocked(task, was & ~mask)
        elif how == SIG_SETMASK:
            set_current_blocked(task, mask)
        else:
            raise LinuxError(errno.EINVAL)
    if old:
        task.mm.copy_to_user(old, struct.pack("<Q", was))
    return 0


def _read_sigset(task: Task, addr: int) -> int:
    """The mask at ``addr``, without what no mask can have."""
    (mask,) = struct.unpack("<Q", task.mm.copy_from_user(addr, SIGSET_SIZE))
    return int(mask) & ~UNBLOCKABLE


def read_user_sigmask(task: Task, addr: int, size: int) -> None:
    """The mask of pselect(), ppoll() and their like, from here to the end of the call; 0: as it is
    (set_user_sigmask()). EINVAL, EFAULT.
    """
    if not addr:
        return
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    set_user_sigmask(task, _read_sigset(task, addr))


@syscall("rt_sigpending")
def sys_rt_sigpending(task: Task, mask: int, size: int, *_: int) -> int:
    """sigpending(2)."""
    if size > SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    waiting = (task.pending.signal | task.process.shared_pending.signal) & task.blocked
    task.mm.copy_to_user(mask, struct.pack("<Q", waiting)[:size])
    return 0


@syscall("sigaltstack")
def sys_sigaltstack(task: Task, new: int, old: int, *_: int) -> int:
    """sigaltstack(2)."""
    wanted = task.mm.copy_from_user(new, STACK_T.size) if new else None
    sp = int(task.vcpu.get_regs().sp)
    base, flags, size = task.altstack
    was = STACK_T.pack(base, _s32(sas_ss_flags(task, sp) | flags & SS_AUTODISARM), 0, size)
    error = do_sigaltstack(task, wanted, sp) if wanted is not None else 0
    if error:
        raise LinuxError(error)
    if old:
        task.mm.copy_to_user(old, was)
    return 0


def _s32(value: int) -> int:
    return s32(value & U32)


@syscall("rt_sigreturn")
def sys_rt_sigreturn(task: Task, *_: int) -> int:
    """sigreturn(2), the end of a handler."""
    wrong = rt_sigreturn(task)
    task.orig_ax = -1
    if wrong is not None:
        force_sig(signal.SIGSEGV, task, wrong)
        return 0
    return int(task.vcpu.get_regs().ax)


@syscall("restart_syscall")
def sys_restart_syscall(task: Task, *_: int) -> int:
    """restart_syscall(2): the kernel has a program make it, to go on with a call that was
    interrupted.
    """
    return (task.restart_fn or do_no_restart_syscall)(task)


# Waiting for signals.


@syscall("pause")
def sys_pause(task: Task, *_: int) -> int:
    """pause(2)."""
    return _wait_for_signal(task, "a signal, in pause()")


@syscall("rt_sigsuspend")
def sys_rt_sigsuspend(task: Task, mask: int, size: int, *_: int) -> int:
    """sigsuspend(2)."""
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    set_user_sigmask(task, _read_sigset(task, mask))
    return _wait_for_signal(task, "a signal, in sigsuspend()")


def _wait_for_signal(task: Task, what: str) -> int:
    queue = WaitQueue("a signal")
    task.system.scheduler.wait_event(queue, lambda: False, what, sleep=Sleep.INTERRUPTIBLE)
    return -ERESTARTNOHAND


@syscall("rt_sigtimedwait")
def sys_rt_sigtimedwait(task: Task, these: int, info: int, timeout: int, size: int, *_: int) -> int:
    """sigtimedwait(2), sigwaitinfo(2), sigwait(3)."""
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    wanted = _read_sigset(task, these)
    limit = read_timespec(task, timeout) if timeout else None
    found = do_sigtimedwait(task, wanted, limit)
    if info:
        task.mm.copy_to_user(info, found.pack())
    return found.signo


def do_sigtimedwait(task: Task, wanted: int, limit: int | None) -> SigInfo:
    """Take one of the signals of the mask ``wanted``, after waiting for at most ``limit``
    nanoseconds. EAGAIN: none came; EINTR: another one did.
    """
    found = dequeue_signal(task, ~wanted & U64)
    if found is not None:
        return found
    result = -errno.ETIME
    if limit != 0:
        task.real_blocked = task.blocked
        task.blocked &= ~wanted
        try:
            result = task.system.scheduler.wait_event(
                WaitQueue("a signal"),
                lambda: False,
                f"signals {wanted:#x}",
                sleep=Sleep.INTERRUPTIBLE,
                timeout_ns=limit,
            )
        finally:
            was, task.real_blocked = task.real_blocked, 0
            set_current_blocked(task, was)
        if not task.fatal_signal_pending():
            found = dequeue_signal(task, ~wanted & U64)
    if found is None:
        raise LinuxError(errno.EAGAIN if result == -errno.ETIME else errno.EINTR)
    return found


@syscall("signalfd")
def sys_signalfd(task: Task, fd: int, mask: int, size: int, *_: int) -> int:
    """signalfd(2) of old."""
    return sys_signalfd4(task, fd, mask, size, 0)


@syscall("signalfd4")
def sys_signalfd4(task: Task, fd: int, mask: int, size: int, flags: int, *_: int) -> int:
    """signalfd(2)."""
    if size != SIGSET_SIZE:
        raise LinuxError(errno.EINVAL)
    wanted = _read_sigset(task, mask)
    if flags & U32 & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(errno.EINVAL)
    if s32(fd) == -1:
        file = SignalFd(task.system, wanted, flags)
        return task.files.install(file, cloexec=bool(flags & O_CLOEXEC))
    found = task.files.get(s32(fd))
    if not isinstance(found, SignalFd):
        raise LinuxError(errno.EINVAL)
    found.set_mask(wanted)
    return s32(fd)


# Sending signals.


@syscall("kill")
def sys_kill(task: Task, pid: int, signo: int, *_: int) -> int:
    """kill(2)."""
    info = SigInfo.kill(s32(signo), SI_USER, task.tgid, task.uid)
    denied = 0
    for process in (whom := _whom(task, s32(pid))):
        if _valid_signal(info.signo) >= 0 and not may_signal(task, process.leader, info.signo):
            denied += 1
        else:
            _send_to_process(process, info)
    if denied == len(whom):
        raise LinuxError(errno.EPERM)
    return 0


def may_signal(task: Task, other: Task, signo: int) -> bool:
    """Whether the task may send the other this signal (check_kill_permission())."""
    if task.process is other.process or task.cred.kill_ok(other.cred):
        return True
    return signo == signal.SIGCONT and task.process.session == other.process.session


def _whom(task: Task, pid: int) -> list[Process]:
    """Whom kill() means: a process, a group, or all but the caller (kill_something_info()). ESRCH:
    nobody.
    """
    system = task.system
    if pid > 0:
        return [_find_process(task, pid)]
    if pid == -1:
        found = [process for process in system.alive() if process is not task.process]
    else:
        found = processes_of_group(system, -pid or task.process.pgrp)
    if not found:
        raise LinuxError(errno.ESRCH)
    return found


def _find_process(task: Task, pid: int) -> Process:
    """The process that has a thread of that number, or has been it; ESRCH: none."""
    found = task.system.tasks.get(pid)
    if found is None:
        raise LinuxError(errno.ESRCH)
    return found.process


def _send_to_process(process: Process, info: SigInfo) -> None:
    if _valid_signal(info.signo):
        group_send_sig_info(info, process)


@syscall("tkill")
def sys_tkill(task: Task, tid: int, signo: int, *_: int) -> int:
    """tkill(2)."""
    if s32(tid) <= 0:
        raise LinuxError(errno.EINVAL)
    return _send_specific(task, None, tid, _tkill_info(task, signo))


@syscall("tgkill")
def sys_tgkill(task: Task, tgid: int, tid: int, signo: int, *_: int) -> int:
    """tgkill(2)."""
    if s32(tgid) <= 0 or s32(tid) <= 0:
        raise LinuxError(errno.EINVAL)
    return _send_specific(task, s32(tgid), tid, _tkill_info(task, signo))


def _tkill_info(task: Task, signo: int) -> SigInfo:
    return SigInfo.kill(s32(signo), SI_TKILL, task.tgid, task.uid)


def _send_specific(task: Task, tgid: int | None, tid: int, info: SigInfo) -> int:
    """To one thread, of process ``tgid`` if that is given (do_send_specific())."""
    target = task.system.tasks.get(s32(tid))
    if target is None or (tgid is not None and target.tgid != tgid):
        raise LinuxError(errno.ESRCH)
    signo = _valid_signal(info.signo)
    if not may_signal(task, target, signo):
        raise LinuxError(errno.EPERM)
    if signo and not target.exiting:
        send_sig_info(info, target)
    return 0


@syscall("rt_sigqueueinfo")
def sys_rt_sigqueueinfo(task: Task, pid: int, signo: int, info: int, *_: int) -> int:
    """sigqueue(3)."""
    told = _read_siginfo(task, signo, info)
    if (told.code >= 0 or told.code == SI_TKILL) and s32(pid) != task.pid:
        raise LinuxError(errno.EPERM)
    process = _find_process(task, s32(pid))
    if not may_signal(task, process.leader, _valid_signal(told.signo)):
        raise LinuxError(errno.EPERM)
    _send_to_process(process, told)
    return 0


@syscall("rt_tgsigqueueinfo")
def sys_rt_tgsigqueueinfo(task: Task, tgid: int, tid: int, signo: int, info: int, *_: int) -> int:
    """pthread_sigqueue(3)."""
    told = _read_siginfo(task, signo, info)
    if s32(tgid) <= 0 or s32(tid) <= 0:
        raise LinuxError(errno.EINVAL)
    if (told.code >= 0 or told.code == SI_TKILL) and s32(tid) != task.pid:
        raise LinuxError(errno.EPERM)
    return _send_specific(task, s32(tgid), tid, told)


def _read_siginfo(task: Task, signo: int, addr: int) -> SigInfo:
    told = SigInfo.unpack(task.mm.copy_from_user(addr, SIGINFO_SIZE))
    return SigInfo(s32(signo), told.code, told.fields, told.errno)


def _valid_signal(signo: int) -> int:
    """The signal's number, 0 to NSIG; EINVAL."""
    signo = s32(signo)
    if not 0 <= signo <= NSIG:
        raise LinuxError(errno.EINVAL)
    return signo
