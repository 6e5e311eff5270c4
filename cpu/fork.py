# SPDX-License-Identifier: GPL-2.0-or-later
"""New tasks: clone(), fork(), vfork() (kernel/fork.c, v6.18).

::

    kernel_clone(task, args)
      copy_process()       which flags go together; what is shared, what is copied
      PIDs to both         CLONE_PARENT_SETTID, CLONE_CHILD_SETTID
      wake_up_new_task()
      wait for the child   CLONE_VFORK: until it calls exec() or ends
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RSP

from cpu.context import Context
from cpu.cred import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from cpu.fs.files import OpenFile
from cpu.pidfd import PidFd
from cpu.restart import ERESTARTNOINTR
from cpu.rlimit_cpu import update_rlimit_cpu
from cpu.signal_state import copy_signals
from cpu.signals import NSIG
from cpu.task import Process, Task
from mmu.errors import LinuxError
from mmu.linux.fork import dup_mm
from mmu.linux.layout import TASK_SIZE
from mmu.linux.mm import Mm
from mmu.linux.mm_users import mmget, mmput
from mmu.linux.resource import Resource
from mmu.linux.sched import Sleep, WaitQueue

CSIGNAL: Final = 0xFF
CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_SIGHAND: Final = 0x800
CLONE_PIDFD: Final = 0x1000
CLONE_PTRACE: Final = 0x2000
CLONE_VFORK: Final = 0x4000
CLONE_PARENT: Final = 0x8000
CLONE_THREAD: Final = 0x10000
CLONE_NEWNS: Final = 0x20000
CLONE_SYSVSEM: Final = 0x40000
CLONE_SETTLS: Final = 0x80000
CLONE_PARENT_SETTID: Final = 0x100000
CLONE_CHILD_CLEARTID: Final = 0x200000
CLONE_DETACHED: Final = 0x400000
CLONE_UNTRACED: Final = 0x800000
CLONE_CHILD_SETTID: Final = 0x1000000
CLONE_NEWCGROUP: Final = 0x2000000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWIPC: Final = 0x8000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_IO: Final = 0x80000000
CLONE_CLEAR_SIGHAND: Final = 0x100000000
CLONE_INTO_CGROUP: Final = 0x200000000
CLONE_NEWTIME: Final = 0x80
CLONE_LEGACY_FLAGS: Final = 0xFFFFFFFF
NAMESPACES: Final = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
)
"""Those that need CAP_SYS_ADMIN."""

_TOGETHER: Final = (
    (CLONE_NEWNS | CLONE_FS, CLONE_NEWNS | CLONE_FS),
    (CLONE_NEWUSER | CLONE_FS, CLONE_NEWUSER | CLONE_FS),
    (CLONE_THREAD | CLONE_SIGHAND, CLONE_THREAD),
    (CLONE_SIGHAND | CLONE_VM, CLONE_SIGHAND),
    (CLONE_THREAD | CLONE_NEWUSER, CLONE_THREAD | CLONE_NEWUSER),
    (CLONE_THREAD | CLONE_NEWPID, CLONE_THREAD | CLONE_NEWPID),
    (CLONE_SIGHAND | CLONE_CLEAR_SIGHAND, CLONE_SIGHAND | CLONE_CLEAR_SIGHAND),
)
"""Flags looked at, and the values of them that are EINVAL."""


@dataclass
class CloneArgs:
    """struct kernel_clone_args. Addresses are the user's; ``stack`` is the new stack pointer, or 0
    for the parent's. ``set_tid`` says that the caller wants to choose the number.
    """

    flags: int
    exit_signal: int = 0
    stack: int = 0
    tls: int = 0
    parent_tid: int = 0
    child_tid: int = 0
    pidfd: int = 0
    set_tid: bool = False
    into_cgroup: bool = False


def kernel_clone(task: Task, args: CloneArgs) -> int:
    """Make a task that goes on where this one is; returns its number.

    EINVAL: flags that do not go together; EPERM: a right is needed; EAGAIN: RLIMIT_NPROC, or no
    number is free; EMFILE: no descriptor is; ENOMEM. With CLONE_VFORK waits until the child needs
    the address space no more.
    """
    flags = args.flags
    if flags & CLONE_PIDFD:
        task.files.close(task.files.install(OpenFile()))
    child = copy_process(task, args)
    if flags & CLONE_PIDFD:
        with suppress(LinuxError):
            fd = task.files.install(PidFd(child.process), cloexec=True)
            task.mm.copy_to_user(args.pidfd, fd.to_bytes(4, "little"))
    if flags & CLONE_PARENT_SETTID:
        with suppress(LinuxError):
            task.mm.copy_to_user(args.parent_tid, child.pid.to_bytes(4, "little"))
    done = WaitQueue(f"vfork: {child}")
    if flags & CLONE_VFORK:
        child.vfork_done = done
    if task.system.recorder is not None:
        task.system.recorder.made(child)
    task.system.scheduler.add(child)
    if flags & CLONE_VFORK:
        _wait_for_vfork_done(task, child, done)
    return child.pid


def _wait_for_vfork_done(task: Task, child: Task, done: WaitQueue) -> None:
    """Only what ends the process ends this wait; the child then goes on alone."""
    task.system.scheduler.wait_event(
        done,
        lambda: child.vfork_done is not done,
        f"{child} to call exec() or to end, in vfork()",
        sleep=Sleep.KILLABLE,
    )
    child.vfork_done = None


def check_flags(flags: int) -> None:
    """The flags that copy_process() refuses together: EINVAL; those that ask for a right: EPERM."""
    for looked_at, wrong in _TOGETHER:
        if flags & looked_at == wrong:
            raise LinuxError(errno.EINVAL)
    if flags & CLONE_NEWUSER:
        raise LinuxError(errno.EINVAL)
    if flags & NAMESPACES:
        raise LinuxError(errno.EPERM)


def copy_process(task: Task, args: CloneArgs) -> Task:
    """The new task, not started yet; if it fails, nothing of it is left."""
    flags = args.flags
    check_flags(flags)
    if flags & CLONE_PIDFD and flags & CLONE_THREAD:
        raise LinuxError(errno.EINVAL)
    if task.signal_pending():
        raise LinuxError(ERESTARTNOINTR)
    _check_limits(task)
    if args.set_tid:
        raise LinuxError(errno.EPERM)
    mm = _copy_mm(task, flags)
    try:
        return _new_task(task, args, mm)
    except LinuxError:
        mmput(mm)
        raise


def _check_limits(task: Task) -> None:
    """Tasks of all, whoever asks; and RLIMIT_NPROC: tasks of the user, over all processes, which is
    nothing to those who may exceed it.
    """
    system = task.system
    if len(system.tasks) >= system.max_threads:
        system.notes.add(
            f"there were {system.max_threads} processes and threads (--max-processes):"
            " more were answered EAGAIN"
        )
        raise LinuxError(errno.EAGAIN)
    limit, cred = task.rlimits[Resource.NPROC].cur, task.cred
    if cred.uid == 0 or cred.capable(CAP_SYS_RESOURCE) or cred.capable(CAP_SYS_ADMIN):
        return
    if sum(other.uid == cred.uid for other in task.system.tasks.values()) >= limit:
        raise LinuxError(errno.EAGAIN)


def _copy_mm(task: Task, flags: int) -> Mm:
    """copy_mm()."""
    if flags & CLONE_VM:
        mmget(task.mm)
        return task.mm
    mm = dup_mm(task.mm)
    mm.fatal_signal_pending = task.system.fatal_signal_pending
    mm.can_lock_all = task.system.can_lock_all
    mm.membarrier_state = task.mm.membarrier_state
    return mm


def _new_task(task: Task, args: CloneArgs, mm: Mm) -> Task:
    flags, system = args.flags, task.system
    thread = bool(flags & CLONE_THREAD)
    process = task.process if thread else _new_process(task, args)
    files = (
        task.files.share()
        if flags & CLONE_FILES
        else task.files.copy(lambda: process.rlimits[Resource.NOFILE].cur)
    )
    fs = task.fs.share() if flags & CLONE_FS else task.fs.copy()

    def body(child: Task) -> None:
        system.ret_from_fork(child)

    try:
        child = Task(process, mm, files, fs, task.cred, body, context=_context(task, args))
    except LinuxError:
        files.put()
        fs.put()
        if not thread:
            _forget(process)
        raise
    copy_signals(task, child, flags)
    child.comm = task.comm
    child.cpus_allowed = task.cpus_allowed
    child.sched = task.sched.fork()
    child.ioprio = task.ioprio
    child.no_new_privs = task.no_new_privs
    child.mempolicy = task.mempolicy
    child.timer_slack_ns = task.timer_slack_ns
    if flags & CLONE_CHILD_SETTID:
        child.set_child_tid = args.child_tid
    if flags & CLONE_CHILD_CLEARTID:
        child.clear_child_tid = args.child_tid
    return child


def _context(task: Task, args: CloneArgs) -> Context:
    """copy_thread(): the parent's registers, but 0 in RAX, and what the arguments say."""
    context = task.vcpu.save_context()
    context.write_reg(UC_X86_REG_RAX, 0)
    if args.stack:
        context.write_reg(UC_X86_REG_RSP, args.stack)
    if args.flags & CLONE_SETTLS:
        if args.tls >= TASK_SIZE:
            raise LinuxError(errno.EPERM)
        context.fs_base = args.tls
    return context


