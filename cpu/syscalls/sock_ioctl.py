# SPDX-License-Identifier: GPL-2.0-or-later
"""ioctl() of sockets: what waits, and what interfaces there are: lo (net/core/dev_ioctl.c,
net/ipv4/devinet.c, v6.18).
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.net.addresses import LOOPBACK4
from cpu.net.families import AF_INET, AF_UNIX
from cpu.net.netlink import ARPHRD_LOOPBACK, LO_MTU
from cpu.net.sock import Sock
from cpu.net.tcp import TcpSock
from cpu.net.unix import UnixSock
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

SIOCOUTQ, SIOCATMARK = 0x5411, 0x8905
SIOCGIFNAME, SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFADDR = 0x8910, 0x8912, 0x8913, 0x8915
SIOCGIFDSTADDR, SIOCGIFBRDADDR, SIOCGIFNETMASK, SIOCGIFMETRIC = 0x8917, 0x8919, 0x891B, 0x891D
SIOCGIFMTU, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCGIFTXQLEN = 0x8921, 0x8927, 0x8933, 0x8942
IFREQ_SIZE: Final = 40
IFNAMSIZ: Final = 16
LO: Final = b"lo".ljust(IFNAMSIZ, b"\0")
IFF_UP_LOOPBACK_RUNNING: Final = 0x49


def sock_ioctl(task: Task, sock: Sock, request: int, argument: int) -> int:
    """ENOTTY for what there is not."""
    if request == SIOCOUTQ:
        task.mm.copy_to_user(argument, struct.pack("<i", _unsent(sock)))
    elif request == SIOCATMARK and isinstance(sock, TcpSock):
        task.mm.copy_to_user(argument, bytes(4))
    elif request == SIOCGIFCONF:
        _ifconf(task, argument)
    elif request == SIOCGIFNAME:
        (index,) = struct.unpack("<i", task.mm.copy_from_user(argument + IFNAMSIZ, 4))
        if index != 1:
            raise LinuxError(errno.ENODEV)
        task.mm.copy_to_user(argument, LO)
    else:
        answer = _ANSWERS.get(request)
        if answer is None:
            raise LinuxError(errno.ENOTTY)
        name = task.mm.copy_from_user(argument, IFREQ_SIZE)[:IFNAMSIZ].split(b"\0")[0]
        if name != b"lo":
            raise LinuxError(errno.ENODEV)
        task.mm.copy_to_user(argument + IFNAMSIZ, answer)
    return 0


def _unsent(sock: Sock) -> int:
    if isinstance(sock, TcpSock):
        return sock.nr_unsent()
    if isinstance(sock, UnixSock):
        return sock.wmem
    if sock.family == AF_UNIX:
        raise LinuxError(errno.ENOTTY)
    return 0


def _inet(ip: bytes) -> bytes:
    return struct.pack("<HH4s8x", AF_INET, 0, ip)


_ANSWERS: Final = {
    SIOCGIFFLAGS: struct.pack("<H", IFF_UP_LOOPBACK_RUNNING),
    SIOCGIFADDR: _inet(LOOPBACK4),
    SIOCGIFDSTADDR: _inet(LOOPBACK4),
    SIOCGIFBRDADDR: _inet(bytes(4)),
    SIOCGIFNETMASK: _inet(b"\xff\0\0\0"),
    SIOCGIFMETRIC: struct.pack("<i", 0),
    SIOCGIFMTU: struct.pack("<i", LO_MTU),
    SIOCGIFHWADDR: struct.pack("<H14x", ARPHRD_LOOPBACK),
    SIOCGIFINDEX: struct.pack("<i", 1),
    SIOCGIFTXQLEN: struct.pack("<i", 1000),
}
"""What lies behind the name in struct ifreq."""


def _ifconf(task: Task, addr: int) -> None:
    """struct ifconf: the interfaces that have an IPv4 address; without a buffer their size."""
    size, buffer = struct.unpack("<i4xQ", task.mm.copy_from_user(addr, 16))
    used = IFREQ_SIZE
    if buffer:
        used = IFREQ_SIZE if size >= IFREQ_SIZE else 0
        task.mm.copy_to_user(buffer, (LO + _inet(LOOPBACK4)).ljust(IFREQ_SIZE, b"\0")[:used])
    task.mm.copy_to_user(addr, struct.pack("<i", used))
