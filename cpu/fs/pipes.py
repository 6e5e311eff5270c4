# SPDX-License-Identifier: GPL-2.0-or-later
"""Pipes (fs/pipe.c, v6.18): a ring of page-sized buffers between two open files.

A write of PIPE_BUF bytes or fewer is never torn: there is a free buffer, which takes a page, or
there is no room. What follows a write that did not fill its last page goes into that page if it
fits there whole. With O_DIRECT each write is a packet, which one read takes.
"""

from __future__ import annotations

import errno
import stat
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cpu.fs.files import (
    O_ACCMODE,
    O_DIRECT,
    O_NONBLOCK,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    OpenFile,
)
from cpu.fs.poll import POLLERR, POLLHUP, READABLE, WRITABLE, PollHead
from mmu.errors import LinuxError
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmu.linux.sched import Scheduler

PIPE_DEF_BUFFERS: Final = 16
PIPE_MAX_SIZE: Final = 1 << 20
"""fs.pipe-max-size: the most bytes that F_SETPIPE_SZ gives an ordinary user."""


@dataclass
class _Buffer:
    """struct pipe_buffer: a page; what was read is gone from ``data``."""

    data: bytearray = field(default_factory=bytearray)
    filled: int = 0
    """Bytes of the page that were ever written."""
    packet: bool = False


class Pipe:
    """A struct pipe_inode_info. ``inode`` is its st_ino."""

    def __init__(self, scheduler: Scheduler, inode: int) -> None:
        self.buffers: deque[_Buffer] = deque()
        self.max_usage = PIPE_DEF_BUFFERS
        self.readers = 0
        self.writers = 0
        self.inode = inode
        self.mode = stat.S_IFIFO | 0o600
        self.uid: int | None = None
        self.gid: int | None = None
        self.rd_wait = PollHead(scheduler, "data in a pipe")
        self.wr_wait = PollHead(scheduler, "room in a pipe")

    @property
    def full(self) -> bool:
        """Whether no buffer is free (pipe_full())."""
        return len(self.buffers) >= self.max_usage

    def nr_bytes(self) -> int:
        """Bytes that wait to be read."""
        return sum(len(buffer.data) for buffer in self.buffers)

    def read(self, nr: int) -> bytes:
        """At most ``nr`` bytes, b"" at the end; EAGAIN if there are none yet (pipe_read())."""
        if not nr:
            return b""
        if not self.buffers:
            if self.writers:
                raise LinuxError(errno.EAGAIN)
            return b""
        was_full, parts = self.full, []
        while self.buffers and nr:
            buffer = self.buffers[0]
            part = bytes(buffer.data[:nr])
            del buffer.data[:nr]
            parts.append(part)
            nr -= len(part)
            if buffer.packet:
                buffer.data.clear()
            if not buffer.data:
                self.buffers.popleft()
            if buffer.packet:
                break
        if was_full and not self.full:
            self.wr_wait.wake(WRITABLE)
        return b"".join(parts)

    def peek(self, nr: int) -> bytes:
        """What read() would give, which stays; for tee()."""
        if not self.buffers and self.writers:
            raise LinuxError(errno.EAGAIN)
        return b"".join(buffer.data for buffer in self.buffers)[:nr]

    def must_room(self) -> int:
        """Bytes that whole free buffers take; EAGAIN if none is free, EPIPE if nobody can read."""
        if not self.readers:
            raise LinuxError(errno.EPIPE)
        if self.full:
            raise LinuxError(errno.EAGAIN)
        return self.max_usage - len(self.buffers) << PAGE_SHIFT

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        if data:
            self.buffers.appendleft(_Buffer(bytearray(data), PAGE_SIZE))

    def write(self, data: bytes, *, packet: bool) -> int:
        """As much as there is room for; EAGAIN if there is none, EPIPE if nobody can read
        (pipe_write()).
        """
        if not data:
            return 0
        if not self.readers:
            raise LinuxError(errno.EPIPE)
        done = self._merge(data)
        while done < len(data) and not self.full:
            part = data[done : done + PAGE_SIZE]
            self.buffers.append(_Buffer(bytearray(part), len(part), packet))
            done += len(part)
        if not done:
            raise LinuxError(errno.EAGAIN)
        self.rd_wait.wake(READABLE)
        return done

    def _merge(self, data: bytes) -> int:
        """Put what is more than whole pages into the last page, if it fits there."""
        chars = len(data) % PAGE_SIZE
        if not chars or not self.buffers:
            return 0
        last = self.buffers[-1]
        if last.packet or last.filled + chars > PAGE_SIZE:
            return 0
        last.data += data[:chars]
        last.filled += chars
        return chars

    def resize(self, size: int) -> int:
        """fcntl(F_SETPIPE_SZ): returns the new size (pipe_set_size())."""
        if size > 1 << 31:
            raise LinuxError(errno.EINVAL)
        pages = max(size - 1 >> PAGE_SHIFT, 0)
        nr = 1 << pages.bit_length() if size > PAGE_SIZE else 1
        if nr > self.max_usage and nr << PAGE_SHIFT > PIPE_MAX_SIZE:
            raise LinuxError(errno.EPERM)
        if nr < len(self.buffers):
            raise LinuxError(errno.EBUSY)
        self.max_usage = nr
        self.wr_wait.wake(WRITABLE)
        return nr << PAGE_SHIFT


