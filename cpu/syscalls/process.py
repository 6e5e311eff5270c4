# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes: making them, their ends, who belongs to whom."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NoReturn

from cpu.fork import (
    CLONE_CLEAR_SIGHAND,
    CLONE_DETACHED,
    CLONE_FILES,
    CLONE_FS,
    CLONE_INTO_CGROUP,
    CLONE_LEGACY_FLAGS,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    CSIGNAL,
    NAMESPACES,
    CloneArgs,
    kernel_clone,
    valid_signal,
)
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.resource import Resource
from mmu.linux.uaccess import access_ok
from mmu.units import PAGE_SIZE, U32

if TYPE_CHECKING:
    from cpu.task import Process, Task

CLONE_ARGS: Final = struct.Struct("<11Q")
CLONE_ARGS_SIZE_VER0, CLONE_ARGS_SIZE_VER2 = 64, 88
MAX_PID_NS_LEVEL: Final = 32
SIGCHLD: Final = 17


@syscall("fork")
def sys_fork(task: Task, *_: int) -> int:
    """fork(2)."""
    return kernel_clone(task, CloneArgs(0, SIGCHLD))


@syscall("vfork")
def sys_vfork(task: Task, *_: int) -> int:
    """vfork(2)."""
    return kernel_clone(task, CloneArgs(CLONE_VFORK | CLONE_VM, SIGCHLD))


@syscall("clone")
def sys_clone(
    task: Task, flags: int, stack: int, parent_tid: int, child_tid: int, tls: int, *_: int
) -> int:
    """clone(2)."""
    flags &= U32
    if flags & CLONE_PIDFD and flags & (CLONE_DETACHED | CLONE_PARENT_SETTID):
        raise LinuxError(errno.EINVAL)
    args = CloneArgs(
        flags & ~CSIGNAL, flags & CSIGNAL, stack, tls, parent_tid, child_tid, parent_tid
    )
    return kernel_clone(task, args)


@syscall("clone3")
def sys_clone3(task: Task, addr: int, size: int, *_: int) -> int:
    """clone3(2)."""
    return kernel_clone(task, _copy_clone_args(task, addr, size))


def copy_struct_from_user(task: Task, addr: int, size: int, known: int) -> bytes:
    """The first ``known`` bytes of a struct that the user says has ``size``, zeros where it is
    shorter; E2BIG if what is behind them is not zero.
    """
    data = task.mm.copy_from_user(addr, min(size, known))
    if size > known and any(task.mm.copy_from_user(addr + known, size - known)):
        raise LinuxError(errno.E2BIG)
    return data.ljust(known, b"\0")


def _copy_clone_args(task: Task, addr: int, size: int) -> CloneArgs:
    if size > PAGE_SIZE:
        raise LinuxError(errno.E2BIG)
    if size < CLONE_ARGS_SIZE_VER0:
        raise LinuxError(errno.EINVAL)
    data = copy_struct_from_user(task, addr, size, CLONE_ARGS.size)
    (
        flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
        set_tid, set_tid_size, cgroup,
    ) = CLONE_ARGS.unpack(data)  # fmt: skip
    if (
        set_tid_size > MAX_PID_NS_LEVEL
        or bool(set_tid) != bool(set_tid_size)
        or exit_signal & ~CSIGNAL
        or not valid_signal(exit_signal)
        or (flags & CLONE_INTO_CGROUP and (cgroup > 0x7FFFFFFF or size < CLONE_ARGS_SIZE_VER2))
        or flags & ~(CLONE_LEGACY_FLAGS | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP)
        or flags & (CLONE_DETACHED | CSIGNAL & ~CLONE_NEWTIME)
        or (flags & CLONE_SIGHAND and flags & CLONE_CLEAR_SIGHAND)
        or (flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal)
        or not _stack_is_valid(stack, stack_size)
    ):
        raise LinuxError(errno.EINVAL)
    if flags & CLONE_PIDFD and flags & CLONE_PARENT_SETTID and pidfd == parent_tid:
        raise LinuxError(errno.EINVAL)
    if flags & CLONE_NEWTIME:
        raise LinuxError(errno.EPERM)
    if flags & CLONE_INTO_CGROUP:
        raise LinuxError(errno.EBADF)
    return CloneArgs(
        flags,
        exit_signal,
        stack + stack_size,
        tls,
        parent_tid,
        child_tid,
        pidfd,
        bool(set_tid),
    )


