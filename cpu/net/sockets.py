# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of connected AF_UNIX sockets (net/unix/af_unix.c, v6.18); no address, no descriptors
passed.
"""

from __future__ import annotations

import errno
import stat
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_NONBLOCK, O_RDWR, OpenFile
from cpu.fs.poll import POLLERR, POLLHUP, POLLRDHUP, READABLE, WRITABLE, PollHead
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler

SNDBUF: Final = 212_992
"""Bytes on their way to the peer, at most (net.core.wmem_default)."""
RCV_SHUTDOWN, SEND_SHUTDOWN, SHUTDOWN_MASK = 1, 2, 3
EVENTS: Final = READABLE | WRITABLE | POLLERR | POLLHUP | POLLRDHUP


class Kind(IntEnum):
    """SOCK_*: a stream of bytes, datagrams, or both a stream and their bounds."""

    STREAM = 1
    DGRAM = 2
    SEQPACKET = 5


class Socket(OpenFile):
    """One end of a pair; ``peer`` is the other."""

    mode = stat.S_IFSOCK | 0o777
    peer: Socket

    def __init__(self, scheduler: Scheduler, kind: Kind, inode: int, flags: int) -> None:
        super().__init__()
        self.kind = kind
        self.inode = inode
        self.path = f"socket:[{inode}]"
        self.flags = O_RDWR | flags & O_NONBLOCK
        self.poll_head: PollHead = PollHead(scheduler, "a socket")
        self.shut = 0
        """RCV_SHUTDOWN, SEND_SHUTDOWN."""
        self.error = 0
        """What the next call says, once."""
        self.truncated = False
        """Whether the message read last was longer than its reader asked for."""
        self._received: deque[bytes] = deque()
        self._dead = False

    def read(self, count: int) -> bytes:
        """What has come; b"" once no more can."""
        return self.receive(count)

    def receive(self, count: int, *, peek: bool = False) -> bytes:
        """Bytes of a stream, or one message, of which what exceeds ``count`` is lost; EAGAIN."""
        if not self._received:
            self._raise_error()
            if self.shut & RCV_SHUTDOWN:
                return b""
            raise LinuxError(errno.EAGAIN)
        if self.kind is not Kind.STREAM:
            message = self._received[0]
            self.truncated = len(message) > count
            if not peek:
                self._received.popleft()
                self._made_room()
            return message[:count]
        data = b"".join(self._received)
        if not peek:
            self._received.clear()
            self.unread(data[count:])
            self._made_room()
        return data[:count]

    def _made_room(self) -> None:
        self.peer.poll_head.wake(WRITABLE)

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        if data and self.kind is Kind.STREAM:
            self._received.appendleft(data)

    def write(self, data: bytes) -> int:
        """Send as much as there is room for, or the message whole; EAGAIN."""
        self._raise_error()
        peer = self.peer
        if self.shut & SEND_SHUTDOWN or peer.shut & RCV_SHUTDOWN:
            raise LinuxError(errno.EPIPE)
        if peer._dead:
            raise LinuxError(errno.ECONNREFUSED if self.kind is Kind.DGRAM else errno.EPIPE)
        room = SNDBUF - peer.nr_readable()
        if self.kind is not Kind.STREAM and len(data) > SNDBUF:
            raise LinuxError(errno.EMSGSIZE)
        if (room < len(data) and self.kind is not Kind.STREAM) or (room <= 0 and data):
            raise LinuxError(errno.EAGAIN)
        part = data[:room]
        if part or self.kind is not Kind.STREAM:
            peer._received.append(part)
            peer.poll_head.wake(READABLE)
        return len(part)

    def _raise_error(self) -> None:
        if self.error:
            error, self.error = self.error, 0
            raise LinuxError(error)

    def poll(self) -> int:
        """unix_poll()."""
        events = POLLERR if self.error else 0
        if self.shut == SHUTDOWN_MASK:
            events |= POLLHUP
        if self.shut & RCV_SHUTDOWN:
            events |= POLLRDHUP | READABLE
        if self._received:
            events |= READABLE
        if self.peer._dead or self.peer.nr_readable() * 4 <= SNDBUF:
            events |= WRITABLE
        return events

    def nr_readable(self) -> int:
        """ioctl(FIONREAD): bytes that wait, of all messages."""
        return sum(map(len, self._received))

    def shutdown(self, how: int) -> None:
        """No more is received, or sent: ``how`` has RCV_SHUTDOWN, SEND_SHUTDOWN."""
        self.shut |= how
        if self.kind is not Kind.DGRAM:
            other = (RCV_SHUTDOWN if how & SEND_SHUTDOWN else 0) | (
                SEND_SHUTDOWN if how & RCV_SHUTDOWN else 0
            )
            self.peer.shut |= other
        for end in (self, self.peer):
            end.poll_head.wake(EVENTS)

    def close(self) -> None:
        """The peer reads what was sent, then the end; an error if this end did not read all."""
        self._dead = True
        peer = self.peer
        if peer._dead:
            return
        if self.kind is not Kind.DGRAM:
            peer.shut = SHUTDOWN_MASK
            if self._received:
                peer.error = errno.ECONNRESET
        peer.poll_head.wake(EVENTS)


def make_pair(
    scheduler: Scheduler, kind: Kind, inodes: tuple[int, int], flags: int
) -> tuple[Socket, Socket]:
    """Two sockets connected with each other."""
    one, other = (Socket(scheduler, kind, inode, flags) for inode in inodes)
    one.peer, other.peer = other, one
    return one, other
