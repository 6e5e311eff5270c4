# SPDX-License-Identifier: GPL-2.0-or-later
"""The thread itself: its end, its thread pointer, waiting."""

from __future__ import annotations

import errno
import struct
from typing import NoReturn

from cpu.syscalls.clock import read_timespec
from cpu.syscalls.registry import s32, syscall
from cpu.task import TASK_COMM_LEN, Task
from mmu.errors import LinuxError
from mmu.linux.layout import TASK_SIZE
from mmu.units import U32

ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS = 0x1001, 0x1002, 0x1003, 0x1004
FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = 0, 1, 9, 10
FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME = 0x80, 0x100
ROBUST_LIST_HEAD_SIZE = 24
PR_SET_NAME, PR_GET_NAME = 15, 16


@syscall("exit")
def sys_exit(task: Task, status: int, *_: int) -> NoReturn:
    """exit(2), of this thread."""
    task.exit(status & 0xFF)


@syscall("exit_group")
def sys_exit_group(task: Task, status: int, *_: int) -> NoReturn:
    """exit_group(2)."""
    task.exit_group(status & 0xFF)


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


@syscall("set_tid_address")
def sys_set_tid_address(task: Task, *_: int) -> int:
    """set_tid_address(2): nobody waits for the only thread, so the address is never used."""
    return task.pid


@syscall("set_robust_list")
def sys_set_robust_list(_task: Task, _head: int, size: int, *_: int) -> int:
    """set_robust_list(2): nobody shares the only thread's locks."""
    if size != ROBUST_LIST_HEAD_SIZE:
        raise LinuxError(errno.EINVAL)
    return 0


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


@syscall("futex")
def sys_futex(
    task: Task, addr: int, op: int, value: int, timeout: int, _addr2: int, bitset: int
) -> int:
    """futex(2) with one thread: waking finds nobody, waiting ends by time-out or never."""
    command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    if command not in (FUTEX_WAIT, FUTEX_WAKE, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET):
        raise LinuxError(errno.ENOSYS)
    if op & FUTEX_CLOCK_REALTIME and command != FUTEX_WAIT_BITSET:
        raise LinuxError(errno.ENOSYS)
    waits = command in (FUTEX_WAIT, FUTEX_WAIT_BITSET)
    limit = read_timespec(task, timeout) if waits and timeout else None
    if command in (FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET) and not bitset & U32:
        raise LinuxError(errno.EINVAL)
    if addr % 4:
        raise LinuxError(errno.EINVAL)
    if not waits:
        return 0
    if struct.unpack("<I", task.mm.copy_from_user(addr, 4))[0] != value & U32:
        raise LinuxError(errno.EAGAIN)
    if limit is not None and command != FUTEX_WAIT:
        limit = task.system.clock.until(limit, realtime=bool(op & FUTEX_CLOCK_REALTIME))
    if task.system.sleep(limit, f"the futex at {addr:#x}") == 0:
        raise LinuxError(errno.ETIMEDOUT)
    raise LinuxError(errno.EINTR)


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
