# SPDX-License-Identifier: GPL-2.0-or-later
"""Where and how tasks run: affinity, policies, priorities (kernel/sched/syscalls.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_NICE
from cpu.sched_attr import (
    SCHED_BATCH,
    SCHED_DEADLINE,
    SCHED_FIFO,
    SCHED_IDLE,
    SCHED_NORMAL,
    SCHED_RESET_ON_FORK,
    SCHED_RR,
    SchedAttr,
    base_slice_ns,
)
from cpu.syscalls.process import copy_struct_from_user
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.linux.resource import Resource
from mmu.units import PAGE_SIZE, U32

if TYPE_CHECKING:
    from cpu.task import Task

SCHED_EXT: Final = 7
MAX_RT_PRIO: Final = 99
CPUMASK_SIZE: Final = 8
"""Bytes of the kernel's mask of at most 64 CPUs."""
PRIO_PROCESS, PRIO_PGRP, PRIO_USER = 0, 1, 2
MIN_NICE, MAX_NICE = -20, 19
SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS = 1, 8, 16
SCHED_FLAG_ALL: Final = 0x7F
SCHED_ATTR: Final = struct.Struct("<IIQiIQQQII")
SCHED_ATTR_SIZE_VER0: Final = 48
MIN_SLICE_NS, MAX_SLICE_NS = 100_000, 100_000_000
_FAIR: Final = frozenset({SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE})
_JIFFY_NS: Final = 10**6


def _task(task: Task, pid: int) -> Task:
    """The thread of that number, 0: the task itself. EINVAL, ESRCH."""
    if pid < 0:
        raise LinuxError(errno.EINVAL)
    other = task.system.tasks.get(pid) if pid else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    return other


@syscall("sched_yield")
def sys_sched_yield(task: Task, *_: int) -> int:
    """sched_yield(2): the others' turn."""
    task.system.scheduler.yield_()
    return 0


# CPUs.


@syscall("sched_getaffinity")
def sys_sched_getaffinity(task: Task, pid: int, size: int, mask: int, *_: int) -> int:
    """sched_getaffinity(2), the kernel's form: returns the bytes of its mask."""
    size &= U32
    cpus = len(task.system.kernel.cpus)
    if size * 8 < cpus or size % 8:
        raise LinuxError(errno.EINVAL)
    other = task.system.tasks.get(s32(pid)) if s32(pid) else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    allowed = other.cpus_allowed & ((1 << cpus) - 1)
    task.mm.copy_to_user(mask, struct.pack("<Q", allowed))
    return CPUMASK_SIZE


@syscall("sched_setaffinity")
def sys_sched_setaffinity(task: Task, pid: int, size: int, mask: int, *_: int) -> int:
    """sched_setaffinity(2)."""
    size = min(size & U32, CPUMASK_SIZE)
    data = task.mm.copy_from_user(mask, size) if size else b""
    other = task.system.tasks.get(s32(pid)) if s32(pid) else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    wanted = int.from_bytes(data, "little") & ((1 << len(task.system.kernel.cpus)) - 1)
    if not wanted:
        raise LinuxError(errno.EINVAL)
    task.system.scheduler.set_cpus_allowed(other, wanted)
    return 0


@syscall("getcpu")
def sys_getcpu(task: Task, cpu: int, node: int, *_: int) -> int:
    """getcpu(2): one node."""
    assert task.rq is not None
    if cpu:
        task.mm.copy_to_user(cpu, struct.pack("<I", task.rq.cpu.id))
    if node:
        task.mm.copy_to_user(node, struct.pack("<I", 0))
    return 0


# Policies.


@syscall("sched_get_priority_max")
def sys_sched_get_priority_max(_task: Task, policy: int, *_: int) -> int:
    """sched_get_priority_max(2)."""
    return _priority(s32(policy), MAX_RT_PRIO)


@syscall("sched_get_priority_min")
def sys_sched_get_priority_min(_task: Task, policy: int, *_: int) -> int:
    """sched_get_priority_min(2)."""
    return _priority(s32(policy), 1)


