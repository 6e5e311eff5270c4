# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a futex word to change, and waking who waits (kernel/futex/waitwake.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from cpu.futex.keys import get_futex_key, get_user_u32
from cpu.futex.table import FUTEX_BITSET_MATCH_ANY, FutexQ
from cpu.restart import ERESTARTSYS, set_restart_fn
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep
from mmu.linux.uaccess import user_atomic_u32
from mmu.units import U32

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.futex.table import FutexKey
    from cpu.task import Task


class Timeout(NamedTuple):
    """When to wait no longer: nanoseconds of CLOCK_REALTIME or CLOCK_MONOTONIC."""

    when: int
    realtime: bool

    def left(self, task: Task) -> int:
        """Nanoseconds from now, 0 if it is past."""
        return task.system.clock.until(self.when, realtime=self.realtime)


def futex_sleep(
    task: Task, q: FutexQ, ready: Callable[[], bool], timeout: Timeout | None, what: str
) -> int:
    """Sleep until ``ready()``: 0, -ERESTARTSYS or -ETIME."""
    return task.system.scheduler.wait_event(
        q.queue,
        ready,
        what,
        sleep=Sleep.INTERRUPTIBLE,
        timeout_ns=None if timeout is None else timeout.left(task),
    )


# FUTEX_WAIT, FUTEX_WAIT_BITSET.


def futex_wait(
    task: Task,
    addr: int,
    value: int,
    *,
    shared: bool,
    timeout: Timeout | None = None,
    bitset: int = FUTEX_BITSET_MATCH_ANY,
) -> int:
    """Wait while the word is ``value`` until a wake with one of the bits of ``bitset``.

    Returns 0, or what a system call that was interrupted returns (cpu.restart). EAGAIN: the word is
    another; ETIMEDOUT; EINVAL; EFAULT.
    """
    if not bitset:
        raise LinuxError(errno.EINVAL)
    result = _wait(task, addr, value, shared, timeout, bitset)
    if result != -ERESTARTSYS or timeout is None:
        return result

    def go_on(task: Task) -> int:
        return futex_wait(task, addr, value, shared=shared, timeout=timeout, bitset=bitset)

    return set_restart_fn(task, go_on)


def _wait(
    task: Task, addr: int, value: int, shared: bool, timeout: Timeout | None, bitset: int
) -> int:
    key = get_futex_key(task.mm, addr, shared=shared, write=False)
    what = f"the futex at {addr:#x}"
    q = FutexQ(task, key, what, bitset)
    if get_user_u32(task.mm, addr) != value:
        raise LinuxError(errno.EAGAIN)
    table = task.system.futexes
    table.enqueue(q)
    result = futex_sleep(task, q, lambda: not q.queued, timeout, what)
    if not table.dequeue(q):
        return 0
    if result == -errno.ETIME:
        raise LinuxError(errno.ETIMEDOUT)
    return result


# FUTEX_WAKE, FUTEX_WAKE_BITSET.


def futex_wake(
    task: Task, addr: int, nr: int, *, shared: bool, bitset: int = FUTEX_BITSET_MATCH_ANY
) -> int:
    """Wake the first ``nr`` (at least one) that wait with one of these bits; returns how many.

    EINVAL: no bit, or a PI futex; EFAULT.
    """
    if not bitset:
        raise LinuxError(errno.EINVAL)
    key = get_futex_key(task.mm, addr, shared=shared, write=False)
    return _wake_key(task, key, nr, bitset)


def _wake_key(task: Task, key: FutexKey, nr: int, bitset: int = FUTEX_BITSET_MATCH_ANY) -> int:
    table, woken = task.system.futexes, 0
    for q in table.waiters(key):
        if q.pi_state is not None or q.requeue_pi_key is not None:
            raise LinuxError(errno.EINVAL)
        if q.bitset & bitset:
            table.wake(q)
            woken += 1
            if woken >= nr:
                break
    return woken


# FUTEX_WAKE_OP.