def _new_process(task: Task, args: CloneArgs) -> Process:
    """copy_signal(), and the place in the tree of processes."""
    old = task.process
    parent = old.parent if args.flags & CLONE_PARENT else old
    process = Process(task.system, parent, old.exe.get())
    if args.flags & CLONE_PARENT:
        process.exit_signal = old.exit_signal
        process.parent_task = old.parent_task
    else:
        process.exit_signal = args.exit_signal
        process.parent_task = task
    process.args = list(old.args)
    process.pgrp, process.session = old.pgrp, old.session
    process.rlimits = old.rlimits.copy()
    if old.rlimit_cpu is not None:
        update_rlimit_cpu(process)
    process.dumpable = old.dumpable
    process.personality = old.personality
    process.oom_score_adj = old.oom_score_adj
    process.oom_score_adj_min = old.oom_score_adj_min
    process.coredump_filter = old.coredump_filter
    return process


def _forget(process: Process) -> None:
    """Undo _new_process()."""
    process.system.processes.remove(process)
    if process.parent is not None:
        process.parent.children.remove(process)
    process.exe.put()


def schedule_tail(task: Task) -> None:
    """What a new task does first: its number goes to where CLONE_CHILD_SETTID says."""
    if task.set_child_tid:
        with suppress(LinuxError):
            task.mm.copy_to_user(task.set_child_tid, task.pid.to_bytes(4, "little"))


def valid_signal(signo: int) -> bool:
    """valid_signal(): 0 is none."""
    return 0 <= signo <= NSIG
