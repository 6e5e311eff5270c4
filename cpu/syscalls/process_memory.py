# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process does with the memory of another: process_vm_readv(2), process_vm_writev(2),
process_madvise(2), process_mrelease(2).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_NICE
from cpu.pidfd import pidfd_of
from cpu.ptrace import may_access
from cpu.syscalls.io import iovecs
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.madvise import vector_madvise
from mmu.linux.mm_users import mmget_not_zero, mmput
from mmu.linux.mman import MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT, MADV_WILLNEED
from mmu.linux.oom_kill import oom_reap_task_mm
from mmu.linux.process_vm_access import process_vm_rw
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Process, Task
    from mmu.linux.mm import Mm

PIDFD_SELF_THREAD: Final = -10000
PIDFD_SELF_THREAD_GROUP: Final = -10001
"""Descriptors that mean the caller itself (include/uapi/linux/pidfd.h)."""
_REMOTE: Final = (MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE)
"""Advice that another process may give: process_madvise_remote_valid()."""


@syscall("process_vm_readv")
def sys_process_vm_readv(
    task: Task, pid: int, lvec: int, liovcnt: int, rvec: int, riovcnt: int, flags: int
) -> int:
    """process_vm_readv(2)."""
    return _process_vm_rw(task, pid, (lvec, liovcnt), (rvec, riovcnt), flags, write=False)


@syscall("process_vm_writev")
def sys_process_vm_writev(
    task: Task, pid: int, lvec: int, liovcnt: int, rvec: int, riovcnt: int, flags: int
) -> int:
    """process_vm_writev(2)."""
    return _process_vm_rw(task, pid, (lvec, liovcnt), (rvec, riovcnt), flags, write=True)


def _process_vm_rw(
    task: Task,
    pid: int,
    local: tuple[int, int],
    remote: tuple[int, int],
    flags: int,
    *,
    write: bool,
) -> int:
    """process_vm_rw(): EINVAL for flags or a bad vector, ESRCH if there is no such task, EPERM if
    it is not the caller's to look into.
    """
    if flags:
        raise LinuxError(errno.EINVAL)
    ours = iovecs(task, *local)
    if not any(size for _, size in ours):
        return 0
    theirs = iovecs(task, *remote)
    other = task.system.tasks.get(s32(pid))
    if other is None:
        raise LinuxError(errno.ESRCH)
    try:
        mm = mm_access(task, other)
    except LinuxError as error:
        raise LinuxError(errno.EPERM if error.errno == errno.EACCES else error.errno) from None
    try:
        return process_vm_rw(task.mm, ours, mm, theirs, write=write)
    finally:
        mmput(mm)


def mm_access(task: Task, other: Task) -> Mm:
    """mm_access(): the other's address space, with one more user. ESRCH if it has let go of it,
    EACCES if it is not the caller's to look into.
    """
    mm = other.mm
    if other.exited_mm or not mmget_not_zero(mm):
        raise LinuxError(errno.ESRCH)
    if mm is not task.mm and not may_access(task, other):
        mmput(mm)
        raise LinuxError(errno.EACCES)
    return mm


def _pidfd_get_task(task: Task, fd: int) -> Process:
    """pidfd_get_task(): EBADF, or ESRCH when it has been waited for."""
    if fd in (PIDFD_SELF_THREAD, PIDFD_SELF_THREAD_GROUP):
        return task.process
    pidfd = pidfd_of(task.files.get(fd))
    if pidfd.is_released:
        raise LinuxError(errno.ESRCH)
    return pidfd.process


@syscall("process_madvise")
def sys_process_madvise(
    task: Task, fd: int, vec: int, vlen: int, advice: int, flags: int, *_: int
) -> int:
    """process_madvise(2): any advice for the caller itself, a few for others, which take
    CAP_SYS_NICE.
    """
    if flags & U32:
        raise LinuxError(errno.EINVAL)
    pieces, advice = iovecs(task, vec, vlen), s32(advice)
    other = _pidfd_get_task(task, s32(fd)).leader
    mm = mm_access(task, other)
    try:
        if mm is not task.mm:
            if advice not in _REMOTE:
                raise LinuxError(errno.EINVAL)
            if not task.cred.capable(CAP_SYS_NICE):
                raise LinuxError(errno.EPERM)
        return vector_madvise(mm, pieces, advice)
    finally:
        mmput(mm)


@syscall("process_mrelease")
def sys_process_mrelease(task: Task, fd: int, flags: int, *_: int) -> int:
    """process_mrelease(2): give back the memory of a process that was killed, before it ends."""
    if flags & U32:
        raise LinuxError(errno.EINVAL)
    process = _pidfd_get_task(task, s32(fd))
    living = [thread for thread in process.threads if not thread.exited_mm]
    if not living:
        raise LinuxError(errno.ESRCH)
    mm = living[0].mm
    sharing = [other for other in task.system.tasks.values() if other.mm is mm]
    if not all(other.fatal_signal_pending() or other.exiting for other in sharing):
        raise LinuxError(errno.EINVAL)
    oom_reap_task_mm(mm)
    return 0
