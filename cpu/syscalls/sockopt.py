# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of sockets: setsockopt(), getsockopt() (net/core/sock.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.net.families import AF_INET, AF_INET6, AF_UNIX
from cpu.net.inet import IPPROTO_TCP
from cpu.net.net import NOBODY, Ucred
from cpu.net.sock import WMEM_DEFAULT, Sock
from cpu.net.tcp import TCP_CONGESTION, TcpSock
from cpu.syscalls.registry import s32, syscall
from cpu.syscalls.sockets import sock_of
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.task import Task

SOL_SOCKET: Final = 1
SO_DEBUG, SO_REUSEADDR, SO_TYPE, SO_ERROR, SO_DONTROUTE, SO_BROADCAST = range(1, 7)
SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_OOBINLINE, SO_NO_CHECK, SO_PRIORITY = range(7, 13)
SO_LINGER, SO_BSDCOMPAT, SO_REUSEPORT, SO_PASSCRED, SO_PEERCRED, SO_RCVLOWAT = range(13, 19)
SO_SNDLOWAT, SO_RCVTIMEO, SO_SNDTIMEO = 19, 20, 21
SO_BINDTODEVICE, SO_TIMESTAMP, SO_ACCEPTCONN, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 25, 29, 30, 32, 33
SO_PASSSEC, SO_TIMESTAMPNS, SO_MARK, SO_PROTOCOL, SO_DOMAIN, SO_RXQ_OVFL = 34, 35, 36, 38, 39, 40
SO_PEEK_OFF, SO_BUSY_POLL, SO_INCOMING_CPU, SO_COOKIE, SO_ZEROCOPY = 42, 46, 49, 57, 60
SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW, SO_PASSPIDFD = 66, 67, 76
SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF = 4608, 2304
CAP_NET_ADMIN: Final = 12
SECOND: Final = 10**9
FLAGS: Final = frozenset(
    {
        SO_DEBUG,
        SO_REUSEADDR,
        SO_DONTROUTE,
        SO_BROADCAST,
        SO_KEEPALIVE,
        SO_OOBINLINE,
        SO_NO_CHECK,
        SO_REUSEPORT,
        SO_PASSCRED,
        SO_TIMESTAMP,
        SO_TIMESTAMPNS,
        SO_PASSSEC,
        SO_RXQ_OVFL,
        SO_PASSPIDFD,
        SO_ZEROCOPY,
    }
)
"""Options that are on or off."""
PRIVILEGED: Final = frozenset({SO_DEBUG, SO_MARK, SO_SNDBUFFORCE, SO_RCVBUFFORCE})
"""Those that take CAP_NET_ADMIN to be set."""


@syscall("setsockopt")
def sys_setsockopt(
    task: Task, fd: int, level: int, name: int, addr: int, size: int, *_: int
) -> int:
    """setsockopt(2)."""
    level, name, size = s32(level), s32(name), s32(size)
    if size < 0:
        raise LinuxError(errno.EINVAL)
    sock = sock_of(task, fd)
    value = task.mm.copy_from_user(addr, min(size, 256))
    if level == SOL_SOCKET:
        _set(task, sock, name, value)
    elif sock.family == AF_UNIX:
        raise LinuxError(errno.EOPNOTSUPP)
    elif isinstance(sock, TcpSock) and level == IPPROTO_TCP:
        _set_tcp(sock, name, value)
    elif len(value) < 4 and (level != 0 or not value):
        raise LinuxError(errno.EINVAL)
    else:
        number = struct.unpack_from("<i", value)[0] if len(value) >= 4 else value[0]
        sock.option_set(level, name, number)
    return 0


def _set_tcp(sock: TcpSock, name: int, value: bytes) -> None:
    if name == TCP_CONGESTION:
        if not value:
            raise LinuxError(errno.EINVAL)
        if value.split(b"\0")[0] not in (b"cubic", b"reno"):
            raise LinuxError(errno.ENOENT)
        return
    if len(value) < 4:
        raise LinuxError(errno.EINVAL)
    sock.option_set(IPPROTO_TCP, name, struct.unpack_from("<i", value)[0])


def _set(task: Task, sock: Sock, name: int, value: bytes) -> None:
    """sk_setsockopt()."""
    if name == SO_BINDTODEVICE:
        if value.split(b"\0")[0] not in (b"", b"lo"):
            raise LinuxError(errno.ENODEV)
        return
    if len(value) < 4:
        raise LinuxError(errno.EINVAL)
    (number,) = struct.unpack_from("<i", value)
    if name in PRIVILEGED and number and not task.cred.capable(CAP_NET_ADMIN):
        raise LinuxError(errno.EACCES if name == SO_DEBUG else errno.EPERM)
    if name == SO_REUSEPORT and number and sock.family not in (AF_INET, AF_INET6):
        raise LinuxError(errno.EOPNOTSUPP)
    if name in FLAGS:
        sock.options[SOL_SOCKET, name] = int(bool(number))
    elif name in (SO_SNDBUF, SO_SNDBUFFORCE):
        sock.sndbuf = _buffer(number, SOCK_MIN_SNDBUF)
        sock.wake()
    elif name in (SO_RCVBUF, SO_RCVBUFFORCE):
        sock.rcvbuf = _buffer(number, SOCK_MIN_RCVBUF)
    elif name == SO_PRIORITY:
        if not 0 <= number <= 6 and not task.cred.capable(CAP_NET_ADMIN):
            raise LinuxError(errno.EPERM)
        sock.options[SOL_SOCKET, name] = number
    elif name == SO_LINGER:
        if len(value) < 8:
            raise LinuxError(errno.EINVAL)
        seconds = struct.unpack_from("<i", value, 4)[0]
        sock.linger = seconds if number else None
    elif name == SO_RCVLOWAT:
        sock.rcvlowat = 0x7FFFFFFF if number < 0 else number or 1
    elif name in (SO_RCVTIMEO, SO_RCVTIMEO_NEW):
        sock.rcvtimeo = _timeout(value)
    elif name in (SO_SNDTIMEO, SO_SNDTIMEO_NEW):
        sock.sndtimeo = _timeout(value)
    elif name in (SO_MARK, SO_BUSY_POLL, SO_INCOMING_CPU, SO_PEEK_OFF):
        sock.options[SOL_SOCKET, name] = number
    elif name != SO_BSDCOMPAT:
        raise LinuxError(errno.ENOPROTOOPT)


