# SPDX-License-Identifier: GPL-2.0-or-later
"""UDP inside the machine (net/ipv4/udp.c, net/ipv6/udp.c, v6.18).

A datagram goes at once to the socket that its address fits best. If there is none, a sender that is
connected hears ECONNREFUSED with its next call; if that one's SO_RCVBUF is full, it is lost.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from cpu.fs.poll import POLLERR, POLLHUP, POLLRDHUP, READABLE, WRITABLE
from cpu.net.addresses import ANY4, ANY6, Endpoint, endpoint, reachable, sockaddr
from cpu.net.families import AF_INET, AF_INET6, AF_UNSPEC
from cpu.net.inet import (
    IP_PKTINFO,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPPROTO_UDP,
    IPV6_RECVPKTINFO,
    InetSock,
)
from cpu.net.sock import (
    EVENTS,
    MSG_ERRQUEUE,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    RCV_SHUTDOWN,
    SEND_SHUTDOWN,
    SHUTDOWN_MASK,
    SOCK_DGRAM,
    Message,
    Received,
    skb_truesize,
)
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.net.net import Net
    from cpu.net.ports import Ports

UDP_MAX: Final = 65507
"""Bytes of the longest datagram over IPv4; 20 more over IPv6."""
UDP_CORK: Final = 1
IPV6_PKTINFO: Final = 50
LO_IFINDEX: Final = 1


class Datagram(NamedTuple):
    """What one call has sent: from where, to which address, and its bytes."""

    source: Endpoint
    to: Endpoint
    data: bytes
    truesize: int


class UdpSock(InetSock):
    """A struct udp_sock."""

    protocol = IPPROTO_UDP

    def __init__(self, net: Net, family: int, flags: int) -> None:
        super().__init__(net, family, SOCK_DGRAM, flags)
        self._received: deque[Datagram] = deque()
        self._rmem = 0

    @property
    def ports(self) -> Ports[UdpSock]:
        """UDP's."""
        return self.net.udp

    def connect(self, address: bytes, *, nonblock: bool) -> None:
        """Have one peer; with AF_UNSPEC none."""
        if len(address) < 2:
            raise LinuxError(errno.EINVAL)
        if address[:2] == struct.pack("<H", AF_UNSPEC):
            self._disconnect()
            return
        to = endpoint(self.family, address, v6only=self.v6only)
        ip = reachable(to.ip)
        if self.local.port and not self.local.wildcard and len(self.local.ip) != len(ip):
            raise LinuxError(errno.EINVAL)
        if self.local.wildcard:
            self._set_source(ip)
        self.autobind()
        self.remote = Endpoint(ip, to.port)

    def _set_source(self, ip: bytes) -> None:
        """What is sent to ``ip`` comes from the same address: all are this machine's."""
        if self.local.port:
            self.local = self.local._replace(ip=ip)
        else:
            self.ports.bind(self, Endpoint(ip, 0))

    def _disconnect(self) -> None:
        self.remote = None
        self.local = self.local._replace(ip=ANY4 if self.family == AF_INET else ANY6)

    def sendmsg(self, message: Message) -> int:
        """udp_sendmsg(): never waits."""
        if message.flags & MSG_OOB:
            raise LinuxError(errno.EOPNOTSUPP)
        self.raise_error()
        if message.name is None:
            if self.remote is None:
                raise LinuxError(errno.EDESTADDRREQ)
            to = self.remote
        else:
            to = endpoint(self.family, message.name, v6only=self.v6only)
            if not to.port:
                raise LinuxError(errno.EINVAL)
        if len(message.data) > UDP_MAX + (20 if len(to.ip) == 16 else 0):
            raise LinuxError(errno.EMSGSIZE)
        if self.shut & SEND_SHUTDOWN:
            raise LinuxError(errno.EPIPE)
        to = Endpoint(reachable(to.ip), to.port)
        self.autobind()
        source = self.local if not self.local.wildcard else self.local._replace(ip=to.ip)
        self._deliver(Datagram(source, to, message.data, skb_truesize(len(message.data) + 64)))
        return len(message.data)

    def _deliver(self, datagram: Datagram) -> None:
        receiver, best = None, 0
        for other in self.ports.bound(datagram.to.port):
            score = other.takes(datagram.to)
            if other.remote is not None:
                score = score + 4 if score and other.remote == datagram.source else 0
            if score > best or (score == best and score and not other.reuseport):
                receiver, best = other, score
        if receiver is None:
            if self.remote is not None:
                self.error = errno.ECONNREFUSED
                self.wake(POLLERR)
        elif receiver._rmem <= receiver.rcvbuf:
            receiver._received.append(datagram)
            receiver._rmem += datagram.truesize
            receiver.wake(READABLE)

    def recvmsg(self, count: int, flags: int) -> Received:
        """The next datagram, of which what exceeds ``count`` is lost."""
        if flags & MSG_ERRQUEUE:
            raise LinuxError(errno.EAGAIN)
        self.raise_error()
        if not self._received:
            if self.shut & RCV_SHUTDOWN:
                return Received(b"")
            raise LinuxError(errno.EAGAIN)
        datagram = self._received[0]
        if not flags & MSG_PEEK:
            self._received.popleft()
            self._rmem -= datagram.truesize
        size = len(datagram.data)
        return Received(
            datagram.data[:count],
            sockaddr(self.family, datagram.source),
            MSG_TRUNC if size > count else 0,
            size,
            control=self._control(datagram),
        )

    def _control(self, datagram: Datagram) -> list[tuple[int, int, bytes]]:
        """IP_PKTINFO, IPV6_PKTINFO: which address it was sent to."""
        ip, control = datagram.to.ip, []
        if self.options.get((IPPROTO_IP, IP_PKTINFO)) and len(ip) == 4:
            control.append((IPPROTO_IP, IP_PKTINFO, struct.pack("<i4s4s", LO_IFINDEX, ip, ip)))
        if self.options.get((IPPROTO_IPV6, IPV6_RECVPKTINFO)):
            whole = sockaddr(AF_INET6, datagram.to)[8:24]
            control.append((IPPROTO_IPV6, IPV6_PKTINFO, whole + struct.pack("<i", LO_IFINDEX)))
        return control

    def unread(self, data: bytes) -> None:
        """What found no place is lost."""

    def poll(self) -> int:
        """udp_poll()."""
        events = WRITABLE
        if self.error:
            events |= POLLERR
        if self.shut == SHUTDOWN_MASK:
            events |= POLLHUP
        if self.shut & RCV_SHUTDOWN:
            events |= POLLRDHUP | READABLE
        if self._received:
            events |= READABLE
        return events

    def nr_readable(self) -> int:
        """ioctl(FIONREAD): bytes of the first datagram."""
        return len(self._received[0].data) if self._received else 0

    def queues(self) -> tuple[int, int]:
        """For /proc/net."""
        return (0, self._rmem)

    def shutdown(self, how: int) -> None:
        """inet_shutdown(): it must be connected, and is shut nevertheless."""
        if self.remote is None:
            raise LinuxError(errno.ENOTCONN)
        self.shut |= how
        self.wake(EVENTS)

    def option_set(self, level: int, name: int, value: int) -> None:
        """UDP's own: UDP_CORK changes nothing here."""
        if level == IPPROTO_UDP:
            if name != UDP_CORK:
                raise LinuxError(errno.ENOPROTOOPT)
            self.options[level, name] = int(bool(value))
            return
        super().option_set(level, name, value)

    def option(self, level: int, name: int) -> bytes:
        """UDP's own."""
        if level == IPPROTO_UDP:
            if name != UDP_CORK:
                raise LinuxError(errno.ENOPROTOOPT)
            return struct.pack("<i", self.options.get((level, name), 0))
        return super().option(level, name)

    def close(self) -> None:
        """Its port is free."""
        self.dead = True
        self.ports.unbind(self)
