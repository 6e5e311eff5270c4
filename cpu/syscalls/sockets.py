# SPDX-License-Identifier: GPL-2.0-or-later
"""Making sockets, naming and connecting them (net/socket.c, v6.18). Their network ends at the
machine; messages are in cpu.syscalls.messages, options in cpu.syscalls.sockopt.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_CLOEXEC, O_NONBLOCK
from cpu.fs.poll import READABLE, WRITABLE
from cpu.net.families import AF_INET, AF_INET6, AF_NETLINK, AF_UNIX
from cpu.net.netlink import NETLINK_ROUTE, NetlinkSock
from cpu.net.sock import (
    SHUTDOWN_MASK,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOMAXCONN,
    Sock,
)
from cpu.net.tcp import TcpSock
from cpu.net.udp import UdpSock
from cpu.net.unix import UnixSock
from cpu.net.unix_names import connect_by_name, make_pair, unix_name
from cpu.syscalls.io import blocking
from cpu.syscalls.pipes import install_pair
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

AF_PACKET, AF_MAX, SOCK_MAX = 17, 46, 11
SOCK_TYPE_MASK: Final = 0xF
IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6 = 1, 6, 17, 58
SOCKADDR_STORAGE: Final = 128
CAP_NET_RAW: Final = 13


def sock_of(task: Task, fd: int) -> Sock:
    """The socket; EBADF, ENOTSOCK."""
    file = task.files.get(s32(fd))
    if not isinstance(file, Sock):
        raise LinuxError(errno.ENOTSOCK)
    return file


def user_address(task: Task, addr: int, size: int) -> bytes:
    """The struct sockaddr at ``addr`` (move_addr_to_kernel())."""
    if not 0 <= s32(size) <= SOCKADDR_STORAGE:
        raise LinuxError(errno.EINVAL)
    return task.mm.copy_from_user(addr, s32(size)) if s32(size) else b""


def put_address(task: Task, name: bytes, addr: int, size: int) -> None:
    """Write ``name`` to ``addr``, as far as the room at ``size`` goes, and there its whole length
    (move_addr_to_user()).
    """
    (room,) = struct.unpack("<i", task.mm.copy_from_user(size, 4))
    if room < 0:
        raise LinuxError(errno.EINVAL)
    if name and room:
        task.mm.copy_to_user(addr, name[:room])
    task.mm.copy_to_user(size, struct.pack("<i", len(name)))


# Making.


def _flags(kind: int) -> int:
    flags = s32(kind) & ~SOCK_TYPE_MASK
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(errno.EINVAL)
    return flags


def _create(task: Task, family: int, kind: int, protocol: int, flags: int) -> Sock:
    """__sock_create()."""
    if not 0 <= family < AF_MAX:
        raise LinuxError(errno.EAFNOSUPPORT)
    if not 0 <= kind < SOCK_MAX:
        raise LinuxError(errno.EINVAL)
    net = task.system.net
    if family == AF_UNIX:
        return UnixSock(net, _unix_kind(kind, protocol), flags)
    if family in (AF_INET, AF_INET6):
        return _create_inet(task, family, kind, protocol, flags)
    if family == AF_NETLINK:
        if kind not in (SOCK_RAW, SOCK_DGRAM):
            raise LinuxError(errno.ESOCKTNOSUPPORT)
        if protocol != NETLINK_ROUTE:
            raise LinuxError(errno.EPROTONOSUPPORT)
        return NetlinkSock(net, kind, flags)
    raise LinuxError(errno.EPERM if family == AF_PACKET else errno.EAFNOSUPPORT)


def _unix_kind(kind: int, protocol: int) -> int:
    if protocol not in (0, AF_UNIX):
        raise LinuxError(errno.EPROTONOSUPPORT)
    if kind not in (SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET):
        raise LinuxError(errno.ESOCKTNOSUPPORT)
    return SOCK_DGRAM if kind == SOCK_RAW else kind


def _create_inet(task: Task, family: int, kind: int, protocol: int, flags: int) -> Sock:
    """inet_create(): TCP and UDP; nobody may have raw sockets, or ping."""
    net = task.system.net
    if kind == SOCK_STREAM and protocol in (0, IPPROTO_TCP):
        return TcpSock(net, family, flags)
    if kind == SOCK_DGRAM and protocol in (0, IPPROTO_UDP):
        return UdpSock(net, family, flags)
    if kind == SOCK_DGRAM and protocol == (IPPROTO_ICMP if family == AF_INET else IPPROTO_ICMPV6):
        raise LinuxError(errno.EACCES)
    if kind == SOCK_RAW:
        raise LinuxError(errno.EPROTONOSUPPORT if not protocol else errno.EPERM)
    known = kind in (SOCK_STREAM, SOCK_DGRAM)
    raise LinuxError(errno.EPROTONOSUPPORT if known else errno.ESOCKTNOSUPPORT)


@syscall("socket")
def sys_socket(task: Task, family: int, kind: int, protocol: int, *_: int) -> int:
    """socket(2)."""
    flags = _flags(kind)
    sock = _create(task, s32(family), s32(kind) & SOCK_TYPE_MASK, s32(protocol), flags)
    return task.files.install(sock, cloexec=bool(flags & O_CLOEXEC))


@syscall("socketpair")
def sys_socketpair(task: Task, family: int, kind: int, protocol: int, result: int, *_: int) -> int:
    """socketpair(2), of AF_UNIX."""
    flags = _flags(kind)
    kind = s32(kind) & SOCK_TYPE_MASK
    if s32(family) != AF_UNIX:
        _create(task, s32(family), kind, s32(protocol), flags).close()
        raise LinuxError(errno.EOPNOTSUPP)
    pair = make_pair(task.system.net, _unix_kind(kind, s32(protocol)), flags)
    return install_pair(task, result, pair, cloexec=bool(flags & O_CLOEXEC))


# Names and connections.


def find_unix(task: Task, sock: UnixSock, name: bytes) -> UnixSock | None:
    """Who has the name, an abstract one or a path; None: nobody, or what is there is no socket
    (unix_find_other()).
    """
    key = sock.key_of(name)
    if name[0]:
        key = task.fs.find_socket(name[:-1].decode("utf-8", "surrogateescape"))
    found = None if key is None else task.system.net.unix_names.get(key)
    assert found is None or isinstance(found, UnixSock)
    return found


def _bind_unix(task: Task, sock: UnixSock, address: bytes) -> None:
    if address == struct.pack("<H", AF_UNIX):
        sock.autobind()
        return
    name = unix_name(address)
    if sock.name:
        raise LinuxError(errno.EINVAL)
    if not name[0]:
        sock.bind_to(name, sock.key_of(name))
        return
    try:
        node = task.fs.bind_socket(name[:-1].decode("utf-8", "surrogateescape"))
    except LinuxError as error:
        raise LinuxError(errno.EADDRINUSE if error.errno == errno.EEXIST else error.errno) from None
    sock.bind_to(name, node)


@syscall("bind")
def sys_bind(task: Task, fd: int, addr: int, size: int, *_: int) -> int:
    """bind(2)."""
    sock, address = sock_of(task, fd), user_address(task, addr, size)
    if isinstance(sock, UnixSock):
        _bind_unix(task, sock, address)
    else:
        sock.bind(address)
    return 0


@syscall("connect")
def sys_connect(task: Task, fd: int, addr: int, size: int, *_: int) -> int:
    """connect(2)."""
    sock, address = sock_of(task, fd), user_address(task, addr, size)
    nonblock = bool(sock.flags & O_NONBLOCK)

    def connect() -> None:
        if isinstance(sock, UnixSock):
            connect_by_name(sock, address, lambda name: find_unix(task, sock, name))
        else:
            sock.connect(address, nonblock=nonblock)

    try:
        blocking(task, sock, WRITABLE, connect)
    except LinuxError as error:
        if error.errno == errno.EAGAIN and isinstance(sock, TcpSock):
            raise LinuxError(errno.EINPROGRESS) from None
        raise
    return 0


@syscall("listen")
def sys_listen(task: Task, fd: int, backlog: int, *_: int) -> int:
    """listen(2)."""
    sock_of(task, fd).listen_for(min(backlog & U32, SOMAXCONN))
    return 0


@syscall("accept")
def sys_accept(task: Task, fd: int, addr: int, size: int, *_: int) -> int:
    """accept(2)."""
    return sys_accept4(task, fd, addr, size, 0)


@syscall("accept4")
def sys_accept4(task: Task, fd: int, addr: int, size: int, flags: int, *_: int) -> int:
    """accept4(2)."""
    if flags & U32 & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(errno.EINVAL)
    sock = sock_of(task, fd)
    new = blocking(task, sock, READABLE, lambda: sock.accept(flags & O_NONBLOCK))
    new_fd = task.files.install(new, cloexec=bool(flags & O_CLOEXEC))
    if addr:
        try:
            put_address(task, new.getpeername(), addr, size)
        except LinuxError:
            task.files.close(new_fd)
            raise
    return new_fd


@syscall("getsockname")
def sys_getsockname(task: Task, fd: int, addr: int, size: int, *_: int) -> int:
    """getsockname(2)."""
    put_address(task, sock_of(task, fd).getsockname(), addr, size)
    return 0


@syscall("getpeername")
def sys_getpeername(task: Task, fd: int, addr: int, size: int, *_: int) -> int:
    """getpeername(2)."""
    put_address(task, sock_of(task, fd).getpeername(), addr, size)
    return 0


@syscall("shutdown")
def sys_shutdown(task: Task, fd: int, how: int, *_: int) -> int:
    """shutdown(2)."""
    sock, bits = sock_of(task, fd), s32(how) + 1
    if not 0 < bits <= SHUTDOWN_MASK:
        raise LinuxError(errno.EINVAL)
    sock.shutdown(bits)
    return 0
