# SPDX-License-Identifier: GPL-2.0-or-later
"""Standard streams: the host's descriptors behind 0, 1 and 2.

A task that reads where there is no input sleeps, and the others go on. Output takes no time in the
guest: if the host's pipe is full, the whole machine waits for its reader, so that no schedule
depends on how fast somebody reads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from cpu.fs.files import O_ACCMODE, O_WRONLY, PIPE_BUF, OpenFile
from cpu.fs.poll import POLLIN, READABLE, WRITABLE
from cpu.host_watch import host_ready
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.poll import Listener
    from cpu.scheduler import Scheduler

STOP_POLL = 0.1
"""Seconds between looks at whether the run is to stop, while a stream makes it wait."""
STOP_PATIENCE = 0.3
"""Seconds that a reader still has, once the run is to stop, to take what the guest has written."""


def write_or_stop(fd: int, data: bytes, stopping: Callable[[], bool]) -> int:
    """Write ``data`` to a host descriptor, waiting for room as long as the run is not to stop.

    Only as much is written at a time as a pipe with room takes without waiting, so a reader that
    does not read holds up nothing but the guest. Returns the bytes written: fewer than all if
    nobody has read them STOP_PATIENCE seconds after the stop, or if an error came after the first
    of them. Raises OSError.
    """
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    room = select.poll()
    room.register(fd, select.POLLOUT)
    rest = memoryview(data)
    deadline: float | None = None
    while rest:
        if deadline is None and stopping():
            deadline = time.monotonic() + STOP_PATIENCE
        if deadline is not None and time.monotonic() > deadline:
            break
        if not regular and not room.poll(STOP_POLL * 1000):
            continue
        try:
            rest = rest[os.write(fd, rest if regular else rest[:PIPE_BUF]) :]
        except BlockingIOError:
            time.sleep(STOP_POLL / 10)
        except OSError:
            if len(rest) < len(data):
                break
            raise
    return len(data) - len(rest)


class Stream(OpenFile):
    """A standard stream: one of the host's descriptors, which the guest always sees as a pipe.

    So a guest's buffering, and with it the run, does not depend on where its output goes.
    """

    mode = stat.S_IFIFO | 0o600
    can_poll = True

    def __init__(self, host_fd: int, flags: int, inode: int, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.host_fd = host_fd
        self.flags = flags
        self.inode = inode
        self.path = f"pipe:[{inode}]"
        self._unread = b""
        self.edge = 0
        """Grows with each read: input that comes after it is a new event."""

    def read(self, count: int) -> bytes:
        """What input there is, at most ``count`` bytes; EAGAIN if there is none yet."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)
        self.edge += 1
        if self._unread:
            data, self._unread = self._unread[:count], self._unread[count:]
            return data
        try:
            if not host_ready(self.host_fd, select.POLLIN):
                raise LinuxError(errno.EAGAIN)
            return os.read(self.host_fd, count)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None

    def unread(self, data: bytes) -> None:
        """Take back what was read last and found no place."""
        self._unread = data + self._unread

    def write(self, data: bytes) -> int:
        """Write all of it, in as many parts as the host takes; less if the run is to stop. EPIPE if
        nobody reads.
        """
        if self.flags & O_ACCMODE == os.O_RDONLY:
            raise LinuxError(errno.EBADF)
        try:
            return write_or_stop(self.host_fd, data, lambda: self._scheduler.stopping)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None

    def poll(self) -> int:
        """Input as the host says; output is always taken."""
        if self.flags & O_ACCMODE == O_WRONLY:
            return WRITABLE
        if self._unread:
            return READABLE
        poll = select.poll()
        poll.register(self.host_fd, select.POLLIN | select.POLLHUP)
        events = dict(poll.poll(0)).get(self.host_fd, 0)
        return events | (READABLE if events & POLLIN else 0)

    def wait(self, events: int, ready: Callable[[], bool], what: str) -> int:
        """Sleep until the host has input."""
        while not ready():
            result = self._scheduler.wait_host(self.host_fd, select.POLLIN, what)
            if result:
                return result
        return 0

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` hear as long as there is input; returns what ends it."""
        if self.flags & O_ACCMODE == O_WRONLY:
            return _nothing
        return self._scheduler.watch_host(self.host_fd, select.POLLIN, lambda: listener(READABLE))

    def reopen(self, flags: int) -> OpenFile:
        """The same descriptor of the host once more; in the direction that it has."""
        return Stream(self.host_fd, self.flags & O_ACCMODE, self.inode, self._scheduler)

    def nr_readable(self) -> int:
        """ioctl(FIONREAD)."""
        buffer = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(self.host_fd, termios.FIONREAD, buffer)
        return len(self._unread) + int(struct.unpack("<i", buffer)[0])


def _nothing() -> None:
    pass