def _priority(policy: int, real_time: int) -> int:
    if policy in (SCHED_FIFO, SCHED_RR):
        return real_time
    if policy in _FAIR or policy in (SCHED_DEADLINE, SCHED_EXT):
        return 0
    raise LinuxError(errno.EINVAL)


@syscall("sched_rr_get_interval")
def sys_sched_rr_get_interval(task: Task, pid: int, interval: int, *_: int) -> int:
    """sched_rr_get_interval(2): whole milliseconds."""
    other = _task(task, s32(pid))
    slice_ns = other.sched.slice_ns or base_slice_ns(len(task.system.kernel.cpus))
    whole = slice_ns // _JIFFY_NS * _JIFFY_NS
    task.mm.copy_to_user(interval, struct.pack("<qq", 0, whole))
    return 0


@syscall("sched_getscheduler")
def sys_sched_getscheduler(task: Task, pid: int, *_: int) -> int:
    """sched_getscheduler(2)."""
    attr = _task(task, s32(pid)).sched
    return attr.policy | (SCHED_RESET_ON_FORK if attr.reset_on_fork else 0)


@syscall("sched_getparam")
def sys_sched_getparam(task: Task, pid: int, param: int, *_: int) -> int:
    """sched_getparam(2): no task has a real-time priority."""
    if not param:
        raise LinuxError(errno.EINVAL)
    _task(task, s32(pid))
    task.mm.copy_to_user(param, struct.pack("<i", 0))
    return 0


@syscall("sched_setscheduler")
def sys_sched_setscheduler(task: Task, pid: int, policy: int, param: int, *_: int) -> int:
    """sched_setscheduler(2)."""
    policy = s32(policy)
    if policy < 0:
        raise LinuxError(errno.EINVAL)
    return _set_param(task, s32(pid), policy, param)


@syscall("sched_setparam")
def sys_sched_setparam(task: Task, pid: int, param: int, *_: int) -> int:
    """sched_setparam(2)."""
    return _set_param(task, s32(pid), None, param)


def _set_param(task: Task, pid: int, policy: int | None, param: int) -> int:
    if not param or pid < 0:
        raise LinuxError(errno.EINVAL)
    (priority,) = struct.unpack("<i", task.mm.copy_from_user(param, 4))
    other = _task(task, pid)
    old = other.sched
    if policy is None:
        new, reset = old.policy, old.reset_on_fork
    else:
        new, reset = policy & ~SCHED_RESET_ON_FORK, bool(policy & SCHED_RESET_ON_FORK)
    set_scheduler(other, SchedAttr(new, old.nice, reset, old.slice_ns), priority)
    return 0


def set_scheduler(task: Task, new: SchedAttr, priority: int) -> None:
    """__sched_setscheduler() by a user without rights. EINVAL: no such policy, or no priority of
    it; EPERM: a right is needed.
    """
    old = task.sched
    policy = new.policy
    if policy not in _FAIR and policy not in (SCHED_FIFO, SCHED_RR, SCHED_DEADLINE):
        raise LinuxError(errno.EINVAL)
    real_time = policy in (SCHED_FIFO, SCHED_RR)
    if priority > MAX_RT_PRIO or priority < 0 or real_time != bool(priority):
        raise LinuxError(errno.EINVAL)
    if policy not in _FAIR:
        raise LinuxError(errno.EPERM)
    if new.nice < old.nice and not can_nice(task, new.nice):
        raise LinuxError(errno.EPERM)
    if old.policy == SCHED_IDLE and policy != SCHED_IDLE and not can_nice(task, old.nice):
        raise LinuxError(errno.EPERM)
    if old.reset_on_fork and not new.reset_on_fork:
        raise LinuxError(errno.EPERM)
    task.sched = new


def can_nice(task: Task, nice: int) -> bool:
    """Whether RLIMIT_NICE, or CAP_SYS_NICE, lets the task have this nice value."""
    return 20 - nice <= task.rlimits[Resource.NICE].cur or task.cred.capable(CAP_SYS_NICE)


