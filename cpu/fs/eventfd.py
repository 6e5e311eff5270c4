# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters and timers as files: eventfd and timerfd (fs/eventfd.c, fs/timerfd.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_NONBLOCK, O_RDWR, OpenFile
from cpu.fs.poll import POLLERR, POLLIN, POLLOUT, PollHead
from cpu.timers import HrTimer
from mmu.errors import LinuxError
from mmu.units import U64

if TYPE_CHECKING:
    from cpu.scheduler import Scheduler

EFD_SEMAPHORE: Final = 1
ANON_INODE: Final = 13
"""st_ino that all files without a name share (fs/anon_inodes.c)."""


class EventFd(OpenFile):
    """A 64-bit counter: a write adds to it, a read takes all of it, or 1 of a semaphore."""

    mode = 0o600
    inode = ANON_INODE
    path = "anon_inode:[eventfd]"

    def __init__(self, scheduler: Scheduler, count: int, flags: int) -> None:
        super().__init__()
        self.count = count
        self.flags = O_RDWR | flags & O_NONBLOCK
        self.poll_head: PollHead = PollHead(scheduler, "an eventfd")
        self._semaphore = bool(flags & EFD_SEMAPHORE)

    def read(self, count: int) -> bytes:
        """Eight bytes; EAGAIN while the counter is 0."""
        if count < 8:
            raise LinuxError(errno.EINVAL)
        if not self.count:
            raise LinuxError(errno.EAGAIN)
        taken = 1 if self._semaphore else self.count
        self.count -= taken
        self.poll_head.wake(POLLOUT)
        return struct.pack("<Q", taken)

    def seek(self, offset: int, whence: int) -> int:
        """There is no position: it is 0."""
        return 0

    def write(self, data: bytes) -> int:
        """Add eight bytes' number; EAGAIN while the sum would be 2**64 - 1 or more."""
        if len(data) < 8:
            raise LinuxError(errno.EINVAL)
        (added,) = struct.unpack_from("<Q", data)
        if added == U64:
            raise LinuxError(errno.EINVAL)
        if U64 - self.count <= added:
            raise LinuxError(errno.EAGAIN)
        self.count += added
        self.poll_head.wake(POLLIN)
        return len(data)

    def poll(self) -> int:
        """Whether it can be read, and 1 be added (eventfd_poll())."""
        events = POLLIN if self.count else 0
        return (
            events
            | (POLLERR if self.count == U64 else 0)
            | (POLLOUT if self.count < U64 - 1 else 0)
        )


class TimerFd(OpenFile):
    """A timer on virtual time; a read takes the number of its expirations.

    ``epoch`` is what its clock said when virtual time began.
    """

    mode = 0o600
    inode = ANON_INODE
    path = "anon_inode:[timerfd]"

    def __init__(self, scheduler: Scheduler, epoch: int, flags: int) -> None:
        super().__init__()
        self.flags = O_RDWR | flags & O_NONBLOCK
        self.poll_head: PollHead = PollHead(scheduler, "a timerfd")
        self._now: Callable[[], int] = scheduler.now_ns
        self._epoch = epoch
        self._timer = HrTimer(scheduler, self._expire)
        self._when = 0
        self._interval = 0
        self._ticks = 0

    def _expire(self) -> None:
        self._ticks = 1
        self.poll_head.wake(POLLIN)

    def settime(self, value: int, interval: int, *, absolute: bool) -> tuple[int, int]:
        """Arm it, or with a ``value`` of 0 disarm; returns what gettime() said before."""
        before = self.gettime()
        self._timer.cancel()
        self._ticks, self._interval = 0, interval
        self._when = 0
        if value:
            self._when = value - self._epoch if absolute else self._now() + value
            self._timer.start(self._when)
        return before

    def gettime(self) -> tuple[int, int]:
        """Nanoseconds until it expires next, 0 if it does not, and its interval."""
        self._forward()
        left = 0 if self._timer.expires is None else max(self._when - self._now(), 1)
        return left, self._interval

    def _forward(self) -> None:
        """A periodic timer that has expired goes on from where it would be now: the expirations
        that were missed count (hrtimer_forward_now()).
        """
        if self._ticks and self._interval and self._timer.expires is None:
            missed = max(self._now() - self._when, 0) // self._interval
            self._ticks += missed
            self._when += (missed + 1) * self._interval
            self._timer.start(self._when)

    def read(self, count: int) -> bytes:
        """Expirations since the last read; EAGAIN if there were none."""
        if count < 8:
            raise LinuxError(errno.EINVAL)
        if not self._ticks:
            raise LinuxError(errno.EAGAIN)
        self._forward()
        ticks, self._ticks = self._ticks, 0
        return struct.pack("<Q", ticks)

    def seek(self, offset: int, whence: int) -> int:
        """There is no position: it is 0."""
        return 0

    def write(self, data: bytes) -> int:
        """It cannot be written."""
        raise LinuxError(errno.EINVAL)

    def poll(self) -> int:
        """Whether it has expired."""
        return POLLIN if self._ticks else 0

    def close(self) -> None:
        """It expires no more."""
        self._timer.cancel()
