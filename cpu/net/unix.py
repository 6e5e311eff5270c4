# SPDX-License-Identifier: GPL-2.0-or-later
"""AF_UNIX: streams, datagrams and sequenced packets (net/unix/af_unix.c, v6.18).

What is sent lies in the receiver's queue, and counts against the sender's SO_SNDBUF until it is
read. A listening socket's queue holds the new connections.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.fs.poll import POLLERR, POLLHUP, POLLRDHUP, READABLE, WRITABLE
from cpu.net.families import AF_UNIX
from cpu.net.sock import (
    EVENTS,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_DGRAM,
    SOCK_STREAM,
    Message,
    Received,
    Sock,
    skb_truesize,
)
from cpu.net.unix_gc import unix_gc, unix_inflight, unix_notinflight
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cpu.fs.files import OpenFile
    from cpu.net.net import Net, Ucred

MAX_DGRAM_QLEN: Final = 10
"""net.unix.max_dgram_qlen: datagrams that wait at a receiver that is not the sender's peer."""
SKB_MAX_HEAD: Final = 3776
UNIX_SKB_FRAGS_SZ: Final = 32768
SKB_MAX_ALLOC: Final = 16064


@dataclass
class Skb:
    """A struct sk_buff: what one call has sent, or a part of it."""

    data: memoryview
    sender: UnixSock
    truesize: int
    creds: Ucred
    files: list[OpenFile]


