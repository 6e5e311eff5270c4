# SPDX-License-Identifier: GPL-2.0-or-later
"""A sleeping lock of one writer or several readers (kernel/locking/rwsem.c, v6.18).

Who cannot have it queues and sleeps, and is served in the order of coming. While anybody waits,
nobody passes by: so a waiting writer stops new readers, and no writer starves. When a reader is
next, all readers that wait get it together, as in rwsem_mark_wake().

The lock is handed over: who is woken holds it already. Linux lets a running task take it first
unless the waiter has waited long (the handoff bit); on one host thread nothing is gained by that.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from mmu._native import ffi, lib
from mmu.linux.bug import Bug, MmBug
from mmu.linux.contention import LCB_F_READ, LCB_F_WRITE, Recorder, contention_begin, contention_end
from mmu.linux.lockdep import Lockdep
from mmu.linux.sched import Scheduler, Sleep, WaitQueue

if TYPE_CHECKING:
    from mmu._native import struct_rw_semaphore_ptr

WRITER_LOCKED: Final = lib.RWSEM_WRITER_LOCKED
FLAG_WAITERS: Final = lib.RWSEM_FLAG_WAITERS
READER_BIAS: Final = lib.RWSEM_READER_BIAS


class LockUse(Enum):
    """What is done to a lock of readers and a writer."""

    TRIED = 0
    """It is looked at, tried or queued for."""
    TAKEN = 1
    """By who waits as long as it cannot be had."""
    RELEASED = 2
    DOWNGRADED = 3
    """The writer keeps it as a reader."""


class Sleeper(Recorder, Protocol):
    """What of a Kernel a sleeping lock needs."""

    scheduler: Scheduler
    lockdep: Lockdep | None

    def wait_event(
        self, queue: WaitQueue, ready: Callable[[], bool], what: str, *, sleep: Sleep
    ) -> int:
        """See Kernel.wait_event()."""

    def point(
        self, name: str, ready: Callable[[], bool] | None = None, *, sleeps_for: str = ""
    ) -> None:
        """See Kernel.point()."""

    def instrument_lock(
        self, lock: str, number: int, *, write: bool, use: LockUse = LockUse.TRIED
    ) -> None:
        """See Kernel.instrument_lock()."""


@dataclass(eq=False)
class _Waiter:
    """struct rwsem_waiter: ``granted`` once the lock is handed to it."""

    write: bool
    granted: bool = False


class RwSemaphore:
    """One such lock. ``name`` is for people, ``kind`` (LOCK_*) and ``number`` for the events.

    ``c`` is its ``struct rw_semaphore *``: the count word, with WRITER_LOCKED, FLAG_WAITERS, and
    READER_BIAS for each reader.
    """

    def __init__(
        self,
        kernel: Sleeper,
        name: str,
        kind: int,
        number: int = 0,
        c: struct_rw_semaphore_ptr | None = None,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.kind = kind
        self.number = number
        self.c: Any = ffi.new("struct rw_semaphore *") if c is None else c
        self._waiters: list[_Waiter] = []
        self._queue = WaitQueue(name)

    def __repr__(self) -> str:
        return f"<rwsem {self.name}: {self.state}>"

    @property
    def state(self) -> str:
        """Who holds it and how many wait, for people."""
        count = int(self.c.count)
        held = f"{count // READER_BIAS} readers" if count >= READER_BIAS else "free"
        if count & WRITER_LOCKED:
            held = "a writer"
        return f"{held}, {len(self._waiters)} waiting"

    @property
    def write_locked(self) -> bool:
        """Whether a writer holds it: rwsem_is_write_locked()."""
        return bool(self.c.count & WRITER_LOCKED)

    @property
    def locked(self) -> bool:
        """Whether anybody holds it: rwsem_is_locked()."""
        return bool(self.c.count & ~FLAG_WAITERS)

    # Taking it. The functions that may sleep return 0, or -EINTR if what ends such a sleep came
    # first: then nothing is held.

    def down_read(self, sleep: Sleep = Sleep.UNINTERRUPTIBLE) -> int:
        """Take it for reading."""
        return self._down(False, sleep)

    def down_write(self, sleep: Sleep = Sleep.UNINTERRUPTIBLE, subclass: int = 0) -> int:
        """Take it for writing; with a ``subclass`` inside another one (down_write_nested())."""
        return self._down(True, sleep, subclass)

    def down_read_trylock(self) -> bool:
        """Take it for reading if that needs no wait; whether it did. Never sleeps."""
        return self._trylock(False)

    def down_write_trylock(self) -> bool:
        """Take it for writing if that needs no wait; whether it did. Never sleeps."""
        return self._trylock(True)

    def _can_be_had(self, write: bool, use: LockUse = LockUse.TRIED) -> bool:
        self.kernel.instrument_lock(self.name, self.number, write=write, use=use)
        count = int(self.c.count)
        return not (count & (WRITER_LOCKED | FLAG_WAITERS) or (write and count))

    def _take(self, write: bool, use: LockUse) -> bool:
        if not self._can_be_had(write, use):
            return False
        self.c.count += WRITER_LOCKED if write else READER_BIAS
        return True

    def _trylock(self, write: bool) -> bool:
        taken = self._take(write, LockUse.TRIED)
        if taken and self.kernel.lockdep is not None:
            self.kernel.lockdep.acquired(self, self.kind, self.name, read=not write, trylock=True)
        return taken

    def _down(self, write: bool, sleep: Sleep, subclass: int = 0) -> int:
        kernel = self.kernel
        if kernel.lockdep is not None:
            kernel.lockdep.acquire(self, self.kind, self.name, read=not write, subclass=subclass)
        name = "down_write" if write else "down_read"
        kernel.point(name, lambda: self._can_be_had(write), sleeps_for=self.name)
        error = 0 if self._take(write, LockUse.TAKEN) else self._wait(write, sleep)
        if kernel.lockdep is not None and not error:
            kernel.lockdep.acquired(self, self.kind, self.name, read=not write, subclass=subclass)
        return error

    def _wait(self, write: bool, sleep: Sleep) -> int:
        kernel = self.kernel
        waiter = _Waiter(write)
        kernel.instrument_lock(self.name, self.number, write=True)
        self._waiters.append(waiter)
        self.c.count |= FLAG_WAITERS
        contention_begin(kernel, self.number, self.kind, LCB_F_WRITE if write else LCB_F_READ)

        def granted() -> bool:
            kernel.instrument_lock(self.name, self.number, write=True)
            return waiter.granted

        what = f"{self.name}, to {'write' if write else 'read'}: {self.state}"
        try:
            kernel.wait_event(self._queue, granted, what, sleep=sleep)
        except BaseException:
            self._give_up(waiter)
            raise
        error = 0 if waiter.granted else -errno.EINTR
        contention_end(kernel, self.number, self.kind, error & 0xFFFF_FFFF)
        if error:
            self._give_up(waiter)
            if sleep is Sleep.UNINTERRUPTIBLE:
                raise MmBug(Bug.LOCK_HELD, self.number)
        return error

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter.granted:
            self.c.count -= WRITER_LOCKED if waiter.write else READER_BIAS
        else:
            self._waiters.remove(waiter)
        self._hand_over()

    # Giving it back.

    def up_read(self) -> None:
        """A reader drops it."""
        if self.c.count < READER_BIAS:
            raise MmBug(Bug.LOCK_NOT_HELD, self.number)
        self._released()
        self.kernel.instrument_lock(self.name, self.number, write=False, use=LockUse.RELEASED)
        self.c.count -= READER_BIAS
        self._hand_over()

    def up_write(self) -> None:
        """The writer drops it."""
        self._must_be_written()
        self._released()
        self.kernel.instrument_lock(self.name, self.number, write=True, use=LockUse.RELEASED)
        self.c.count &= ~WRITER_LOCKED
        self._hand_over()

    def downgrade_write(self) -> None:
        """The writer becomes a reader, without a moment in which nobody holds it; readers that wait
        may come in.
        """
        self._must_be_written()
        if self.kernel.lockdep is not None:
            self.kernel.lockdep.downgrade(self)
        self.kernel.instrument_lock(self.name, self.number, write=True, use=LockUse.DOWNGRADED)
        self.c.count = (self.c.count & ~WRITER_LOCKED) + READER_BIAS
        self._hand_over()

    def _must_be_written(self) -> None:
        if not self.write_locked:
            raise MmBug(Bug.LOCK_NOT_HELD, self.number)

    def _released(self) -> None:
        if self.kernel.lockdep is not None:
            self.kernel.lockdep.release(self)

    def _hand_over(self) -> None:
        """rwsem_mark_wake(): give it to whoever is next, if it can be had."""
        woken: list[_Waiter] = []
        held = int(self.c.count) & ~FLAG_WAITERS
        if self._waiters and self._waiters[0].write:
            if not held:
                woken = self._waiters[:1]
                held = WRITER_LOCKED
        elif self._waiters and not held & WRITER_LOCKED:
            woken = [waiter for waiter in self._waiters if not waiter.write]
            held += READER_BIAS * len(woken)
        for waiter in woken:
            waiter.granted = True
            self._waiters.remove(waiter)
        self.c.count = held | (FLAG_WAITERS if self._waiters else 0)
        if woken:
            self.kernel.scheduler.wake_up(self._queue)
        self.kernel.point("up_rwsem")
