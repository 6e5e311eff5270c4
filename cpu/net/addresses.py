# SPDX-License-Identifier: GPL-2.0-or-later
"""IP addresses and ports as they lie in struct sockaddr_in and sockaddr_in6; which are this
machine's.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, NamedTuple

from cpu.net.families import AF_INET, AF_INET6, AF_UNSPEC
from mmu.errors import LinuxError

SOCKADDR_IN, SOCKADDR_IN6 = 16, 28
SIN6_LEN_RFC2133: Final = 24
V4_MAPPED: Final = bytes(10) + b"\xff\xff"
ANY4: Final = bytes(4)
ANY6: Final = bytes(16)
LOOPBACK4: Final = b"\x7f\0\0\1"
LOOPBACK6: Final = bytes(15) + b"\1"


class Endpoint(NamedTuple):
    """An address, 4 or 16 bytes, and a port; 16 bytes never hold an IPv4 address."""

    ip: bytes = ANY4
    port: int = 0

    @property
    def wildcard(self) -> bool:
        """Whether it is every address."""
        return not any(self.ip)


def is_local(ip: bytes) -> bool:
    """Whether it is an address of this machine, or each of them."""
    if len(ip) == 4:
        return ip[0] == 127 or ip == ANY4
    return ip in (ANY6, LOOPBACK6)


def reachable(ip: bytes) -> bytes:
    """Where a packet to ``ip`` goes: to the machine itself; ENETUNREACH."""
    if not is_local(ip):
        raise LinuxError(errno.ENETUNREACH)
    if any(ip):
        return ip
    return LOOPBACK4 if len(ip) == 4 else LOOPBACK6


def plain(ip: bytes) -> bytes:
    """An IPv4 address that is mapped into IPv6 as itself."""
    return ip[12:] if len(ip) == 16 and ip.startswith(V4_MAPPED) else ip


def endpoint(family: int, address: bytes, *, v6only: bool = False) -> Endpoint:
    """What a struct sockaddr for a socket of that family says. EINVAL if it is too short,
    EAFNOSUPPORT if it is of another family.
    """
    if len(address) < (SOCKADDR_IN if family == AF_INET else 2):
        raise LinuxError(errno.EINVAL)
    (kind,) = struct.unpack_from("<H", address)
    if family == AF_INET:
        port, ip = struct.unpack_from(">H4s", address, 2)
        if kind not in (AF_INET, AF_UNSPEC) or (kind == AF_UNSPEC and any(ip)):
            raise LinuxError(errno.EAFNOSUPPORT)
        return Endpoint(ip, port)
    if kind == AF_INET and not v6only and len(address) >= SOCKADDR_IN:
        return endpoint(AF_INET, address)
    if kind != AF_INET6:
        raise LinuxError(errno.EAFNOSUPPORT)
    if len(address) < SIN6_LEN_RFC2133:
        raise LinuxError(errno.EINVAL)
    port, _, ip = struct.unpack_from(">HI16s", address, 2)
    if v6only and ip.startswith(V4_MAPPED):
        raise LinuxError(errno.ENETUNREACH)
    return Endpoint(plain(ip), port)


def sockaddr(family: int, at: Endpoint) -> bytes:
    """The struct sockaddr_in or sockaddr_in6 for a socket of that family."""
    if family == AF_INET:
        return struct.pack("<H", AF_INET) + struct.pack(">H4s8x", at.port, at.ip)
    ip = at.ip
    if len(ip) == 4:
        ip = V4_MAPPED + ip if any(ip) else ANY6
    return struct.pack("<H", AF_INET6) + struct.pack(">HI16s", at.port, 0, ip) + bytes(4)


def words(family: int, at: Endpoint) -> str:
    """For /proc/net: the address as 32-bit words of the machine's order, and the port."""
    ip = sockaddr(family, at)[4:8] if family == AF_INET else sockaddr(family, at)[8:24]
    numbers = struct.unpack(f"<{len(ip) // 4}I", ip)
    return "".join(f"{number:08X}" for number in numbers) + f":{at.port:04X}"
