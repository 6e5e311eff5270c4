# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving who waits for one futex to another (kernel/futex/requeue.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from cpu.futex.keys import get_futex_key, get_user_u32
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task


def futex_requeue(
    task: Task,
    addr: int,
    addr2: int,
    nr_wake: int,
    nr_requeue: int,
    value: int | None,
    *,
    shared: bool,
) -> int:
    """Wake ``nr_wake`` of those that wait at ``addr``, and let ``nr_requeue`` more wait at
    ``addr2``; returns how many of both. With ``value`` only if the word at ``addr`` is that, else
    EAGAIN. EINVAL: a PI futex, or a negative number.
    """
    if nr_wake < 0 or nr_requeue < 0:
        raise LinuxError(errno.EINVAL)
    key = get_futex_key(task.mm, addr, shared=shared, write=False)
    key2 = get_futex_key(task.mm, addr2, shared=shared, write=False)
    if value is not None and get_user_u32(task.mm, addr) != value:
        raise LinuxError(errno.EAGAIN)
    table, count = task.system.futexes, 0
    for q in table.waiters(key):
        if count - nr_wake >= nr_requeue:
            break
        if q.pi_state is not None or q.requeue_pi_key is not None:
            raise LinuxError(errno.EINVAL)
        count += 1
        if count <= nr_wake:
            table.wake(q)
        else:
            table.requeue(q, key2)
    return count
