# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc/net: the sockets of the machine, and lo (net/ipv4/tcp_ipv4.c, udp.c, net/unix/af_unix.c,
net/core/net-procfs.c, v6.18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cpu.fs.pseudo_fs import Directory, TextFile
from cpu.net.addresses import ANY4, ANY6, Endpoint, words
from cpu.net.families import AF_INET, AF_INET6
from cpu.net.tcp import State
from cpu.net.unix import UnixSock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cpu.net.inet import InetSock
    from cpu.net.net import Net

TCP4_WIDTH, UDP4_WIDTH = 149, 127
_HEAD4: Final = (
    "local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
)
_HEAD6: Final = (
    "local_address                         remote_address                        st tx_queue"
    " rx_queue tr tm->when retrnsmt   uid  timeout inode"
)
_UNIX_HEAD: Final = "Num       RefCount Protocol Flags    Type St Inode Path\n"
SS_UNCONNECTED, SS_CONNECTED, SO_ACCEPTCON = 1, 3, 0x10000
_DEV: Final = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo\
 colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0\
     0       0          0
"""
_ROUTE: Final = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".ljust(127)
    + "\n"
)
_IF_INET6: Final = "00000000000000000000000000000001 01 80 10 80       lo\n"


def proc_net(net: Net) -> Directory:
    """The directory."""
    return Directory(
        {
            "dev": TextFile(lambda: _DEV),
            "if_inet6": TextFile(lambda: _IF_INET6),
            "route": TextFile(lambda: _ROUTE),
            "tcp": TextFile(lambda: tcp_text(net, AF_INET)),
            "tcp6": TextFile(lambda: tcp_text(net, AF_INET6)),
            "udp": TextFile(lambda: udp_text(net, AF_INET)),
            "udp6": TextFile(lambda: udp_text(net, AF_INET6)),
            "unix": TextFile(lambda: unix_text(net)),
        }
    )


def _ends(sock: InetSock) -> str:
    """Both ends, in hexadecimal."""
    nobody = Endpoint(ANY4 if sock.family == AF_INET else ANY6, 0)
    return f"{words(sock.family, sock.local)} {words(sock.family, sock.remote or nobody)}"


def _common(sock: InetSock, state: int) -> str:
    sent, received = sock.queues()
    return (
        f"{_ends(sock)} {state:02X} {sent:08X}:{received:08X} 00:00000000 00000000"
        f" {sock.uid:5d}        0 {sock.inode}"
    )


def _table(head: str, lines: Iterable[str], width: int) -> str:
    return "".join(line.ljust(width) + "\n" for line in (head, *lines))


def tcp_text(net: Net, family: int) -> str:
    """/proc/net/tcp, or tcp6: listeners first."""
    found = [sock for sock in net.tcp.sockets() if sock.family == family]
    found.sort(key=lambda sock: not sock.accepts)
    found = [sock for sock in found if sock.state is not State.CLOSE]
    lines = [
        f"{number:4d}: {_common(sock, sock.state)} 1 0000000000000000"
        + (" 100 0 0 10 0" if sock.accepts else " 20 4 30 10 -1")
        for number, sock in enumerate(found)
    ]
    if family == AF_INET6:
        return _table(f"  sl  {_HEAD6}", lines, 0)
    return _table(f"  sl  {_HEAD4}", lines, TCP4_WIDTH)


def udp_text(net: Net, family: int) -> str:
    """/proc/net/udp, or udp6."""
    lines = [
        f"{sock.local.port % 65536:5d}: "
        + _common(sock, State.CLOSE if sock.remote is None else State.ESTABLISHED)
        + " 2 0000000000000000 0"
        for sock in net.udp.sockets()
        if sock.family == family
    ]
    if family == AF_INET6:
        return _table(f"  sl  {_HEAD6} ref pointer drops", lines, 0)
    return _table(f"   sl  {_HEAD4} ref pointer drops", lines, UDP4_WIDTH)


def unix_text(net: Net) -> str:
    """/proc/net/unix."""
    lines = []
    for sock in net.unix_sockets:
        assert isinstance(sock, UnixSock)
        state = SS_CONNECTED if sock.connected else SS_UNCONNECTED
        name = sock.name.decode("utf-8", "surrogateescape")
        if name.startswith("\0"):
            name = "@" + name[1:].replace("\0", "@")
        line = (
            f"0000000000000000: {2 + sock.connected:08X} 00000000"
            f" {SO_ACCEPTCON if sock.accepts else 0:08X} {sock.kind:04X} {state:02X}"
            f" {sock.inode:5d}"
        )
        lines.append(f"{line} {name.rstrip(chr(0))}" if name else line)
    return _UNIX_HEAD + "".join(line + "\n" for line in lines)
