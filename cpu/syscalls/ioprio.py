# SPDX-License-Identifier: GPL-2.0-or-later
"""Priorities of input and output (block/ioprio.c, v6.18): kept and told back; nothing here waits
for a disk.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_ADMIN, CAP_SYS_NICE
from cpu.sched_attr import SCHED_FIFO, SCHED_IDLE, SCHED_RR
from cpu.syscalls.registry import s32, syscall
from cpu.syscalls.sched import PRIO_PROCESS, tasks_of
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

IOPRIO_CLASS_SHIFT: Final = 13
IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE = 0, 1, 2, 3
_CLASS_MASK, _LEVEL_MASK = 7, 7
_WHO_PROCESS: Final = 1
"""IOPRIO_WHO_PROCESS; those of groups and users follow, in the order of PRIO_*."""


def _check(task: Task, ioprio: int) -> None:
    """ioprio_check_cap(): EPERM, or EINVAL for no such class."""
    cls = ioprio >> IOPRIO_CLASS_SHIFT & _CLASS_MASK
    if cls == IOPRIO_CLASS_RT:
        if not (task.cred.capable(CAP_SYS_ADMIN) or task.cred.capable(CAP_SYS_NICE)):
            raise LinuxError(errno.EPERM)
    elif cls > IOPRIO_CLASS_IDLE or (cls == IOPRIO_CLASS_NONE and ioprio & _LEVEL_MASK):
        raise LinuxError(errno.EINVAL)


def _effective(task: Task) -> int:
    """__get_task_ioprio(): the task's own, or what its policy and nice value give."""
    if task.ioprio >> IOPRIO_CLASS_SHIFT:
        return task.ioprio
    cls = IOPRIO_CLASS_BE
    if task.sched.policy == SCHED_IDLE:
        cls = IOPRIO_CLASS_IDLE
    elif task.sched.policy in (SCHED_FIFO, SCHED_RR):
        cls = IOPRIO_CLASS_RT
    return cls << IOPRIO_CLASS_SHIFT | (task.sched.nice + 20) // 5


@syscall("ioprio_set")
def sys_ioprio_set(task: Task, which: int, who: int, ioprio: int, *_: int) -> int:
    """ioprio_set(2). EPERM: the real-time class, or a task of another user's, without rights."""
    ioprio = s32(ioprio)
    _check(task, ioprio)
    for one in tasks_of(task, s32(which) - _WHO_PROCESS, s32(who)):
        if one.uid not in (task.uid, task.cred.euid) and not task.cred.capable(CAP_SYS_NICE):
            raise LinuxError(errno.EPERM)
        one.ioprio = ioprio & 0xFFFF
    return 0


@syscall("ioprio_get")
def sys_ioprio_get(task: Task, which: int, who: int, *_: int) -> int:
    """ioprio_get(2): what was set, for one task; of a group or user, the best that counts."""
    which = s32(which) - _WHO_PROCESS
    found = tasks_of(task, which, s32(who))
    if which == PRIO_PROCESS:
        return found[0].ioprio
    return min(map(_effective, found))
