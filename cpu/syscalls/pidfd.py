# SPDX-License-Identifier: GPL-2.0-or-later
"""pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.fs.procfs import process_of_directory
from cpu.pidfd import PIDFD_NONBLOCK, PidFd, pidfd_of
from cpu.siginfo import SI_TKILL, SI_USER, SIGINFO_SIZE, SigInfo
from cpu.signal_send import group_send_sig_info
from cpu.signals import NSIG
from cpu.syscalls.registry import s32, syscall
from cpu.syscalls.signals import may_signal
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Process, Task


@syscall("pidfd_open")
def sys_pidfd_open(task: Task, pid: int, flags: int, *_: int) -> int:
    """pidfd_open(2), of processes."""
    if flags & U32 & ~PIDFD_NONBLOCK or s32(pid) <= 0:
        raise LinuxError(errno.EINVAL)
    process = task.system.process_of(s32(pid))
    if process is None:
        raise LinuxError(errno.ENOENT if s32(pid) in task.system.tasks else errno.ESRCH)
    return task.files.install(PidFd(process, flags & PIDFD_NONBLOCK), cloexec=True)


def _process(task: Task, fd: int) -> Process:
    """The process that the descriptor stands for; EBADF, or ESRCH when it has been waited for."""
    pidfd = pidfd_of(task.files.get(fd))
    if pidfd.is_released:
        raise LinuxError(errno.ESRCH)
    return pidfd.process


def _process_to_signal(task: Task, fd: int) -> Process:
    """The same; the descriptor may be one of /proc/PID as well (pidfd_to_pid())."""
    process = process_of_directory(task.files.get(fd))
    if process is None:
        return _process(task, fd)
    if task.system.process_of(process.pid) is not process:
        raise LinuxError(errno.ESRCH)
    return process


@syscall("pidfd_send_signal")
def sys_pidfd_send_signal(task: Task, fd: int, signo: int, info: int, flags: int, *_: int) -> int:
    """pidfd_send_signal(2), to the process."""
    signo = s32(signo)
    if flags & U32:
        raise LinuxError(errno.EINVAL)
    process = _process_to_signal(task, s32(fd))
    told = SigInfo.kill(signo, SI_USER, task.tgid, task.uid)
    if info:
        told = SigInfo.unpack(task.mm.copy_from_user(info, SIGINFO_SIZE))
        if told.signo != signo:
            raise LinuxError(errno.EINVAL)
        if (told.code >= 0 or told.code == SI_TKILL) and process is not task.process:
            raise LinuxError(errno.EPERM)
    if not 0 <= signo <= NSIG:
        raise LinuxError(errno.EINVAL)
    if not may_signal(task, process.leader, signo):
        raise LinuxError(errno.EPERM)
    if signo:
        group_send_sig_info(told, process)
    return 0


@syscall("pidfd_getfd")
def sys_pidfd_getfd(task: Task, fd: int, wanted: int, flags: int, *_: int) -> int:
    """pidfd_getfd(2): another's descriptor as one's own."""
    if flags & U32:
        raise LinuxError(errno.EINVAL)
    process = _process(task, s32(fd))
    if not process.threads:
        raise LinuxError(errno.ESRCH)
    if not task.cred.may_trace(process.threads[0].cred):
        raise LinuxError(errno.EPERM)
    return task.files.install(process.threads[0].files.get(s32(wanted)), cloexec=True)
