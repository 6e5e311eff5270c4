# SPDX-License-Identifier: GPL-2.0-or-later
"""What TCP and UDP have in common over IPv4 and IPv6 (net/ipv4/af_inet.c, net/ipv6/af_inet6.c,
v6.18): names, and options. There is one interface, lo; every other address is unreachable.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, Final

from cpu.net.addresses import ANY4, ANY6, Endpoint, endpoint, is_local, sockaddr
from cpu.net.families import AF_INET, AF_INET6
from cpu.net.ports import IP_UNPRIVILEGED_PORT_START
from cpu.net.sock import Sock
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.net.net import Net
    from cpu.net.ports import Ports

SOL_SOCKET, SO_REUSEADDR, SO_REUSEPORT = 1, 2, 15
IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6 = 0, 6, 17, 41
IP_TOS, IP_TTL, IP_RECVOPTS, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVERR = 1, 2, 6, 8, 10, 11
IP_RECVTTL, IP_RECVTOS, IP_MTU, IP_FREEBIND, IP_TRANSPARENT = 12, 13, 14, 15, 19
IP_BIND_ADDRESS_NO_PORT, IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP = 24, 32, 33, 34
IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP, IP_MULTICAST_ALL, IP_LOCAL_PORT_RANGE = 35, 36, 49, 51
IPV6_UNICAST_HOPS, IPV6_MULTICAST_IF, IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP = 16, 17, 18, 19
IPV6_JOIN_GROUP, IPV6_LEAVE_GROUP, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 20, 21, 23, 24, 25
IPV6_V6ONLY, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, IPV6_TCLASS = 26, 49, 51, 66, 67
LO_MTU: Final = 65536
_DEFAULTS: Final = {
    (IPPROTO_IP, IP_TOS): 0,
    (IPPROTO_IP, IP_TTL): 64,
    (IPPROTO_IP, IP_RECVOPTS): 0,
    (IPPROTO_IP, IP_PKTINFO): 0,
    (IPPROTO_IP, IP_MTU_DISCOVER): 1,
    (IPPROTO_IP, IP_RECVERR): 0,
    (IPPROTO_IP, IP_RECVTTL): 0,
    (IPPROTO_IP, IP_RECVTOS): 0,
    (IPPROTO_IP, IP_FREEBIND): 0,
    (IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT): 0,
    (IPPROTO_IP, IP_MULTICAST_TTL): 1,
    (IPPROTO_IP, IP_MULTICAST_LOOP): 1,
    (IPPROTO_IP, IP_MULTICAST_ALL): 1,
    (IPPROTO_IPV6, IPV6_UNICAST_HOPS): 64,
    (IPPROTO_IPV6, IPV6_MULTICAST_HOPS): 1,
    (IPPROTO_IPV6, IPV6_MULTICAST_LOOP): 1,
    (IPPROTO_IPV6, IPV6_MTU_DISCOVER): 1,
    (IPPROTO_IPV6, IPV6_RECVERR): 0,
    (IPPROTO_IPV6, IPV6_V6ONLY): 0,
    (IPPROTO_IPV6, IPV6_RECVPKTINFO): 0,
    (IPPROTO_IPV6, IPV6_RECVHOPLIMIT): 0,
    (IPPROTO_IPV6, IPV6_RECVTCLASS): 0,
    (IPPROTO_IPV6, IPV6_TCLASS): 0,
}
_NO_INTERFACE: Final = {
    (IPPROTO_IP, IP_ADD_MEMBERSHIP),
    (IPPROTO_IP, IP_DROP_MEMBERSHIP),
    (IPPROTO_IPV6, IPV6_JOIN_GROUP),
    (IPPROTO_IPV6, IPV6_LEAVE_GROUP),
}
"""What needs an interface that can multicast: there is none."""


class InetSock(Sock):
    """A struct inet_sock. ``local`` and ``remote`` are its two ends; ``remote`` None: no peer."""

    def __init__(self, net: Net, family: int, kind: int, flags: int) -> None:
        super().__init__(net, kind, flags)
        self.family = family
        self.local = Endpoint(ANY4 if family == AF_INET else ANY6, 0)
        self.remote: Endpoint | None = None

    def queues(self) -> tuple[int, int]:
        """Bytes that were not sent, and that were not read; of a listener how many wait."""
        return (0, 0)

    @property
    def ports(self) -> Ports[Any]:
        """Those of its protocol."""
        raise NotImplementedError

    @property
    def listens(self) -> bool:
        """Whether it waits for connections."""
        return self.accepts

    @property
    def is_connection(self) -> bool:
        """Whether it is one of two ends."""
        return self.remote is not None

    @property
    def v6only(self) -> bool:
        """IPV6_V6ONLY."""
        return bool(self.options.get((IPPROTO_IPV6, IPV6_V6ONLY)))

    @property
    def reuse(self) -> bool:
        """SO_REUSEADDR."""
        return bool(self.options.get((SOL_SOCKET, SO_REUSEADDR)))

    @property
    def reuseport(self) -> bool:
        """SO_REUSEPORT."""
        return bool(self.options.get((SOL_SOCKET, SO_REUSEPORT)))

    def covers(self, at: Endpoint) -> tuple[bytes, ...]:
        """The addresses that packets for ``at`` have, of each length: of IPv6's wildcard IPv4's
        too.
        """
        if len(at.ip) == 16 and at.wildcard and not self.v6only:
            return (ANY6, ANY4)
        return (at.ip,)

    def takes(self, to: Endpoint) -> int:
        """How exactly what comes to ``to`` is for this socket: 0 not at all, 2 for its address."""
        if to.port != self.local.port:
            return 0
        best = 0
        for ip in self.covers(self.local):
            if len(ip) == len(to.ip) and ip == to.ip:
                best = 2
            elif len(ip) == len(to.ip) and not any(ip):
                best = max(best, 1)
        return best

    def bind(self, address: bytes) -> None:
        """inet_bind(), inet6_bind()."""
        at = endpoint(self.family, address, v6only=self.v6only)
        if not is_local(at.ip) and not self.options.get((IPPROTO_IP, IP_FREEBIND)):
            raise LinuxError(errno.EADDRNOTAVAIL)
        if 0 < at.port < IP_UNPRIVILEGED_PORT_START and self.net.current().uid:
            raise LinuxError(errno.EACCES)
        if self.local.port:
            raise LinuxError(errno.EINVAL)
        if self.family == AF_INET6 and len(at.ip) == 4 and at.wildcard:
            at = at._replace(ip=ANY4)
        self.ports.bind(self, at)

    def autobind(self, ip: bytes | None = None) -> None:
        """Have a port, of ``ip`` if that is given (inet_autobind())."""
        if not self.local.port:
            self.ports.bind(self, Endpoint(self.local.ip if ip is None else ip, 0))

    def getsockname(self) -> bytes:
        """Its own end."""
        return sockaddr(self.family, self.local)

    def getpeername(self) -> bytes:
        """The other end; ENOTCONN."""
        if self.remote is None:
            raise LinuxError(errno.ENOTCONN)
        return sockaddr(self.family, self.remote)

    def option_set(self, level: int, name: int, value: int) -> None:
        """ip_setsockopt(), ipv6_setsockopt(): kept and told."""
        key = (level, name)
        if key in _NO_INTERFACE:
            raise LinuxError(errno.ENODEV)
        if key not in _DEFAULTS or (level == IPPROTO_IPV6 and self.family == AF_INET):
            raise LinuxError(errno.ENOPROTOOPT)
        if key == (IPPROTO_IPV6, IPV6_V6ONLY):
            if self.local.port:
                raise LinuxError(errno.EINVAL)
            value = int(bool(value))
        if key == (IPPROTO_IP, IP_TTL) and not (value == -1 or 1 <= value <= 255):
            raise LinuxError(errno.EINVAL)
        self.options[key] = _DEFAULTS[key] if key == (IPPROTO_IP, IP_TTL) and value < 0 else value

    def option(self, level: int, name: int) -> bytes:
        """ip_getsockopt(), ipv6_getsockopt()."""
        key = (level, name)
        if key in ((IPPROTO_IP, IP_MTU), (IPPROTO_IPV6, IPV6_MTU)):
            if self.remote is None:
                raise LinuxError(errno.ENOTCONN)
            return struct.pack("<i", LO_MTU)
        if self.family == AF_INET and level != IPPROTO_IP:
            raise LinuxError(errno.EOPNOTSUPP)
        if key not in _DEFAULTS:
            raise LinuxError(errno.ENOPROTOOPT)
        return struct.pack("<i", self.options.get(key, _DEFAULTS[key]))