class PipeEnd(OpenFile):
    """One end of a pipe, or both (O_RDWR, through /proc/PID/fd)."""

    def __init__(self, pipe: Pipe, flags: int) -> None:
        self.pipe = pipe
        super().__init__()
        self.flags = flags & (O_ACCMODE | O_NONBLOCK | O_DIRECT)
        self.inode = pipe.inode
        self.path = f"pipe:[{pipe.inode}]"
        self._reads = flags & O_ACCMODE in (O_RDONLY, O_RDWR)
        self._writes = flags & O_ACCMODE in (O_WRONLY, O_RDWR)
        pipe.readers += self._reads
        pipe.writers += self._writes
        self.poll_head = pipe.rd_wait if self._reads else pipe.wr_wait

    @property
    def mode(self) -> int:
        """st_mode, of both ends."""
        return self.pipe.mode

    @mode.setter
    def mode(self, mode: int) -> None:
        self.pipe.mode = mode

    @property
    def uid(self) -> int | None:
        """Owner, of both ends."""
        return self.pipe.uid

    @uid.setter
    def uid(self, uid: int | None) -> None:
        self.pipe.uid = uid

    @property
    def gid(self) -> int | None:
        """Group, of both ends."""
        return self.pipe.gid

    @gid.setter
    def gid(self, gid: int | None) -> None:
        self.pipe.gid = gid

    def read(self, count: int) -> bytes:
        """What is there; EAGAIN if nothing is yet."""
        if not self._reads:
            raise LinuxError(errno.EBADF)
        return self.pipe.read(count)

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        self.pipe.unread(data)

    def write(self, data: bytes) -> int:
        """As much as there is room for; EAGAIN if there is none."""
        if not self._writes:
            raise LinuxError(errno.EBADF)
        return self.pipe.write(data, packet=bool(self.flags & O_DIRECT))

    def wait(self, events: int, ready: Callable[[], bool], what: str) -> int:
        """Sleep on the side that ``events`` are of."""
        head = self.pipe.rd_wait if events & READABLE else self.pipe.wr_wait
        return head.wait(ready, what)

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Have ``listener`` hear of this end, or of both."""
        heads = [self.pipe.rd_wait] * self._reads + [self.pipe.wr_wait] * self._writes
        ends = [head.listen(listener) for head in heads]

        def end() -> None:
            for one in ends:
                one()

        return end

    def poll(self) -> int:
        """Data, room, and whether the other end is gone (pipe_poll())."""
        pipe, events = self.pipe, 0
        if self._reads:
            events |= READABLE if pipe.buffers else 0
            events |= 0 if pipe.writers else POLLHUP
        if self._writes:
            events |= 0 if pipe.full else WRITABLE
            events |= 0 if pipe.readers else POLLERR
        return events

    def nr_readable(self) -> int:
        """ioctl(FIONREAD)."""
        return self.pipe.nr_bytes()

    def reopen(self, flags: int) -> OpenFile:
        """One more end, as ``flags`` say."""
        return PipeEnd(self.pipe, flags)

    def close(self) -> None:
        """An end is gone: who waits at the other looks again (pipe_release())."""
        pipe = self.pipe
        pipe.readers -= self._reads
        pipe.writers -= self._writes
        if bool(pipe.readers) != bool(pipe.writers):
            pipe.rd_wait.wake(READABLE | POLLERR | POLLHUP)
            pipe.wr_wait.wake(WRITABLE | POLLERR | POLLHUP)


def make_pipe(scheduler: Scheduler, inode: int, flags: int) -> tuple[PipeEnd, PipeEnd]:
    """A pipe's two ends, to be read and to be written; ``flags`` are pipe2()'s."""
    pipe = Pipe(scheduler, inode)
    return PipeEnd(pipe, O_RDONLY | flags & O_NONBLOCK), PipeEnd(pipe, O_WRONLY | flags)