def _stack_is_valid(stack: int, size: int) -> bool:
    if not stack:
        return not size
    return bool(size) and access_ok(stack, size)


@syscall("unshare")
def sys_unshare(task: Task, flags: int, *_: int) -> int:
    """unshare(2): what other tasks share too becomes the task's own; no namespaces."""
    allowed = (
        CLONE_THREAD | CLONE_FS | CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_SYSVSEM
        | CLONE_NEWUSER | CLONE_NEWTIME | NAMESPACES
    )  # fmt: skip
    if flags & ~allowed or flags & CLONE_NEWUSER:
        raise LinuxError(errno.EINVAL)
    if flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) and _shares(task, flags):
        raise LinuxError(errno.EINVAL)
    if flags & (NAMESPACES | CLONE_NEWTIME):
        raise LinuxError(errno.EPERM)
    if flags & CLONE_FS:
        old, task.fs = task.fs, task.fs.copy()
        old.put()
    if flags & CLONE_FILES:
        unshare_files(task)
    return 0


def _shares(task: Task, flags: int) -> bool:
    """Whether others share what cannot be had alone any more (check_unshare_flags())."""
    if len(task.process.threads) > 1:
        return True
    if flags & (CLONE_SIGHAND | CLONE_VM) and task.sighand.users > 1:
        return True
    return bool(flags & CLONE_VM) and task.mm.mm_users > 1


# Ends.


@syscall("exit")
def sys_exit(task: Task, status: int, *_: int) -> NoReturn:
    """exit(2), of this thread."""
    task.exit(status & 0xFF)


@syscall("exit_group")
def sys_exit_group(task: Task, status: int, *_: int) -> NoReturn:
    """exit_group(2)."""
    task.exit_group(status & 0xFF)


@syscall("set_tid_address")
def sys_set_tid_address(task: Task, addr: int, *_: int) -> int:
    """set_tid_address(2)."""
    task.clear_child_tid = addr
    return task.pid


# Groups and sessions.


def _process(task: Task, pid: int) -> Process:
    """The process of that number, 0: the task's own; ESRCH."""
    if not pid:
        return task.process
    other = task.system.tasks.get(pid)
    if other is None:
        raise LinuxError(errno.ESRCH)
    return other.process


@syscall("getpgrp")
def sys_getpgrp(task: Task, *_: int) -> int:
    """getpgrp(2)."""
    return task.process.pgrp


@syscall("getpgid")
def sys_getpgid(task: Task, pid: int, *_: int) -> int:
    """getpgid(2)."""
    return _process(task, s32(pid)).pgrp


@syscall("getsid")
def sys_getsid(task: Task, pid: int, *_: int) -> int:
    """getsid(2)."""
    return _process(task, s32(pid)).session


@syscall("setpgid")
def sys_setpgid(task: Task, pid: int, pgid: int, *_: int) -> int:
    """setpgid(2), of the process itself or a child that has not called exec()."""
    own, system = task.process, task.system
    pid = s32(pid) or own.pid
    pgid = s32(pgid) or pid
    if pgid < 0:
        raise LinuxError(errno.EINVAL)
    process = system.process_of(pid)
    if process is None:
        if pid in system.tasks:
            raise LinuxError(errno.EINVAL)
        raise LinuxError(errno.ESRCH)
    if process.parent is own:
        if process.session != own.session:
            raise LinuxError(errno.EPERM)
        if process.did_exec:
            raise LinuxError(errno.EACCES)
    elif process is not own:
        raise LinuxError(errno.ESRCH)
    if process.session == process.pid:
        raise LinuxError(errno.EPERM)
    if pgid != pid and not any(
        other.pgrp == pgid and other.session == own.session for other in system.alive()
    ):
        raise LinuxError(errno.EPERM)
    process.pgrp = pgid
    return 0


@syscall("setsid")
def sys_setsid(task: Task, *_: int) -> int:
    """setsid(2)."""
    own = task.process
    if own.session == own.pid or any(other.pgrp == own.pid for other in task.system.alive()):
        raise LinuxError(errno.EPERM)
    own.session = own.pgrp = own.pid
    own.tty = None
    return own.pid


def unshare_files(task: Task) -> None:
    """unshare_files(): descriptors of its own, if others use them too."""
    if task.files.users > 1:
        process = task.process
        old = task.files
        task.files = old.copy(lambda: process.rlimits[Resource.NOFILE].cur)
        old.put()
