# SPDX-License-Identifier: GPL-2.0-or-later
"""NETLINK_ROUTE as libraries ask it for interfaces and addresses (net/netlink/af_netlink.c,
net/core/rtnetlink.c, v6.18): there is lo.
"""

from __future__ import annotations

import errno
import struct
from collections import deque
from typing import TYPE_CHECKING, Final

from cpu.fs.poll import POLLERR, READABLE, WRITABLE
from cpu.net.addresses import LOOPBACK4, LOOPBACK6
from cpu.net.families import AF_INET, AF_INET6, AF_NETLINK, AF_UNSPEC
from cpu.net.sock import MSG_PEEK, MSG_TRUNC, Message, Received, Sock
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.net.net import Net

NETLINK_ROUTE: Final = 0
SOL_NETLINK: Final = 270
NLMSG_ERROR, NLMSG_DONE, NLMSG_MIN_TYPE = 2, 3, 16
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP = 1, 2, 4, 0x300
RTM_BASE, RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_GETROUTE = 16, 16, 18, 20, 22, 26
RTM_MAX: Final = 123
HEADER: Final = struct.Struct("<IHHII")
SOCKADDR_NL: Final = struct.Struct("<HHII")
IFNAME: Final = b"lo\0"
IFF_LO: Final = 0x10049
"""IFF_UP, IFF_LOOPBACK, IFF_RUNNING, IFF_LOWER_UP."""
LO_MTU: Final = 65536
ARPHRD_LOOPBACK: Final = 772


class NetlinkSock(Sock):
    """A struct netlink_sock of NETLINK_ROUTE."""

    family = AF_NETLINK
    protocol = NETLINK_ROUTE

    def __init__(self, net: Net, kind: int, flags: int) -> None:
        super().__init__(net, kind, flags)
        self._portid = self._groups = 0
        self._received: deque[bytes] = deque()

    def bind(self, address: bytes) -> None:
        """Take a number; 0: any."""
        portid, groups = _portid(address)
        if self._portid and portid != self._portid:
            raise LinuxError(errno.EINVAL)
        self._groups = groups
        self._portid = portid or self._portid
        self._autobind()

    def _autobind(self) -> None:
        if not self._portid:
            self.net.last_portid += 1
            pid = self.net.current().pid
            self._portid = pid if self.net.last_portid == 1 else 0xFFFFF000 - self.net.last_portid

    def connect(self, address: bytes, *, nonblock: bool) -> None:
        """To the kernel, who else."""
        if _portid(address)[0]:
            raise LinuxError(errno.ECONNREFUSED)
        self._autobind()

    def getsockname(self) -> bytes:
        """Its number, and groups."""
        return SOCKADDR_NL.pack(AF_NETLINK, 0, self._portid, self._groups)

    def getpeername(self) -> bytes:
        """The kernel."""
        return SOCKADDR_NL.pack(AF_NETLINK, 0, 0, 0)

    def sendmsg(self, message: Message) -> int:
        """Ask the kernel; the answers can be read at once."""
        if message.name is not None and _portid(message.name)[0]:
            raise LinuxError(errno.ECONNREFUSED)
        self._autobind()
        data = message.data
        while len(data) >= HEADER.size:
            length, kind, flags, seq, _ = HEADER.unpack_from(data)
            if length < HEADER.size or length > len(data):
                break
            self._answer(data[:length], kind, flags, seq)
            data = data[length + 3 & ~3 :]
        self.wake(READABLE)
        return len(message.data)

    def _answer(self, request: bytes, kind: int, flags: int, seq: int) -> None:
        if not flags & NLM_F_REQUEST or kind < NLMSG_MIN_TYPE:
            error = 0
        elif kind > RTM_MAX:
            error = errno.EOPNOTSUPP
        elif kind - RTM_BASE & 3 != 2:
            error = errno.EPERM
        elif kind in (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE) and (
            flags & NLM_F_DUMP or kind == RTM_GETLINK
        ):
            self._dump(request, kind, flags, seq)
            return
        else:
            error = errno.EOPNOTSUPP
        if error or flags & NLM_F_ACK:
            self._put(NLMSG_ERROR, 0, seq, struct.pack("<i", -error) + request)

    def _put(self, kind: int, flags: int, seq: int, body: bytes) -> None:
        self._received.append(self._message(kind, flags, seq, body))

    def _message(self, kind: int, flags: int, seq: int, body: bytes) -> bytes:
        length = HEADER.size + len(body)
        data = HEADER.pack(length, kind, flags, seq, self._portid) + body
        return data.ljust(length + 3 & ~3, b"\0")

    def _dump(self, request: bytes, kind: int, flags: int, seq: int) -> None:
        """Every entry in one message, then NLMSG_DONE."""
        family = request[HEADER.size] if len(request) > HEADER.size else AF_UNSPEC
        bodies: list[bytes] = []
        if kind == RTM_GETLINK:
            bodies = [_link()]
        elif kind == RTM_GETADDR:
            bodies = [_address(each) for each in (AF_INET, AF_INET6) if family in (0, each)]
        multi = NLM_F_MULTI if flags & NLM_F_DUMP else 0
        new = RTM_NEWLINK if kind == RTM_GETLINK else RTM_NEWADDR
        parts = [self._message(new, multi, seq, body) for body in bodies]
        if parts:
            self._received.append(b"".join(parts))
        if multi:
            self._put(NLMSG_DONE, multi, seq, struct.pack("<i", 0))

    def recvmsg(self, count: int, flags: int) -> Received:
        """The next answer."""
        self.raise_error()
        if not self._received:
            raise LinuxError(errno.EAGAIN)
        data = self._received[0] if flags & MSG_PEEK else self._received.popleft()
        told = MSG_TRUNC if len(data) > count else 0
        return Received(data[:count], self.getpeername(), told, len(data))

    def poll(self) -> int:
        """An answer waits."""
        return WRITABLE | (READABLE if self._received else 0) | (POLLERR if self.error else 0)

    def option_set(self, level: int, name: int, value: int) -> None:
        """Groups to hear of, and how much answers say: nothing changes here."""
        if level != SOL_NETLINK:
            raise LinuxError(errno.ENOPROTOOPT)
        self.options[level, name] = value

    def option(self, level: int, name: int) -> bytes:
        """What was set."""
        if level != SOL_NETLINK:
            raise LinuxError(errno.ENOPROTOOPT)
        return struct.pack("<i", self.options.get((level, name), 0))

    def close(self) -> None:
        """Nothing else knows it."""
        self.dead = True