def _buffer(wanted: int, least: int) -> int:
    """Twice what was asked, within bounds: half of it is for struct sk_buff."""
    return max(min(wanted & U32, WMEM_DEFAULT) * 2, least)


def _timeout(value: bytes) -> int | None:
    """Nanoseconds of a struct timeval; None: for ever."""
    if len(value) < 16:
        raise LinuxError(errno.EINVAL)
    seconds, microseconds = struct.unpack_from("<qq", value)
    if not 0 <= microseconds < 10**6:
        raise LinuxError(errno.EDOM)
    if seconds < 0:
        return 0
    return seconds * SECOND + microseconds * 1000 or None


@syscall("getsockopt")
def sys_getsockopt(
    task: Task, fd: int, level: int, name: int, addr: int, size: int, *_: int
) -> int:
    """getsockopt(2)."""
    sock, level, name = sock_of(task, fd), s32(level), s32(name)
    (room,) = struct.unpack("<i", task.mm.copy_from_user(size, 4))
    if room < 0:
        raise LinuxError(errno.EINVAL)
    if level == SOL_SOCKET:
        data = _get(sock, name)
    elif sock.family == AF_UNIX:
        raise LinuxError(errno.EOPNOTSUPP)
    else:
        data = sock.option(level, name)
    data = data[:room]
    task.mm.copy_to_user(addr, data)
    task.mm.copy_to_user(size, struct.pack("<i", len(data)))
    return 0


def _get(sock: Sock, name: int) -> bytes:
    """sk_getsockopt()."""
    if name in FLAGS or name in (SO_PRIORITY, SO_MARK, SO_BUSY_POLL):
        return _int(sock.options.get((SOL_SOCKET, name), 0))
    answer = _ANSWERS.get(name)
    if answer is None:
        raise LinuxError(errno.ENOPROTOOPT)
    return answer(sock)


def _int(value: int) -> bytes:
    return struct.pack("<i", value)


def _error(sock: Sock) -> bytes:
    error, sock.error = sock.error, 0
    return _int(error)


def _linger(sock: Sock) -> bytes:
    return struct.pack("<ii", sock.linger is not None, sock.linger or 0)


def _timeval(limit: int | None) -> bytes:
    seconds, rest = divmod(limit or 0, SECOND)
    return struct.pack("<qq", seconds, rest // 1000)


def _ucred(creds: Ucred) -> bytes:
    return struct.pack("<iII", creds.pid, creds.uid & U32, creds.gid & U32)


_ANSWERS: Final[dict[int, Callable[[Sock], bytes]]] = {
    SO_TYPE: lambda sock: _int(sock.kind),
    SO_ERROR: _error,
    SO_SNDBUF: lambda sock: _int(sock.sndbuf),
    SO_RCVBUF: lambda sock: _int(sock.rcvbuf),
    SO_LINGER: _linger,
    SO_BSDCOMPAT: lambda _: _int(0),
    SO_PEERCRED: lambda sock: _ucred(sock.peercred if sock.family == AF_UNIX else NOBODY),
    SO_RCVLOWAT: lambda sock: _int(sock.rcvlowat),
    SO_SNDLOWAT: lambda _: _int(1),
    SO_RCVTIMEO: lambda sock: _timeval(sock.rcvtimeo),
    SO_SNDTIMEO: lambda sock: _timeval(sock.sndtimeo),
    SO_RCVTIMEO_NEW: lambda sock: _timeval(sock.rcvtimeo),
    SO_SNDTIMEO_NEW: lambda sock: _timeval(sock.sndtimeo),
    SO_BINDTODEVICE: lambda _: b"",
    SO_ACCEPTCONN: lambda sock: _int(sock.accepts),
    SO_PROTOCOL: lambda sock: _int(sock.protocol),
    SO_DOMAIN: lambda sock: _int(sock.family),
    SO_PEEK_OFF: lambda sock: _int(sock.options.get((SOL_SOCKET, SO_PEEK_OFF), -1)),
    SO_INCOMING_CPU: lambda sock: _int(sock.options.get((SOL_SOCKET, SO_INCOMING_CPU), -1)),
    SO_COOKIE: lambda sock: struct.pack("<Q", sock.inode),
}
