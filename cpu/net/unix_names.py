# SPDX-License-Identifier: GPL-2.0-or-later
"""AF_UNIX: what a struct sockaddr_un names, and pairs that have no name (net/unix/af_unix.c,
v6.18).
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.net.families import AF_UNIX, AF_UNSPEC
from cpu.net.unix import UnixSock, connect_pair
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.net.net import Net

SUN_PATH: Final = 2
"""Where the name begins in struct sockaddr_un."""
SOCKADDR_UN: Final = 110


def make_pair(net: Net, kind: int, flags: int) -> tuple[UnixSock, UnixSock]:
    """socketpair(): two sockets connected with each other."""
    one, other = UnixSock(net, kind, flags), UnixSock(net, kind, flags)
    connect_pair(one, other)
    one.peercred = other.peercred = net.current()
    return one, other


def unix_name(address: bytes) -> bytes:
    """The name in a struct sockaddr_un: abstract ones with all their bytes, paths with one zero
    behind them (unix_validate_addr(), unix_mkname_bsd()). EINVAL.
    """
    if not SUN_PATH < len(address) <= SOCKADDR_UN or address[:2] != struct.pack("<H", AF_UNIX):
        raise LinuxError(errno.EINVAL)
    name = address[SUN_PATH:]
    return name if not name[0] else name.split(b"\0")[0] + b"\0"


def connect_by_name(
    sock: UnixSock, address: bytes, find: Callable[[bytes], UnixSock | None]
) -> None:
    """connect() to who has the name in ``address``; ``find`` finds it."""
    if len(address) < 2:
        raise LinuxError(errno.EINVAL)
    if address[:2] == struct.pack("<H", AF_UNSPEC):
        sock.disconnect()
        return
    name = unix_name(address)
    if sock.passes_credentials:
        sock.autobind()
    sock.connect_to(find(name))