def _portid(address: bytes) -> tuple[int, int]:
    if len(address) < SOCKADDR_NL.size:
        raise LinuxError(errno.EINVAL)
    family, _, portid, groups = SOCKADDR_NL.unpack_from(address)
    if family != AF_NETLINK:
        raise LinuxError(errno.EINVAL)
    return portid, groups


def _attribute(kind: int, data: bytes) -> bytes:
    length = 4 + len(data)
    return (struct.pack("<HH", length, kind) + data).ljust(length + 3 & ~3, b"\0")


IFLA_ADDRESS, IFLA_BROADCAST, IFLA_IFNAME, IFLA_MTU, IFLA_QDISC, IFLA_STATS = 1, 2, 3, 4, 6, 7
IFLA_TXQLEN, IFLA_OPERSTATE, IFLA_LINKMODE = 13, 16, 17
IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS = 1, 2, 3, 6, 8
IFA_F_PERMANENT: Final = 0x80
FOREVER: Final = 0xFFFFFFFF


def _link() -> bytes:
    """struct ifinfomsg of lo, and its attributes."""
    head = struct.pack("<BxHiII", AF_UNSPEC, ARPHRD_LOOPBACK, 1, IFF_LO, 0)
    return head + b"".join(
        (
            _attribute(IFLA_IFNAME, IFNAME),
            _attribute(IFLA_TXQLEN, struct.pack("<I", 1000)),
            _attribute(IFLA_OPERSTATE, b"\0"),
            _attribute(IFLA_LINKMODE, b"\0"),
            _attribute(IFLA_MTU, struct.pack("<I", LO_MTU)),
            _attribute(IFLA_QDISC, b"noqueue\0"),
            _attribute(IFLA_ADDRESS, bytes(6)),
            _attribute(IFLA_BROADCAST, bytes(6)),
            _attribute(IFLA_STATS, bytes(96)),
        )
    )


def _address(family: int) -> bytes:
    """struct ifaddrmsg of lo's address, and its attributes."""
    four = family == AF_INET
    head = struct.pack("<BBBBI", family, 8 if four else 128, IFA_F_PERMANENT, 254, 1)
    parts = [_attribute(IFA_ADDRESS, LOOPBACK4 if four else LOOPBACK6)]
    if four:
        parts += [_attribute(IFA_LOCAL, LOOPBACK4), _attribute(IFA_LABEL, IFNAME)]
    parts += [
        _attribute(IFA_CACHEINFO, struct.pack("<IIII", FOREVER, FOREVER, 0, 0)),
        _attribute(IFA_FLAGS, struct.pack("<I", IFA_F_PERMANENT)),
    ]
    return head + b"".join(parts)