FUTEX_OP_OPARG_SHIFT: Final = 8
_OPERATIONS: Final[tuple[Callable[[int, int], int], ...]] = (
    lambda _old, arg: arg,
    lambda old, arg: old + arg,
    lambda old, arg: old | arg,
    lambda old, arg: old & ~arg,
    lambda old, arg: old ^ arg,
)
"""FUTEX_OP_SET, ADD, OR, ANDN, XOR."""
_COMPARISONS: Final[tuple[Callable[[int, int], bool], ...]] = (
    lambda old, arg: old == arg,
    lambda old, arg: old != arg,
    lambda old, arg: old < arg,
    lambda old, arg: old <= arg,
    lambda old, arg: old > arg,
    lambda old, arg: old >= arg,
)
"""FUTEX_OP_CMP_EQ, NE, LT, LE, GT, GE."""


def futex_wake_op(
    task: Task, addr: int, addr2: int, nr: int, nr2: int, encoded: int, *, shared: bool
) -> int:
    """Change the word at ``addr2`` as ``encoded`` says, wake ``nr`` at ``addr``, and ``nr2`` at
    ``addr2`` if its old value compares as said; returns how many.

    ENOSYS: an operation or comparison that does not exist.
    """
    key = get_futex_key(task.mm, addr, shared=shared, write=False)
    key2 = get_futex_key(task.mm, addr2, shared=shared)
    also = _atomic_op(task, addr2, encoded)
    woken = _wake_key(task, key, nr)
    return woken + _wake_key(task, key2, nr2) if also else woken


def _atomic_op(task: Task, addr: int, encoded: int) -> bool:
    """futex_atomic_op_inuser()."""
    operation, comparison = encoded >> 28 & 7, encoded >> 24 & 15
    arg, compare_arg = _sign_extend12(encoded >> 12), _sign_extend12(encoded)
    if encoded >> 28 & FUTEX_OP_OPARG_SHIFT:
        arg = 1 << (arg & 31)
    if operation >= len(_OPERATIONS):
        raise LinuxError(errno.ENOSYS)
    change = _OPERATIONS[operation]
    old = user_atomic_u32(task.mm, addr, lambda old: change(old, arg) & U32)
    if comparison >= len(_COMPARISONS):
        raise LinuxError(errno.ENOSYS)
    return _COMPARISONS[comparison](old - (1 << 32) if old >> 31 else old, compare_arg)


def _sign_extend12(value: int) -> int:
    value &= 0xFFF
    return value - 0x1000 if value >> 11 else value


# futex_waitv().


class Waiter(NamedTuple):
    """struct futex_waitv: one of the futexes to wait for."""

    value: int
    addr: int
    shared: bool


def futex_wait_multiple(task: Task, waiters: list[Waiter], timeout: Timeout | None) -> int:
    """Wait for the first of several futexes; returns its index. Errors as futex_wait()."""
    table = task.system.futexes
    what = "one of the futexes at " + ", ".join(f"{waiter.addr:#x}" for waiter in waiters)
    queue: list[FutexQ] = []
    for waiter in waiters:
        key = get_futex_key(task.mm, waiter.addr, shared=waiter.shared, write=False)
        queue.append(FutexQ(task, key, what))
        queue[-1].queue = queue[0].queue
    for number, (waiter, q) in enumerate(zip(waiters, queue, strict=True)):
        try:
            same = get_user_u32(task.mm, waiter.addr) == waiter.value
        except LinuxError:
            woken = _unqueue_multiple(task, queue[:number])
            if woken >= 0:
                return woken
            raise
        if not same:
            woken = _unqueue_multiple(task, queue[:number])
            if woken >= 0:
                return woken
            raise LinuxError(errno.EAGAIN)
        table.enqueue(q)
    result = futex_sleep(task, queue[0], lambda: not all(q.queued for q in queue), timeout, what)
    woken = _unqueue_multiple(task, queue)
    if woken >= 0:
        return woken
    if result == -errno.ETIME:
        raise LinuxError(errno.ETIMEDOUT)
    return result


def _unqueue_multiple(task: Task, queue: list[FutexQ]) -> int:
    """Wait for none any more; the index of the last that was woken, -1: none."""
    woken = -1
    for number, q in enumerate(queue):
        if not task.system.futexes.dequeue(q):
            woken = number
    return woken
