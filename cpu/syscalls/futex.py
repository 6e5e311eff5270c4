# SPDX-License-Identifier: GPL-2.0-or-later
"""futex(2), futex_waitv(2), robust lists (kernel/futex/syscalls.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.futex.pi import futex_lock_pi, futex_unlock_pi
from cpu.futex.pi_requeue import futex_cmp_requeue_pi, futex_wait_requeue_pi
from cpu.futex.requeue import futex_requeue
from cpu.futex.robust import ROBUST_LIST_HEAD_SIZE
from cpu.futex.table import FUTEX_BITSET_MATCH_ANY
from cpu.futex.waitwake import (
    Timeout,
    Waiter,
    futex_wait,
    futex_wait_multiple,
    futex_wake,
    futex_wake_op,
)
from cpu.syscalls.clock import read_timespec
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

FUTEX_WAIT, FUTEX_WAKE, FUTEX_FD, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP = range(6)
FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET = range(
    6, 11
)
FUTEX_WAIT_REQUEUE_PI, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2 = 11, 12, 13
FUTEX_PRIVATE_FLAG: Final = 0x80
FUTEX_CLOCK_REALTIME: Final = 0x100
_WITH_TIMEOUT: Final = frozenset(
    {FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_WAIT_REQUEUE_PI}
)
_WITH_CLOCK: Final = frozenset({FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2})

CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1
FUTEX_WAITV_MAX: Final = 128
FUTEX2_SIZE_U32: Final = 2
FUTEX2_SIZE_MASK: Final = 3
FUTEX2_PRIVATE: Final = FUTEX_PRIVATE_FLAG
_WAITV: Final = struct.Struct("<QQII")


@syscall("futex")
def sys_futex(
    task: Task, addr: int, op: int, value: int, timeout: int, addr2: int, value3: int
) -> int:
    """futex(2)."""
    op, value, value3 = op & U32, value & U32, value3 & U32
    command = op & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    realtime = bool(op & FUTEX_CLOCK_REALTIME)
    until = None
    if command in _WITH_TIMEOUT and timeout:
        when = read_timespec(task, timeout)
        if command == FUTEX_WAIT:
            when += task.system.clock.now_ns()
        until = Timeout(when, realtime or command == FUTEX_LOCK_PI)
    if realtime and command not in _WITH_CLOCK:
        raise LinuxError(errno.ENOSYS)
    shared = not op & FUTEX_PRIVATE_FLAG
    if command in (FUTEX_WAIT, FUTEX_WAIT_BITSET):
        bitset = value3 if command == FUTEX_WAIT_BITSET else FUTEX_BITSET_MATCH_ANY
        return futex_wait(task, addr, value, shared=shared, timeout=until, bitset=bitset)
    if command in (FUTEX_WAKE, FUTEX_WAKE_BITSET):
        bitset = value3 if command == FUTEX_WAKE_BITSET else FUTEX_BITSET_MATCH_ANY
        return futex_wake(task, addr, s32(value), shared=shared, bitset=bitset)
    return _other(task, command, addr, value, timeout, addr2, value3, shared, until)


def _other(
    task: Task,
    command: int,
    addr: int,
    value: int,
    value2: int,
    addr2: int,
    value3: int,
    shared: bool,
    until: Timeout | None,
) -> int:
    nr, nr2 = s32(value), s32(value2)
    if command in (FUTEX_REQUEUE, FUTEX_CMP_REQUEUE):
        expected = value3 if command == FUTEX_CMP_REQUEUE else None
        return futex_requeue(task, addr, addr2, nr, nr2, expected, shared=shared)
    if command == FUTEX_WAKE_OP:
        return futex_wake_op(task, addr, addr2, nr, nr2, value3, shared=shared)
    if command in (FUTEX_LOCK_PI, FUTEX_LOCK_PI2):
        return futex_lock_pi(task, addr, until, shared=shared)
    if command == FUTEX_TRYLOCK_PI:
        return futex_lock_pi(task, addr, None, shared=shared, trylock=True)
    if command == FUTEX_UNLOCK_PI:
        return futex_unlock_pi(task, addr, shared=shared)
    if command == FUTEX_WAIT_REQUEUE_PI:
        return futex_wait_requeue_pi(
            task, addr, value, addr2, until, FUTEX_BITSET_MATCH_ANY, shared=shared
        )
    if command == FUTEX_CMP_REQUEUE_PI:
        return futex_cmp_requeue_pi(task, addr, addr2, nr, nr2, value3, shared=shared)
    raise LinuxError(errno.ENOSYS)


@syscall("futex_waitv")
def sys_futex_waitv(
    task: Task, waiters: int, nr: int, flags: int, timeout: int, clock: int, *_: int
) -> int:
    """futex_waitv(2)."""
    nr = nr & U32
    if flags & U32 or not 0 < nr <= FUTEX_WAITV_MAX or not waiters:
        raise LinuxError(errno.EINVAL)
    until = None
    if timeout:
        if s32(clock) not in (CLOCK_REALTIME, CLOCK_MONOTONIC):
            raise LinuxError(errno.EINVAL)
        until = Timeout(read_timespec(task, timeout), s32(clock) == CLOCK_REALTIME)
    wanted = []
    for number in range(nr):
        data = task.mm.copy_from_user(waiters + number * _WAITV.size, _WAITV.size)
        value, addr, how, reserved = _WAITV.unpack(data)
        if how & ~FUTEX2_PRIVATE != FUTEX2_SIZE_U32 or reserved or value > U32:
            raise LinuxError(errno.EINVAL)
        wanted.append(Waiter(value, addr, not how & FUTEX2_PRIVATE))
    return futex_wait_multiple(task, wanted, until)


@syscall("set_robust_list")
def sys_set_robust_list(task: Task, head: int, size: int, *_: int) -> int:
    """set_robust_list(2)."""
    if size != ROBUST_LIST_HEAD_SIZE:
        raise LinuxError(errno.EINVAL)
    task.robust_list = head
    return 0


@syscall("get_robust_list")
def sys_get_robust_list(task: Task, pid: int, head: int, size: int, *_: int) -> int:
    """get_robust_list(2); all tasks are of the same user."""
    other = task.system.tasks.get(s32(pid)) if s32(pid) else task
    if other is None:
        raise LinuxError(errno.ESRCH)
    task.mm.copy_to_user(size, struct.pack("<Q", ROBUST_LIST_HEAD_SIZE))
    task.mm.copy_to_user(head, struct.pack("<Q", other.robust_list))
    return 0
