# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP inside the machine (net/ipv4/tcp.c, tcp_input.c, inet_connection_sock.c, v6.18).

There is no wire: what one end sends is at the other at once, a FIN or RST too. So a connection is
made while connect() is under way, unless the listener's queue is full; and states in which a
segment is on its way are never seen.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from cpu.fs.poll import POLLERR, POLLHUP, POLLRDHUP, READABLE, WRITABLE
from cpu.net.addresses import ANY4, ANY6, Endpoint, endpoint, reachable
from cpu.net.families import AF_INET, AF_UNSPEC
from cpu.net.inet import IPPROTO_TCP, InetSock
from cpu.net.sock import (
    EVENTS,
    MSG_OOB,
    MSG_PEEK,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_STREAM,
    Message,
    Received,
)
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.net.net import Net
    from cpu.net.ports import Ports

TCP_NODELAY, TCP_MAXSEG, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT = range(1, 7)
TCP_SYNCNT, TCP_LINGER2, TCP_DEFER_ACCEPT, TCP_WINDOW_CLAMP, TCP_INFO, TCP_QUICKACK = range(7, 13)
TCP_CONGESTION, TCP_USER_TIMEOUT, TCP_FASTOPEN = 13, 18, 23
_DEFAULTS: Final = {
    TCP_NODELAY: 0,
    TCP_MAXSEG: 536,
    TCP_CORK: 0,
    TCP_KEEPIDLE: 7200,
    TCP_KEEPINTVL: 75,
    TCP_KEEPCNT: 9,
    TCP_SYNCNT: 6,
    TCP_LINGER2: 60,
    TCP_DEFER_ACCEPT: 0,
    TCP_WINDOW_CLAMP: 0,
    TCP_QUICKACK: 1,
    TCP_USER_TIMEOUT: 0,
    TCP_FASTOPEN: 0,
}
_LIMITS: Final = {
    TCP_KEEPIDLE: (1, 32767),
    TCP_KEEPINTVL: (1, 32767),
    TCP_KEEPCNT: (1, 127),
    TCP_SYNCNT: (1, 127),
    TCP_MAXSEG: (88, 32767),
    TCP_USER_TIMEOUT: (0, 0x7FFFFFFF),
}
TCP_INFO_SIZE: Final = 248
LO_MSS: Final = 65483
SNDBUF, RCVBUF = 16384, 131_072
"""tcp_wmem[1], tcp_rmem[1]."""
LO_SNDBUF: Final = 2_626_560
"""SO_SNDBUF of a connection over lo."""


class State(IntEnum):
    """TCP_ESTABLISHED and its like."""

    ESTABLISHED = 1
    SYN_SENT = 2
    FIN_WAIT2 = 5
    CLOSE = 7
    CLOSE_WAIT = 8
    LISTEN = 10


