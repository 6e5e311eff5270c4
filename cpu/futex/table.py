# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waits for which futex (kernel/futex/futex.h, v6.18).

Kernel code is atomic between two waits, so the bucket locks of Linux are not needed: whoever reads
a futex word and then enters or leaves a queue does so in one step, unless it waits in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from mmu.linux.sched import WaitQueue

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler

FUTEX_BITSET_MATCH_ANY = 0xFFFFFFFF


class FutexKey(NamedTuple):
    """union futex_key: what makes two user addresses the same futex.

    ``owner`` is an mm or a file's AddressSpace, ``offset`` the address in the mm or the byte in the
    file; ``shared`` tells a futex of an mm that was named as shared from a private one
    (FUT_OFF_MMSHARED).
    """

    owner: object
    offset: int
    shared: bool


class FutexQ:
    """struct futex_q: one task that waits for one futex.

    ``queued`` until it is woken, or leaves. ``pi_state`` is the owner's side of a PI futex,
    ``requeue_pi_key`` the PI futex to which a waiter of FUTEX_WAIT_REQUEUE_PI may be moved.
    """

    def __init__(self, task: Any, key: FutexKey, what: str, bitset: int = FUTEX_BITSET_MATCH_ANY):
        self.task = task
        self.key = key
        self.bitset = bitset
        self.queue = WaitQueue(what)
        self.queued = False
        self.pi_state: PiState | None = None
        self.requeue_pi_key: FutexKey | None = None
        self.acquired = False
        """It was given the PI futex's lock."""


class PiState:
    """struct futex_pi_state with its rt_mutex: a PI futex that somebody waits for.

    ``owner`` is the task that holds the lock; None while it is handed over. ``waiters`` are those
    that wait for it, in the order in which they get it; ``users`` counts who refers to it.
    """

    def __init__(self, key: FutexKey, owner: Any) -> None:
        self.key = key
        self.owner = owner
        self.waiters: list[FutexQ] = []
        self.users = 0


class FutexTable:
    """The hash table of futexes of a machine: by key, who waits, first come first."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._queues: dict[FutexKey, list[FutexQ]] = {}

    def waiters(self, key: FutexKey) -> Iterator[FutexQ]:
        """Those that wait for it now; the table may change meanwhile."""
        yield from list(self._queues.get(key, ()))

    def enqueue(self, q: FutexQ) -> None:
        """futex_queue(): the last of those that wait."""
        self._queues.setdefault(q.key, []).append(q)
        q.queued = True

    def dequeue(self, q: FutexQ) -> bool:
        """futex_unqueue(): it waits no longer; False if it was woken before."""
        if not q.queued:
            return False
        queue = self._queues[q.key]
        queue.remove(q)
        if not queue:
            del self._queues[q.key]
        q.queued = False
        return True

    def requeue(self, q: FutexQ, key: FutexKey) -> None:
        """requeue_futex(): let it wait for another futex."""
        self.dequeue(q)
        q.key = key
        self.enqueue(q)

    def wake(self, q: FutexQ) -> None:
        """futex_wake_mark() and wake_up_q()."""
        self.dequeue(q)
        self._scheduler.wake_up(q.queue)

    def wake_task(self, q: FutexQ) -> None:
        """Have it look again, though it still waits."""
        self._scheduler.wake_up(q.queue)
