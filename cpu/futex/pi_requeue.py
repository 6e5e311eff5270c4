# SPDX-License-Identifier: GPL-2.0-or-later
"""A condition variable with a PI mutex: who waits for the one is moved to wait for the other
(kernel/futex/requeue.c, v6.18).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.futex.keys import get_futex_key, get_user_u32
from cpu.futex.pi import (
    fixup_owner,
    lock_pi_atomic,
    new_pi_state,
    put_pi_state,
    start_proxy_lock,
    top_waiter,
    unqueue_pi,
    wait_proxy_lock,
)
from cpu.futex.table import FutexKey, FutexQ, PiState
from cpu.futex.waitwake import Timeout, futex_sleep
from cpu.restart import ERESTARTNOINTR, ERESTARTSYS
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task


def futex_wait_requeue_pi(
    task: Task,
    addr: int,
    value: int,
    addr2: int,
    timeout: Timeout | None,
    bitset: int,
    *,
    shared: bool,
) -> int:
    """FUTEX_WAIT_REQUEUE_PI: wait at ``addr`` while the word there is ``value``, then for the PI
    futex at ``addr2``; 0 with that lock held.

    EAGAIN: the word is another, or it was woken without being moved; ETIMEDOUT; EINVAL; EDEADLK.
    """
    if addr == addr2 or not bitset:
        raise LinuxError(errno.EINVAL)
    key2 = get_futex_key(task.mm, addr2, shared=shared)
    key = get_futex_key(task.mm, addr, shared=shared, write=False)
    what = f"the futex at {addr:#x}, then the PI futex at {addr2:#x}"
    q = FutexQ(task, key, what, bitset)
    q.requeue_pi_key = key2
    if get_user_u32(task.mm, addr) != value:
        raise LinuxError(errno.EAGAIN)
    if key == key2:
        raise LinuxError(errno.EINVAL)
    table = task.system.futexes
    table.enqueue(q)
    result = futex_sleep(
        task, q, lambda: not q.queued or q.key is key2 or q.acquired, timeout, what
    )
    if q.acquired:
        if q.pi_state is not None and q.pi_state.owner is not task:
            fixup_owner(task.mm, addr2, q.pi_state, task)
        unqueue_pi(q)
        return 0
    if q.pi_state is not None:
        result = wait_proxy_lock(task, addr2, q, timeout, what)
        if result == -ERESTARTSYS:
            raise LinuxError(errno.EAGAIN)
        return result
    table.dequeue(q)
    if result == -errno.ETIME:
        raise LinuxError(errno.ETIMEDOUT)
    return -ERESTARTNOINTR if result == -ERESTARTSYS else -errno.EAGAIN


def futex_cmp_requeue_pi(
    task: Task, addr: int, addr2: int, nr_wake: int, nr_requeue: int, value: int, *, shared: bool
) -> int:
    """FUTEX_CMP_REQUEUE_PI: give the PI futex at ``addr2`` to the first that waits at ``addr`` if
    it is free, and let ``nr_requeue`` others wait for it; returns how many of both.

    EAGAIN: the word at ``addr`` is not ``value``; EINVAL: ``nr_wake`` is not 1, or who waits does
    not wait for that PI futex; EDEADLK.
    """
    if nr_requeue < 0 or nr_wake != 1 or addr == addr2:
        raise LinuxError(errno.EINVAL)
    key = get_futex_key(task.mm, addr, shared=shared, write=False)
    key2 = get_futex_key(task.mm, addr2, shared=shared)
    if key == key2:
        raise LinuxError(errno.EINVAL)
    if get_user_u32(task.mm, addr) != value:
        raise LinuxError(errno.EAGAIN)
    first = top_waiter(task, key)
    if first is None:
        return 0
    _check(first, key2)
    pi_state = lock_pi_atomic(task, addr2, key2, first.task, set_waiters=nr_requeue > 0)
    count = 0
    if pi_state is None:
        pi_state = new_pi_state(key2, first.task)
        _give(first, key2)
        count = 1
    try:
        return _requeue(task, key, key2, pi_state, count, nr_wake + nr_requeue)
    finally:
        put_pi_state(pi_state)


def _check(q: FutexQ, key2: FutexKey) -> None:
    if q.requeue_pi_key is None or q.pi_state is not None or q.requeue_pi_key != key2:
        raise LinuxError(errno.EINVAL)


def _give(q: FutexQ, key2: FutexKey) -> None:
    """requeue_pi_wake_futex(): its task holds the lock, and wakes."""
    table = q.task.system.futexes
    table.dequeue(q)
    assert q.requeue_pi_key is not None
    q.key = q.requeue_pi_key
    q.acquired = True
    table.wake_task(q)


def _requeue(
    task: Task, key: FutexKey, key2: FutexKey, pi_state: PiState, count: int, most: int
) -> int:
    table = task.system.futexes
    for q in table.waiters(key):
        if count >= most:
            break
        _check(q, key2)
        start_proxy_lock(q, pi_state)
        assert q.requeue_pi_key is not None
        table.requeue(q, q.requeue_pi_key)
        table.wake_task(q)
        count += 1
    return count