class TcpSock(InetSock):
    """A struct tcp_sock."""

    protocol = IPPROTO_TCP

    def __init__(self, net: Net, family: int, flags: int) -> None:
        super().__init__(net, family, SOCK_STREAM, flags)
        self.state = State.CLOSE
        self.peer: TcpSock | None = None
        self.backlog = 0
        self.sndbuf, self.rcvbuf = SNDBUF, RCVBUF
        self._connecting = False
        """SS_CONNECTING: connect() was called, and has not said how it went."""
        self._done = False
        """SOCK_DONE: the peer's FIN was here."""
        self._no_space = False
        """SOCK_NOSPACE: somebody wants to hear when there is room."""
        self._embryos: deque[TcpSock] = deque()
        self._syn_queue: deque[TcpSock] = deque()
        """Who waits for the queue of connections to have room."""
        self._received: deque[memoryview] = deque()
        self._nr = 0
        """Bytes received that nobody has read."""
        self._autobound = False

    @property
    def ports(self) -> Ports[TcpSock]:
        """TCP's."""
        return self.net.tcp

    def bind(self, address: bytes) -> None:
        """A socket that is connected has its name."""
        if self.state is not State.CLOSE:
            raise LinuxError(errno.EINVAL)
        super().bind(address)

    # Connections.

    def connect(self, address: bytes, *, nonblock: bool) -> None:
        """inet_stream_connect()."""
        if len(address) < 2:
            raise LinuxError(errno.EINVAL)
        if address[:2] == struct.pack("<H", AF_UNSPEC):
            self._disconnect()
            return
        if self._connecting:
            if nonblock and self.state is State.SYN_SENT:
                raise LinuxError(errno.EALREADY)
        elif self.state is not State.CLOSE:
            raise LinuxError(errno.EISCONN)
        else:
            self._begin(endpoint(self.family, address, v6only=self.v6only))
            if nonblock:
                raise LinuxError(errno.EINPROGRESS)
        if self.state is State.SYN_SENT:
            raise LinuxError(errno.EAGAIN)
        self._connecting = False
        if self.state is State.CLOSE:
            error, self.error = self.error or errno.ECONNABORTED, 0
            self._unhash()
            raise LinuxError(error)

    def _begin(self, to: Endpoint) -> None:
        """tcp_v4_connect(): take a port, and send SYN."""
        ip = reachable(to.ip)
        if not self.local.port:
            self._autobound = True
            self.ports.bind(self, Endpoint(ip if self.local.wildcard else self.local.ip, 0))
        elif self.local.wildcard:
            self.local = self.local._replace(ip=ip)
        self.error = 0
        self.remote = Endpoint(ip, to.port)
        self.state, self._connecting = State.SYN_SENT, True
        self._send_syn()

    def _send_syn(self) -> None:
        """It reaches a listener, or nobody; one whose queue is full does not answer."""
        assert self.remote is not None
        listener = self._listener_at(self.remote)
        if listener is None:
            self._reset()
        elif len(listener._embryos) > listener.backlog:
            listener._syn_queue.append(self)
        else:
            listener._establish(self)

    def _listener_at(self, to: Endpoint) -> TcpSock | None:
        """Who listens there, most exactly; of several with SO_REUSEPORT one by the source's port
        (inet_lookup_listener()).
        """
        best, found = 0, []
        for sock in self.ports.bound(to.port):
            score = sock.takes(to) if sock.accepts else 0
            if score > best:
                best, found = score, [sock]
            elif score and score == best:
                found.append(sock)
        return found[self.local.port % len(found)] if found else None

    def _establish(self, client: TcpSock) -> None:
        """A new connection of this listener with ``client``."""
        assert client.remote is not None
        child = TcpSock(self.net, self.family, 0)
        child.options = dict(self.options)
        child.sndbuf, child.rcvbuf = self.sndbuf, self.rcvbuf
        child.rcvtimeo, child.sndtimeo, child.linger = self.rcvtimeo, self.sndtimeo, self.linger
        child.rcvlowat = self.rcvlowat
        child.local, child.remote = client.remote, client.local
        self.ports.share(child)
        child.peer, client.peer = client, child
        for sock in (child, client):
            sock.state = State.ESTABLISHED
            if sock.sndbuf == SNDBUF:
                sock.sndbuf = LO_SNDBUF
        self._embryos.append(child)
        self.wake(READABLE)
        client.wake(WRITABLE)

    def listen_for(self, backlog: int) -> None:
        """inet_listen(): without a name it gets a port."""
        if self.state not in (State.CLOSE, State.LISTEN) or self._connecting:
            raise LinuxError(errno.EINVAL)
        self.backlog = backlog
        if self.state is State.LISTEN:
            return
        self.autobind()
        self.accepts = True
        if self.ports.clashes(self, self.local):
            self.accepts = False
            raise LinuxError(errno.EADDRINUSE)
        self.state = State.LISTEN
        self.shut = 0

    def accept(self, flags: int) -> TcpSock:
        """The next connection (inet_csk_accept())."""
        if self.state is not State.LISTEN:
            raise LinuxError(errno.EINVAL)
        if not self._embryos:
            raise LinuxError(errno.EAGAIN)
        new = self._embryos.popleft()
        new.flags |= flags
        while self._syn_queue and len(self._embryos) <= self.backlog:
            self._establish(self._syn_queue.popleft())
        return new

    def _disconnect(self) -> None:
        """connect() with AF_UNSPEC: as if it were new (tcp_disconnect())."""
        if self.state is State.LISTEN:
            self._stop_listening()
        elif self.peer is not None:
            self.peer._reset()
        self._connecting = False
        self.state, self.error = State.CLOSE, 0
        self._unhash()
        self.wake(EVENTS)

    def _unhash(self) -> None:
        self.remote = self.peer = None
        self._received.clear()
        self._nr = self.shut = 0
        self._done = False
        if self._autobound:
            self.ports.unbind(self)
            self.local = Endpoint(ANY4 if self.family == AF_INET else ANY6, 0)
            self._autobound = False

    def _stop_listening(self) -> None:
        self.accepts = False
        for child in self._embryos:
            child._abort()
        self._embryos.clear()
        waiting, self._syn_queue = self._syn_queue, deque()
        for client in waiting:
            client._send_syn()

    # Data.

    def _sends(self) -> bool:
        return self.state in (State.ESTABLISHED, State.CLOSE_WAIT)

    def sendmsg(self, message: Message) -> int:
        """tcp_sendmsg(): as much as there is room for at both ends."""
        if message.flags & MSG_OOB:
            raise LinuxError(errno.EOPNOTSUPP)
        if self.state is State.SYN_SENT:
            raise LinuxError(errno.EAGAIN)
        if self.error or self.shut & SEND_SHUTDOWN or not self._sends():
            self.raise_error()
            raise LinuxError(errno.EPIPE)
        peer = self.peer
        assert peer is not None
        if peer.dead:
            if message.data:
                self._reset()
            return len(message.data)
        part = memoryview(message.data)[: self._room(peer)]
        if part:
            peer._received.append(part)
            peer._nr += len(part)
            peer.wake(READABLE)
        elif message.data:
            self._no_space = True
            raise LinuxError(errno.EAGAIN)
        return len(part)

    def _room(self, peer: TcpSock) -> int:
        return max(0, self.sndbuf + peer.rcvbuf - peer._nr)

    def _is_writable(self) -> bool:
        """Whether a third of the buffer is free (sk_stream_is_writeable())."""
        peer = self.peer
        unsent = 0 if peer is None else max(0, peer._nr - peer.rcvbuf)
        return self.sndbuf - unsent >= unsent >> 1

    def recvmsg(self, count: int, flags: int) -> Received:
        """tcp_recvmsg(): data first, then how it ended."""
        if flags & MSG_OOB:
            raise LinuxError(errno.EINVAL)
        if self.state is State.LISTEN:
            raise LinuxError(errno.ENOTCONN)
        if not self._nr:
            if self._done:
                return Received(b"")
            self.raise_error()
            if self.shut & RCV_SHUTDOWN:
                return Received(b"")
            if self.state is State.CLOSE:
                raise LinuxError(errno.ENOTCONN)
            if not count:
                return Received(b"")
            raise LinuxError(errno.EAGAIN)
        parts, left, place = [], count, 0
        while left and place < len(self._received):
            whole = self._received[place]
            part = whole[:left]
            parts.append(part)
            left -= len(part)
            if flags & MSG_PEEK:
                place += 1
            elif len(part) < len(whole):
                self._received[0] = whole[len(part) :]
            else:
                self._received.popleft()
        data = b"".join(parts)
        if not flags & MSG_PEEK:
            self._nr -= len(data)
            self._made_room()
        return Received(data, size=len(data))

    def _made_room(self) -> None:
        peer = self.peer
        if peer is not None and peer._no_space and peer._is_writable():
            peer._no_space = False
            peer.wake(WRITABLE)

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        if data:
            self._received.appendleft(memoryview(data))
            self._nr += len(data)

    # State.

    def poll(self) -> int:
        """tcp_poll()."""
        if self.state is State.LISTEN:
            return READABLE if self._embryos else 0
        events = POLLERR if self.error else 0
        if self.shut == SHUTDOWN_MASK or self.state is State.CLOSE:
            events |= POLLHUP
        if self.shut & RCV_SHUTDOWN:
            events |= POLLRDHUP | READABLE
        if self.state is State.SYN_SENT:
            return events
        if self._nr >= max(self.rcvlowat, 1):
            events |= READABLE
        if self.shut & SEND_SHUTDOWN or self._is_writable():
            events |= WRITABLE
        else:
            self._no_space = True
        return events

    def nr_readable(self) -> int:
        """ioctl(FIONREAD)."""
        if self.state is State.LISTEN:
            raise LinuxError(errno.EINVAL)
        return self._nr

    def queues(self) -> tuple[int, int]:
        """For /proc/net."""
        if self.state is State.LISTEN:
            return (0, len(self._embryos))
        return (self.nr_unsent(), self._nr)

    def nr_unsent(self) -> int:
        """ioctl(SIOCOUTQ): bytes that have not reached the peer's buffer."""
        if self.state is State.LISTEN:
            raise LinuxError(errno.EINVAL)
        return 0 if self.peer is None else max(0, self.peer._nr - self.peer.rcvbuf)

    def shutdown(self, how: int) -> None:
        """inet_shutdown(): a listener listens no more, a connection sends FIN."""
        state = self.state
        if state is State.LISTEN or state is State.SYN_SENT:
            if state is State.SYN_SENT or how & RCV_SHUTDOWN:
                self._disconnect()
            return
        self.shut |= how
        if how & SEND_SHUTDOWN:
            self._send_fin()
        self.wake(EVENTS)
        if state is State.CLOSE:
            raise LinuxError(errno.ENOTCONN)

    def _send_fin(self) -> None:
        """What this end sends is over; the connection, if what the other sends is too."""
        if self.state is State.ESTABLISHED:
            self.state = State.FIN_WAIT2
        elif self.state is State.CLOSE_WAIT:
            self._tcp_done()
        else:
            return
        if self.peer is not None:
            self.peer._receive_fin()

    def _receive_fin(self) -> None:
        """tcp_fin()."""
        self.shut |= RCV_SHUTDOWN
        self._done = True
        if self.state is State.ESTABLISHED:
            self.state = State.CLOSE_WAIT
        elif self.state is State.FIN_WAIT2:
            if not self.dead:
                self.ports.wait_time(self)
            self._tcp_done()
        self.wake(EVENTS)

    def _tcp_done(self) -> None:
        self.state, self.shut = State.CLOSE, SHUTDOWN_MASK

    def _reset(self) -> None:
        """RST has come (tcp_reset())."""
        if self.state is State.CLOSE:
            return
        self.error = {
            State.SYN_SENT: errno.ECONNREFUSED,
            State.CLOSE_WAIT: errno.EPIPE,
        }.get(self.state, errno.ECONNRESET)
        self._tcp_done()
        self.wake(EVENTS | POLLERR)

    def _abort(self) -> None:
        """Send RST, and be gone."""
        self.dead = True
        self._tcp_done()
        self.ports.unbind(self)
        if self.peer is not None:
            self.peer._reset()

    def close(self) -> None:
        """FIN, or RST if somebody did not read all, or wanted no lingering (tcp_close())."""
        state = self.state
        if state is State.LISTEN:
            self._stop_listening()
        elif state is State.SYN_SENT:
            assert self.remote is not None
            for sock in self.ports.bound(self.remote.port):
                if self in sock._syn_queue:
                    sock._syn_queue.remove(self)
        elif self._nr or self.linger == 0:
            self._abort()
        else:
            self.dead = True
            if state in (State.ESTABLISHED, State.FIN_WAIT2):
                self.ports.wait_time(self)
            self._send_fin()
        self.dead = True
        self.ports.unbind(self)

    # Options.

    def option_set(self, level: int, name: int, value: int) -> None:
        """TCP's own: kept and told; they change nothing where there is no wire."""
        if level != IPPROTO_TCP:
            super().option_set(level, name, value)
            return
        if name not in _DEFAULTS:
            raise LinuxError(errno.ENOPROTOOPT)
        low, high = _LIMITS.get(name, (-(1 << 31), (1 << 31) - 1))
        if not low <= value <= high and not (name == TCP_MAXSEG and not value):
            raise LinuxError(errno.EINVAL)
        if name in (TCP_NODELAY, TCP_CORK):
            value = int(bool(value))
        self.options[level, name] = value

    def option(self, level: int, name: int) -> bytes:
        """TCP's own."""
        if level != IPPROTO_TCP:
            return super().option(level, name)
        if name == TCP_CONGESTION:
            return b"cubic".ljust(16, b"\0")
        if name == TCP_INFO:
            return bytes([self.state]).ljust(TCP_INFO_SIZE, b"\0")
        if name == TCP_MAXSEG and self.peer is not None:
            return struct.pack("<i", LO_MSS)
        if name not in _DEFAULTS:
            raise LinuxError(errno.ENOPROTOOPT)
        return struct.pack("<i", self.options.get((level, name), _DEFAULTS[name]))
