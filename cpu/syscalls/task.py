# SPDX-License-Identifier: GPL-2.0-or-later
"""The thread itself: its end, its thread pointer, waiting."""

from __future__ import annotations

import errno
import struct

from cpu.syscalls.registry import s32, syscall
from cpu.task import TASK_COMM_LEN, Task
from mmu.errors import LinuxError
from mmu.linux.layout import TASK_SIZE

ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 0, 1, 9, 10
FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME = 0x80, 0x100
ROBUST_LIST_HEAD_SIZE = 24
PR_SET_NAME, PR_GET_NAME = 15, 16


@syscall("arch_prctl")
def sys_arch_prctl(task: Task, code: int, addr: int, *_: int) -> int:
    """arch_prctl(2): the bases of FS and GS."""
    if code in (ARCH_SET_FS, ARCH_SET_GS):
        if addr >= TASK_SIZE:
            raise LinuxError(errno.EPERM)
        if code == ARCH_SET_FS:
            task.vcpu.fs_base = addr
        else:
            task.vcpu.gs_base = addr
        return 0
    if code in (ARCH_GET_FS, ARCH_GET_GS):
        base = task.vcpu.fs_base if code == ARCH_GET_FS else task.vcpu.gs_base
        task.mm.copy_to_user(addr, struct.pack("<Q", base))
        return 0
    raise LinuxError(errno.EINVAL)


@syscall("rseq")
def sys_rseq(_task: Task, *_: int) -> int:
    """rseq(2), as a kernel without CONFIG_RSEQ."""
    raise LinuxError(errno.ENOSYS)


@syscall("sched_yield")
def sys_sched_yield(_task: Task, *_: int) -> int:
    """sched_yield(2): nobody else to run."""
    return 0


@syscall("sched_getaffinity")
def sys_sched_getaffinity(task: Task, pid: int, size: int, mask: int, *_: int) -> int:
    """sched_getaffinity(2): one CPU."""
    if s32(pid) not in (0, task.pid):
        raise LinuxError(errno.ESRCH)
    if size < 8 or size % 8:
        raise LinuxError(errno.EINVAL)
    task.mm.copy_to_user(mask, struct.pack("<Q", 1))
    return 8


@syscall("prctl")
def sys_prctl(task: Task, option: int, argument: int, *_: int) -> int:
    """prctl(2): the thread's name, and nothing else."""
    if option == PR_SET_NAME:
        task.comm = task.mm.strncpy_from_user(argument, TASK_COMM_LEN)[: TASK_COMM_LEN - 1]
        return 0
    if option == PR_GET_NAME:
        task.mm.copy_to_user(argument, task.comm.ljust(TASK_COMM_LEN, b"\0"))
        return 0
    raise LinuxError(errno.EINVAL)
