# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks of files: POSIX record locks, those of an open file description, flock() (fs/locks.c,
v6.18).

A lock is a range of bytes, an owner, and whether it may be shared. POSIX locks are of a table of
descriptors, and go with the first close() of the file by it; OFD and flock locks are of the open
file, and go with that. POSIX and OFD locks are of one kind and meet each other; flock locks meet
only their like.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mmu.errors import LinuxError
from mmu.linux.sched import ERESTARTSYS, Sleep, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu.linux.state import Kernel

OFFSET_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True)
class FileLock:
    """A struct file_lock: bytes [start, end], both included. ``owner`` is a table of descriptors or
    an open file; ``pid`` is what F_GETLK tells, -1 for a lock of an open file.
    """

    owner: object
    start: int
    end: int
    write: bool
    pid: int = -1

    def overlaps(self, other: FileLock) -> bool:
        """locks_overlap()."""
        return self.start <= other.end and other.start <= self.end

    def conflicts(self, other: FileLock) -> bool:
        """posix_locks_conflict(): another owner's, and one of the two is to write."""
        return (
            self.owner is not other.owner and (self.write or other.write) and self.overlaps(other)
        )


class Blocked:
    """Who waits for whom, over all files of a machine: for EDEADLK (blocked_hash)."""

    def __init__(self) -> None:
        self._waits: dict[int, tuple[FileLock, FileLockContext]] = {}

    def wait(self, lock: FileLock, context: FileLockContext) -> None:
        """The lock's owner waits for it. Raises EDEADLK if it waits, in the end, for itself
        (posix_locks_deadlock()).
        """
        seen: set[int] = set()
        blocker = context.conflict(lock)
        while blocker is not None and id(blocker.owner) not in seen:
            if blocker.owner is lock.owner:
                raise LinuxError(errno.EDEADLK)
            seen.add(id(blocker.owner))
            waited = self._waits.get(id(blocker.owner))
            blocker = None if waited is None else waited[1].conflict(waited[0])
        self._waits[id(lock.owner)] = lock, context

    def done(self, lock: FileLock) -> None:
        """It waits no more."""
        self._waits.pop(id(lock.owner), None)


class FileLockContext:
    """A struct file_lock_context: the locks of one inode."""

    __slots__ = ("_blocked", "_flock", "_kernel", "_posix", "_wait")

    def __init__(self, kernel: Kernel, blocked: Blocked) -> None:
        self._kernel = kernel
        self._blocked = blocked
        self._posix: list[FileLock] = []
        self._flock: list[FileLock] = []
        self._wait = WaitQueue("a lock of a file")

    @property
    def used(self) -> bool:
        """Whether anybody has a lock, or waits for one."""
        return bool(self._posix or self._flock or self._wait.waiters)

    # POSIX and OFD locks.

    def conflict(self, lock: FileLock) -> FileLock | None:
        """The first lock in the way of this one (posix_test_lock())."""
        return next((held for held in self._posix if held.conflicts(lock)), None)

    def own(self, lock: FileLock) -> FileLock | None:
        """The owner's first lock in this range."""
        mine = (held for held in self._posix if held.owner is lock.owner and held.overlaps(lock))
        return next(mine, None)

    def set_posix(self, lock: FileLock, *, wait: bool) -> None:
        """F_SETLK, or F_SETLKW with ``wait``, and their like: take the lock, instead of what the
        owner has there. EAGAIN if somebody is in the way, EDEADLK (POSIX locks only), ERESTARTSYS.
        """
        if self.conflict(lock) is not None:
            if not wait:
                raise LinuxError(errno.EAGAIN)
            self._wait_posix(lock)
        self._put(lock)

    def _wait_posix(self, lock: FileLock) -> None:
        """Sleep until nobody is in the way. Each time somebody else is, deadlock is looked for."""
        posix = lock.pid != -1
        while self.conflict(lock) is not None:
            blocker = self.conflict(lock)
            if posix:
                self._blocked.wait(lock, self)
            try:
                self._sleep(lambda: self.conflict(lock) is not blocker)  # noqa: B023
            finally:
                if posix:
                    self._blocked.done(lock)

    def unlock_posix(self, owner: object, start: int, end: int) -> None:
        """F_UNLCK of bytes [start, end]."""
        self._cut(FileLock(owner, start, end, write=False))
        self._wake()

    def _put(self, lock: FileLock) -> None:
        """Have the lock, joined with what of its owner and kind it touches; what it makes weaker
        wakes others (posix_lock_inode()).
        """
        self._cut(lock)
        start, end = lock.start, lock.end
        for held in list(self._posix):
            if (
                held.owner is lock.owner
                and held.write == lock.write
                and held.start <= min(end, OFFSET_MAX - 1) + 1
                and start <= min(held.end, OFFSET_MAX - 1) + 1
            ):
                start, end = min(start, held.start), max(end, held.end)
                self._posix.remove(held)
        self._posix.append(replace(lock, start=start, end=end))
        self._posix.sort(key=lambda held: held.start)
        self._wake()

    def _cut(self, lock: FileLock) -> None:
        """Take the range out of the owner's locks."""
        kept = []
        for held in self._posix:
            if held.owner is not lock.owner or not held.overlaps(lock):
                kept.append(held)
                continue
            if held.start < lock.start:
                kept.append(replace(held, end=lock.start - 1))
            if held.end > lock.end:
                kept.append(replace(held, start=lock.end + 1))
        self._posix = kept

    # flock().

    def flock(self, owner: object, *, write: bool, wait: bool) -> None:
        """Have the whole file, instead of what the open file had: that goes first, and comes not
        back if another is in the way. EAGAIN (EWOULDBLOCK), ERESTARTSYS.
        """
        lock = FileLock(owner, 0, OFFSET_MAX, write)
        if any(held.owner is owner and held.write == write for held in self._flock):
            return
        self.unflock(owner)
        if not self._flock_free(lock):
            if not wait:
                raise LinuxError(errno.EAGAIN)
            self._sleep(lambda: self._flock_free(lock))
        self._flock.append(lock)

    def unflock(self, owner: object) -> None:
        """LOCK_UN, and the end of the open file."""
        self._flock = [held for held in self._flock if held.owner is not owner]
        self._wake()

    def _flock_free(self, lock: FileLock) -> bool:
        return not any(held.conflicts(lock) for held in self._flock)

    def _sleep(self, until: Callable[[], bool]) -> None:
        if self._kernel.scheduler.wait_event(
            self._wait, until, "a lock of a file", sleep=Sleep.INTERRUPTIBLE
        ):
            raise LinuxError(ERESTARTSYS)

    def _wake(self) -> None:
        self._kernel.scheduler.wake_up(self._wait)

    def release(self, owner: object) -> None:
        """Everything that this owner has goes (locks_remove_posix(), locks_remove_file())."""
        if any(held.owner is owner for held in (*self._posix, *self._flock)):
            self._posix = [held for held in self._posix if held.owner is not owner]
            self.unflock(owner)
