# SPDX-License-Identifier: GPL-2.0-or-later
"""Futexes with an owner, whose number stands in the word (kernel/futex/pi.c, v6.18).

::

    31             30               29 … 0
    FUTEX_WAITERS  FUTEX_OWNER_DIED TID of the owner, 0: free

The rt_mutex behind one is PiState. No task here has a real-time priority, so its waiters get the
lock in the order in which they came, as SCHED_OTHER tasks do on Linux, and nobody is boosted.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.futex.keys import get_futex_key, get_user_u32
from cpu.futex.robust import FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS
from cpu.futex.table import FutexKey, FutexQ, PiState
from cpu.futex.waitwake import Timeout, futex_sleep
from cpu.restart import ERESTARTNOINTR, ERESTARTSYS
from mmu.errors import LinuxError
from mmu.linux.sched import Sleep
from mmu.linux.uaccess import user_cmpxchg_u32

if TYPE_CHECKING:
    from cpu.task import Task
    from mmu.linux.mm import Mm


def futex_lock_pi(
    task: Task, addr: int, timeout: Timeout | None, *, shared: bool, trylock: bool = False
) -> int:
    """FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_TRYLOCK_PI: 0 with the lock held.

    EDEADLK: the task holds it, or the owner waits for the task; EAGAIN: it is held (trylock);
    ESRCH: the owner does not exist; ETIMEDOUT; EINVAL, EPERM: the word and the kernel's state
    differ. May wait.
    """
    key = get_futex_key(task.mm, addr, shared=shared)
    pi_state = lock_pi_atomic(task, addr, key, task)
    if pi_state is None:
        return 0
    if trylock:
        raise LinuxError(errno.EAGAIN)
    what = f"the PI futex at {addr:#x}"
    q = FutexQ(task, key, what)
    start_proxy_lock(q, pi_state)
    task.system.futexes.enqueue(q)
    result = wait_proxy_lock(task, addr, q, timeout, what)
    return -ERESTARTNOINTR if result == -ERESTARTSYS else result


def lock_pi_atomic(
    task: Task, addr: int, key: FutexKey, new_owner: Task, *, set_waiters: bool = False
) -> PiState | None:
    """futex_lock_pi_atomic(): take the lock for ``new_owner`` if it is free (None), else return
    the state to wait at. With ``set_waiters`` others are going to wait for ``new_owner``.
    """
    while True:
        value = get_user_u32(task.mm, addr)
        if value & FUTEX_TID_MASK == new_owner.pid:
            raise LinuxError(errno.EDEADLK)
        top = top_waiter(task, key)
        if top is not None:
            return attach_to_pi_state(value, top)
        if not value & FUTEX_TID_MASK:
            new = value & FUTEX_OWNER_DIED | new_owner.pid
            if user_cmpxchg_u32(task.mm, addr, value, new | (FUTEX_WAITERS if set_waiters else 0)):
                return None
        elif user_cmpxchg_u32(task.mm, addr, value, value | FUTEX_WAITERS):
            pi_state = attach_to_pi_owner(task, addr, value | FUTEX_WAITERS, key)
            if pi_state is not None:
                return pi_state


def top_waiter(task: Task, key: FutexKey) -> FutexQ | None:
    """The first that waits for it."""
    return next(task.system.futexes.waiters(key), None)


def attach_to_pi_state(value: int, top: FutexQ) -> PiState:
    """The state that others wait at already; EINVAL if the word says another owner."""
    pi_state, pid = top.pi_state, value & FUTEX_TID_MASK
    if pi_state is None:
        raise LinuxError(errno.EINVAL)
    owner = pi_state.owner
    if value & FUTEX_OWNER_DIED:
        if owner is None:
            if pid:
                raise LinuxError(errno.EINVAL)
            return pi_state
        if not pid:
            return pi_state
    if owner is None or owner.pid != pid:
        raise LinuxError(errno.EINVAL)
    return pi_state


def attach_to_pi_owner(task: Task, addr: int, value: int, key: FutexKey) -> PiState | None:
    """A new state for the owner that the word names; None: the word has another value now. ESRCH:
    there is no such task, or it has ended without a word. May wait for one that ends.
    """
    owner = task.system.tasks.get(value & FUTEX_TID_MASK)
    if owner is not None and not owner.exiting:
        return new_pi_state(key, owner)
    if owner is not None and owner.futex_exit is not None:
        exiting = owner.futex_exit
        task.system.scheduler.wait_event(
            exiting, lambda: owner.futex_exit is not exiting, exiting.name, sleep=Sleep.KILLABLE
        )
        if task.fatal_signal_pending():
            raise LinuxError(ERESTARTNOINTR)
    if get_user_u32(task.mm, addr) == value:
        raise LinuxError(errno.ESRCH)
    return None


def new_pi_state(key: FutexKey, owner: Task) -> PiState:
    """A state that ``owner`` holds."""
    pi_state = PiState(key, owner)
    owner.pi_states.append(pi_state)
    return pi_state


def set_owner(pi_state: PiState, owner: Task | None) -> None:
    """pi_state_update_owner()."""
    if pi_state.owner is not None:
        pi_state.owner.pi_states.remove(pi_state)
    pi_state.owner = owner
    if owner is not None:
        owner.pi_states.append(pi_state)


def put_pi_state(pi_state: PiState) -> None:
    """Forget the state if nobody refers to it any more."""
    if not pi_state.users and pi_state.owner is not None:
        set_owner(pi_state, None)


# The rt_mutex.


def start_proxy_lock(q: FutexQ, pi_state: PiState) -> None:
    """rt_mutex_start_proxy_lock(): the task of ``q`` waits for the lock. EDEADLK if its owner waits
    for that task, directly or over others.
    """
    owner = pi_state.owner
    while owner is not None:
        if owner is q.task:
            put_pi_state(pi_state)
            raise LinuxError(errno.EDEADLK)
        blocked_on = owner.pi_blocked_on
        owner = None if blocked_on is None else blocked_on.owner
    q.pi_state = pi_state
    pi_state.users += 1
    pi_state.waiters.append(q)
    q.task.pi_blocked_on = pi_state


def wait_proxy_lock(task: Task, addr: int, q: FutexQ, timeout: Timeout | None, what: str) -> int:
    """Sleep until the lock is handed over; then, or if it is not, waits for it no longer. 0, or
    -ERESTARTSYS. ETIMEDOUT.
    """
    pi_state = q.pi_state
    assert pi_state is not None
    try:
        result = futex_sleep(task, q, lambda: q.acquired, timeout, what)
        if q.acquired:
            if pi_state.owner is not task:
                fixup_owner(task.mm, addr, pi_state, task)
            return 0
        if result == -errno.ETIME:
            raise LinuxError(errno.ETIMEDOUT)
        return result
    finally:
        unqueue_pi(q)


def unqueue_pi(q: FutexQ) -> None:
    """futex_unqueue_pi()."""
    q.task.system.futexes.dequeue(q)
    pi_state, q.pi_state = q.pi_state, None
    if pi_state is not None:
        if q in pi_state.waiters:
            pi_state.waiters.remove(q)
        q.task.pi_blocked_on = None
        pi_state.users -= 1
        put_pi_state(pi_state)


def hand_over(q: FutexQ, pi_state: PiState) -> None:
    """The task of ``q``, the first that waits, holds the lock now."""
    pi_state.waiters.remove(q)
    q.task.pi_blocked_on = None
    q.acquired = True
    q.task.system.futexes.wake_task(q)


def fixup_owner(mm: Mm, addr: int, pi_state: PiState, owner: Task) -> None:
    """fixup_pi_state_owner(): write the new owner into the word; FUTEX_OWNER_DIED stays there, or
    comes if the last owner has ended without a word. EFAULT.
    """
    new = owner.pid | FUTEX_WAITERS | (FUTEX_OWNER_DIED if pi_state.owner is None else 0)
    while True:
        value = get_user_u32(mm, addr)
        if user_cmpxchg_u32(mm, addr, value, value & FUTEX_OWNER_DIED | new):
            break
    set_owner(pi_state, owner)


# Unlocking.


def futex_unlock_pi(task: Task, addr: int, *, shared: bool) -> int:
    """FUTEX_UNLOCK_PI: the first that waits gets the lock, or it is free.

    EPERM: the task does not hold it; EINVAL: who waits does not wait for the task.
    """
    while True:
        value = get_user_u32(task.mm, addr)
        if value & FUTEX_TID_MASK != task.pid:
            raise LinuxError(errno.EPERM)
        key = get_futex_key(task.mm, addr, shared=shared)
        top = top_waiter(task, key)
        if top is None:
            if user_cmpxchg_u32(task.mm, addr, value, 0):
                return 0
            continue
        pi_state = top.pi_state
        if pi_state is None or pi_state.owner is not task:
            raise LinuxError(errno.EINVAL)
        if not pi_state.waiters:
            # Who was to get it waits no longer, and has not left yet.
            if user_cmpxchg_u32(task.mm, addr, value, 0):
                return 0
            continue
        q = pi_state.waiters[0]
        if user_cmpxchg_u32(task.mm, addr, value, FUTEX_WAITERS | q.task.pid):
            set_owner(pi_state, q.task)
            hand_over(q, pi_state)
            return 0


def exit_pi_state_list(task: Task) -> None:
    """The task ends: each PI futex that it holds goes to the first that waits for it, which finds
    FUTEX_OWNER_DIED.
    """
    for pi_state in list(task.pi_states):
        set_owner(pi_state, None)
        if pi_state.waiters:
            hand_over(pi_state.waiters[0], pi_state)