@syscall("sched_getattr")
def sys_sched_getattr(task: Task, pid: int, attr: int, size: int, flags: int, *_: int) -> int:
    """sched_getattr(2)."""
    size &= U32
    if not attr or flags & U32 or not SCHED_ATTR_SIZE_VER0 <= size <= PAGE_SIZE:
        raise LinuxError(errno.EINVAL)
    other = _task(task, s32(pid))
    known = min(size, SCHED_ATTR.size)
    own = other.sched
    slice_ns = own.slice_ns or base_slice_ns(len(task.system.kernel.cpus))
    flags = SCHED_FLAG_RESET_ON_FORK if own.reset_on_fork else 0
    data = SCHED_ATTR.pack(known, own.policy, flags, own.nice, 0, slice_ns, 0, 0, 0, 0)
    task.mm.copy_to_user(attr, data[:known])
    return 0


@syscall("sched_setattr")
def sys_sched_setattr(task: Task, pid: int, attr: int, flags: int, *_: int) -> int:
    """sched_setattr(2)."""
    if not attr or flags & U32:
        raise LinuxError(errno.EINVAL)
    (size,) = struct.unpack("<I", task.mm.copy_from_user(attr, 4))
    size = size or SCHED_ATTR_SIZE_VER0
    if not SCHED_ATTR_SIZE_VER0 <= size <= PAGE_SIZE:
        task.mm.copy_to_user(attr, struct.pack("<I", SCHED_ATTR.size))
        raise LinuxError(errno.E2BIG)
    data = copy_struct_from_user(task, attr, size, SCHED_ATTR.size)
    _, policy, how, nice, priority, runtime, *_rest = SCHED_ATTR.unpack(data)
    if s32(policy) < 0 or how & ~SCHED_FLAG_ALL:
        raise LinuxError(errno.EINVAL)
    other = _task(task, s32(pid))
    old = other.sched
    new = SchedAttr(
        old.policy if how & SCHED_FLAG_KEEP_POLICY else policy,
        max(MIN_NICE, min(MAX_NICE, nice)),
        bool(how & SCHED_FLAG_RESET_ON_FORK),
        max(MIN_SLICE_NS, min(MAX_SLICE_NS, runtime)) if runtime else 0,
    )
    if how & SCHED_FLAG_KEEP_PARAMS:
        new.nice, new.slice_ns, priority = old.nice, old.slice_ns, 0
    set_scheduler(other, new, priority)
    return 0


# Nice values.


def tasks_of(task: Task, which: int, who: int) -> list[Task]:
    """The threads that getpriority() and its like mean: PRIO_* and a number. EINVAL, ESRCH."""
    system = task.system
    if which == PRIO_PROCESS:
        found = [system.tasks[who or task.pid]] if (who or task.pid) in system.tasks else []
    elif which == PRIO_PGRP:
        pgrp = who or task.process.pgrp
        found = [one for one in system.tasks.values() if one.process.pgrp == pgrp]
    elif which == PRIO_USER:
        uid = who or task.uid
        found = [one for one in system.tasks.values() if one.uid == uid]
    else:
        raise LinuxError(errno.EINVAL)
    if not found:
        raise LinuxError(errno.ESRCH)
    return found


@syscall("getpriority")
def sys_getpriority(task: Task, which: int, who: int, *_: int) -> int:
    """getpriority(2), the kernel's form: 20 - nice, the greatest of all meant."""
    return max(20 - one.sched.nice for one in tasks_of(task, s32(which), s32(who)))


@syscall("setpriority")
def sys_setpriority(task: Task, which: int, who: int, nice: int, *_: int) -> int:
    """setpriority(2)."""
    nice = max(MIN_NICE, min(MAX_NICE, s32(nice)))
    denied = False
    for one in tasks_of(task, s32(which), s32(who)):
        if nice < one.sched.nice and not can_nice(one, nice):
            denied = True
        else:
            one.sched.nice = nice
    if denied:
        raise LinuxError(errno.EACCES)
    return 0
