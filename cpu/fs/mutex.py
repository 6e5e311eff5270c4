# SPDX-License-Identifier: GPL-2.0-or-later
"""Sleeping locks of files: f_pos_lock of an open file, i_rwsem of an inode (kernel/locking/mutex.c,
v6.18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu.linux.sched import WaitQueue

if TYPE_CHECKING:
    from types import TracebackType

    from mmu.linux.state import Kernel


class Mutex:
    """``with``: one task has it, others sleep, whatever signals come. Before mmap_lock, never
    inside it.
    """

    __slots__ = ("_held", "_kernel", "_queue")

    def __init__(self, kernel: Kernel, name: str) -> None:
        self._kernel = kernel
        self._held = False
        self._queue = WaitQueue(name)

    def __enter__(self) -> None:
        """mutex_lock()."""
        while self._held:
            if self._kernel.wait_event(self._queue, lambda: not self._held, self._queue.name):
                break  # no task runs: the machine ends
        self._held = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """mutex_unlock()."""
        self._held = False
        if self._queue.waiters:
            self._kernel.scheduler.wake_up(self._queue, 1)