class UnixSock(Sock):
    """A struct unix_sock. ``name`` is its sun_path with the zero behind a path; b"": none.

    ``key`` is under what Net.unix_names has it.
    """

    family = AF_UNIX

    def __init__(self, net: Net, kind: int, flags: int) -> None:
        super().__init__(net, kind, flags)
        self.peer: UnixSock | None = None
        self.connected = False
        """TCP_ESTABLISHED."""
        self.name = b""
        self.key: object = None
        self.received: deque[Skb] = deque()
        self.embryos: deque[UnixSock] = deque()
        """Connections that nobody has accepted."""
        self.backlog = MAX_DGRAM_QLEN
        self.wmem = 0
        """Bytes that lie at receivers."""
        self.waiting: dict[UnixSock, None] = {}
        """Who waits for room here: for a connection, or for a datagram."""
        net.unix_sockets[self] = None

    # Names.

    def bind_to(self, name: bytes, key: object) -> None:
        """Have this name, of which ``key`` tells; EADDRINUSE if somebody has."""
        if key in self.net.unix_names:
            raise LinuxError(errno.EADDRINUSE)
        self.name, self.key = name, key
        self.net.unix_names[key] = self

    def key_of(self, name: bytes) -> object:
        """What tells of an abstract name: each kind of socket has its own."""
        return (name, self.kind)

    def autobind(self) -> None:
        """Have an abstract name of five digits (unix_autobind())."""
        while not self.name:
            self.net.last_autobind = self.net.last_autobind + 1 & 0xFFFFF
            name = b"\0" + f"{self.net.last_autobind:05x}".encode()
            if self.key_of(name) not in self.net.unix_names:
                self.bind_to(name, self.key_of(name))

    def getsockname(self) -> bytes:
        """Family and name."""
        return struct.pack("<H", AF_UNIX) + self.name

    def getpeername(self) -> bytes:
        """The peer's; ENOTCONN."""
        if self.peer is None:
            raise LinuxError(errno.ENOTCONN)
        return self.peer.getsockname()

    # Connections.

    def connect_to(self, other: UnixSock | None) -> None:
        """Connect with who has the name, None: nobody has; EAGAIN if its queue is full."""
        if self.kind == SOCK_DGRAM:
            self._connect_datagrams(other)
            return
        if other is None:
            raise LinuxError(errno.ECONNREFUSED)
        if other.kind != self.kind:
            raise LinuxError(errno.EPROTOTYPE)
        if not other.accepts or other.shut & RCV_SHUTDOWN:
            raise LinuxError(errno.ECONNREFUSED)
        if len(other.embryos) > other.backlog:
            other.waiting[self] = None
            raise LinuxError(errno.EAGAIN)
        if self.connected:
            raise LinuxError(errno.EISCONN)
        if self.accepts:
            raise LinuxError(errno.EINVAL)
        new = UnixSock(self.net, self.kind, 0)
        new.name = other.name
        new.peercred = self.net.current()
        self.peercred = other.peercred
        connect_pair(self, new)
        other.embryos.append(new)
        other.wake(READABLE)

    def _connect_datagrams(self, other: UnixSock | None) -> None:
        if other is None:
            raise LinuxError(errno.ECONNREFUSED)
        if other.kind != self.kind:
            raise LinuxError(errno.EPROTOTYPE)
        if not self._may_send(other):
            raise LinuxError(errno.EPERM)
        self.peer, self.connected = other, True

    def disconnect(self) -> None:
        """connect() with AF_UNSPEC: of datagrams only."""
        if self.kind != SOCK_DGRAM:
            raise LinuxError(errno.EINVAL)
        if self.peer is not None:
            self._drop_received()
        self.peer, self.connected = None, False

    def listen_for(self, backlog: int) -> None:
        """listen(): it must have a name."""
        if self.kind == SOCK_DGRAM:
            raise LinuxError(errno.EOPNOTSUPP)
        if not self.name or self.connected:
            raise LinuxError(errno.EINVAL)
        self.backlog, self.accepts = backlog, True
        self.peercred = self.net.current()
        self._wake_waiting()

    def accept(self, flags: int) -> UnixSock:
        """The next connection."""
        if self.kind == SOCK_DGRAM:
            raise LinuxError(errno.EOPNOTSUPP)
        if not self.accepts:
            raise LinuxError(errno.EINVAL)
        if not self.embryos:
            if self.shut & RCV_SHUTDOWN:
                raise LinuxError(errno.EINVAL)
            raise LinuxError(errno.EAGAIN)
        new = self.embryos.popleft()
        new.flags |= flags
        self._wake_waiting()
        return new

    def _wake_waiting(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for other in waiting:
            other.wake(WRITABLE)

    # Messages.

    def sendmsg(self, message: Message) -> int:
        """Send to the peer; a datagram's receiver may also be given by send_to()."""
        if message.flags & MSG_OOB:
            raise LinuxError(errno.EOPNOTSUPP)
        if self.kind == SOCK_STREAM:
            if message.name is not None:
                raise LinuxError(errno.EISCONN if self.connected else errno.EOPNOTSUPP)
            return self._send_stream(message)
        if self.kind != SOCK_DGRAM and not self.connected:
            raise LinuxError(errno.ENOTCONN)
        if self.peer is None:
            raise LinuxError(errno.ENOTCONN)
        return self.send_to(self.peer, message)

    def _send_stream(self, message: Message) -> int:
        if self.peer is None:
            raise LinuxError(errno.ENOTCONN)
        if self.shut & SEND_SHUTDOWN:
            raise LinuxError(errno.EPIPE)
        peer, done, data = self.peer, 0, message.data
        files, message.files = message.files, []
        while done < len(data):
            self.raise_error()
            if peer.dead or peer.shut & RCV_SHUTDOWN:
                raise LinuxError(errno.EPIPE)
            if self.wmem >= self.sndbuf:
                break
            size = min(len(data) - done, (self.sndbuf >> 1) - 64)
            size = min(size, SKB_MAX_HEAD + UNIX_SKB_FRAGS_SZ)
            frags = min(size, max(0, size - SKB_MAX_HEAD) + 4095 & ~4095)
            part = memoryview(data)[done : done + size]
            self._queue(peer, part, skb_truesize(size - frags, frags), message, files)
            files = []
            done += size
        message.files = files
        if data and not done:
            raise LinuxError(errno.EAGAIN)
        return done

    def send_to(self, other: UnixSock, message: Message) -> int:
        """Send a datagram, or a packet, whole; EAGAIN."""
        size = len(message.data)
        if size > self.sndbuf - 32:
            raise LinuxError(errno.EMSGSIZE)
        self.raise_error()
        if self.wmem >= self.sndbuf:
            raise LinuxError(errno.EAGAIN)
        if self.shut & SEND_SHUTDOWN:
            raise LinuxError(errno.EPIPE)
        if not self._may_send(other):
            raise LinuxError(errno.EPERM)
        if other.dead:
            self._peer_is_gone(other)
        if other.shut & RCV_SHUTDOWN:
            raise LinuxError(errno.EPIPE)
        if other.kind != self.kind:
            raise LinuxError(errno.EPROTOTYPE)
        if other.peer is not self and len(other.received) > other.backlog:
            other.waiting[self] = None
            raise LinuxError(errno.EAGAIN)
        frags = size - SKB_MAX_ALLOC + 4095 & ~4095 if size > SKB_MAX_ALLOC else 0
        files, message.files = message.files, []
        truesize = skb_truesize(size - frags, frags)
        self._queue(other, memoryview(message.data), truesize, message, files)
        return size

    def _peer_is_gone(self, other: UnixSock) -> None:
        if self.kind != SOCK_DGRAM:
            raise LinuxError(errno.EPIPE)
        if self.peer is other:
            self.peer, self.connected = None, False
            self._drop_received()
        raise LinuxError(errno.ECONNREFUSED)

    def _may_send(self, other: UnixSock) -> bool:
        return other.peer is None or other.peer is self

    def _queue(
        self,
        other: UnixSock,
        data: memoryview,
        truesize: int,
        message: Message,
        files: list[OpenFile],
    ) -> None:
        creds = message.creds or self.net.current()
        for file in files:
            if isinstance(file, UnixSock):
                unix_inflight(self.net, file)
        other.received.append(Skb(data, self, truesize, creds, files))
        self.wmem += truesize
        other.wake(READABLE)

    def recvmsg(self, count: int, flags: int) -> Received:
        """Bytes of a stream, or one message, of which what exceeds ``count`` is lost."""
        if flags & MSG_OOB:
            raise LinuxError(errno.EOPNOTSUPP)
        if self.kind == SOCK_STREAM:
            if not self.connected:
                raise LinuxError(errno.EINVAL)
            return self._receive_stream(count, flags)
        if self.kind != SOCK_DGRAM and not self.connected:
            raise LinuxError(errno.ENOTCONN)
        return self._receive_message(count, flags)

    def _nothing(self) -> Received:
        self.raise_error()
        if self.shut & RCV_SHUTDOWN:
            return Received(b"")
        raise LinuxError(errno.EAGAIN)

    def _receive_message(self, count: int, flags: int) -> Received:
        if not self.received:
            return self._nothing()
        skb = self.received[0]
        files = skb.files
        if flags & MSG_PEEK:
            files = _one_user_more(files)
        else:
            self.received.popleft()
            _detach(skb)
            self._freed(skb)
        size = len(skb.data)
        told = MSG_TRUNC if size > count else 0
        name = skb.sender.getsockname() if skb.sender.name else b""
        return Received(bytes(skb.data[:count]), name, told, size, skb.creds, files)

    def _receive_stream(self, count: int, flags: int) -> Received:
        if not self.received:
            return self._nothing()
        if not count:
            return Received(b"")
        parts: list[memoryview] = []
        files: list[OpenFile] = []
        creds: Ucred | None = None
        peek, left, place = bool(flags & MSG_PEEK), count, 0
        sender = self.received[0].sender
        while left and place < len(self.received):
            skb = self.received[place]
            if creds is not None and self.passes_credentials and skb.creds != creds:
                break
            creds = creds or skb.creds
            parts.append(skb.data[:left])
            left -= len(parts[-1])
            had_files = bool(skb.files)
            if peek:
                files += _one_user_more(skb.files)
                place += 1
            else:
                files += skb.files
                _detach(skb)
                skb.data = skb.data[len(parts[-1]) :]
                if skb.data:
                    break
                self.received.popleft()
                self._freed(skb)
            if had_files:
                break
        data = b"".join(parts)
        name = sender.getsockname() if sender.name else b""
        return Received(data, name, 0, len(data), creds, files)

    @property
    def passes_credentials(self) -> bool:
        """SO_PASSCRED, SO_PASSPIDFD."""
        return bool(self.options.get((1, 16)) or self.options.get((1, 76)))

    def _freed(self, skb: Skb) -> None:
        """What lay here is gone: its sender has room again (sock_wfree())."""
        sender = skb.sender
        sender.wmem -= skb.truesize
        if not sender.dead and sender.wmem << 2 <= sender.sndbuf:
            sender.wake(WRITABLE)
        if self.waiting:
            self._wake_waiting()

    def unread(self, data: bytes) -> None:
        """Put back what was read last of a stream."""
        if data and self.kind == SOCK_STREAM and self.peer is not None:
            self.received.appendleft(Skb(memoryview(data), self.peer, 0, self.net.current(), []))

    # State.

    def poll(self) -> int:
        """unix_poll(), unix_dgram_poll()."""
        events = POLLERR if self.error else 0
        if self.shut == SHUTDOWN_MASK:
            events |= POLLHUP
        if self.shut & RCV_SHUTDOWN:
            events |= POLLRDHUP | READABLE
        if self.received or self.embryos:
            events |= READABLE
        if self.kind != SOCK_DGRAM and not self.connected and not self.accepts:
            events |= POLLHUP
        if self._is_writable():
            events |= WRITABLE
        return events

    def _is_writable(self) -> bool:
        if self.accepts or self.wmem << 2 > self.sndbuf:
            return False
        peer = self.peer
        if self.kind != SOCK_DGRAM or peer is None or peer.peer is self or peer.dead:
            return True
        if len(peer.received) <= peer.backlog:
            return True
        peer.waiting[self] = None
        return False

    def nr_readable(self) -> int:
        """ioctl(FIONREAD): bytes that wait; of datagrams, of the first."""
        if self.accepts:
            raise LinuxError(errno.EINVAL)
        if self.kind == SOCK_DGRAM:
            return len(self.received[0].data) if self.received else 0
        return sum(len(skb.data) for skb in self.received)

    def shutdown(self, how: int) -> None:
        """unix_shutdown(): the peer of a stream hears of it."""
        self.shut |= how
        peer = self.peer
        if peer is not None and self.kind != SOCK_DGRAM:
            if how & SEND_SHUTDOWN:
                peer.shut |= RCV_SHUTDOWN
            if how & RCV_SHUTDOWN:
                peer.shut |= SEND_SHUTDOWN
            peer.wake(EVENTS)
        self.wake(EVENTS)

    def close(self) -> None:
        """The peer reads what was sent, then the end; an error if this end did not read all."""
        self._release(embryo=False)
        unix_gc(self.net)

    def _release(self, *, embryo: bool) -> None:
        self.dead, self.shut = True, SHUTDOWN_MASK
        self.net.unix_sockets.pop(self, None)
        if self.key is not None:
            del self.net.unix_names[self.key]
        peer = self.peer
        if peer is not None and self.kind != SOCK_DGRAM:
            peer.shut = SHUTDOWN_MASK
            if self.received or embryo:
                peer.error = errno.ECONNRESET
            peer.wake(EVENTS)
        self._drop_received()
        while self.embryos:
            self.embryos.popleft()._release(embryo=True)
        self._wake_waiting()

    def _drop_received(self) -> None:
        while self.received:
            skb = self.received.popleft()
            _detach(skb, drop=True)
            self._freed(skb)

    def carried(self) -> Iterator[object]:
        """For unix_gc(): see Carrier."""
        for at in (self, *self.embryos):
            for skb in at.received:
                yield from skb.files

    def drop_lost(self) -> None:
        """For unix_gc(): see Carrier."""
        for at in (self, *self.embryos):
            at._drop_received()


def _one_user_more(files: list[OpenFile]) -> list[OpenFile]:
    for file in files:
        file.users += 1
    return list(files)


def _detach(skb: Skb, *, drop: bool = False) -> None:
    """Its files are on their way no more (unix_detach_fds())."""
    files, skb.files = skb.files, []
    for file in files:
        if isinstance(file, UnixSock):
            unix_notinflight(file.net, file)
        if drop:
            file.put()


def connect_pair(one: UnixSock, other: UnixSock) -> None:
    """Have the two be each other's peers."""
    one.peer, other.peer = other, one
    one.connected = other.connected = True
