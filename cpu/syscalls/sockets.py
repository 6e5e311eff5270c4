# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of sockets: socketpair(), send(), recv() (net/socket.c, v6.18); there is no network."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.files import O_CLOEXEC, O_NONBLOCK
from cpu.poll import READABLE
from cpu.sockets import SHUTDOWN_MASK, Kind, Socket, make_pair
from cpu.syscalls.io import MAX_RW_COUNT, blocking, write_all
from cpu.syscalls.pipes import install_pair
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_TYPE_MASK = 0xF
MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_NOSIGNAL = 0x2, 0x40, 0x100, 0x4000
SOL_SOCKET, SO_TYPE, SO_ERROR, SO_DOMAIN = 1, 3, 4, 39


@syscall("socket")
def sys_socket(_task: Task, *_: int) -> int:
    """socket(2): there is nobody to connect to."""
    raise LinuxError(errno.EAFNOSUPPORT)


@syscall("socketpair")
def sys_socketpair(task: Task, domain: int, kind: int, protocol: int, result: int, *_: int) -> int:
    """socketpair(2), of AF_UNIX."""
    flags = s32(kind) & ~SOCK_TYPE_MASK
    if flags & ~(O_CLOEXEC | O_NONBLOCK):
        raise LinuxError(errno.EINVAL)
    if s32(domain) in (AF_INET, AF_INET6):
        raise LinuxError(errno.EOPNOTSUPP)
    if s32(domain) != AF_UNIX:
        raise LinuxError(errno.EAFNOSUPPORT)
    if s32(protocol) not in (0, AF_UNIX):
        raise LinuxError(errno.EPROTONOSUPPORT)
    try:
        wanted = Kind(kind & SOCK_TYPE_MASK)
    except ValueError:
        raise LinuxError(errno.ESOCKTNOSUPPORT) from None
    system = task.system
    pair = make_pair(system.scheduler, wanted, (system.new_inode(), system.new_inode()), flags)
    return install_pair(task, result, pair, cloexec=bool(flags & O_CLOEXEC))


def _socket(task: Task, fd: int) -> Socket:
    file = task.files.get(s32(fd))
    if not isinstance(file, Socket):
        raise LinuxError(errno.ENOTSOCK)
    return file


@syscall("sendto")
def sys_sendto(
    task: Task, fd: int, addr: int, size: int, flags: int, name: int, _name_size: int
) -> int:
    """sendto(2), without an address: the sockets are connected."""
    socket = _socket(task, fd)
    if flags & U32 & ~(MSG_DONTWAIT | MSG_NOSIGNAL):
        raise LinuxError(errno.EOPNOTSUPP)
    if name:
        raise LinuxError(errno.EISCONN)
    data = task.mm.copy_from_user(addr, min(size, MAX_RW_COUNT))
    return write_all(
        task,
        socket,
        data,
        nonblock=bool(flags & MSG_DONTWAIT),
        sigpipe=not flags & MSG_NOSIGNAL,
    )


@syscall("recvfrom")
def sys_recvfrom(
    task: Task, fd: int, addr: int, size: int, flags: int, _name: int, name_size: int
) -> int:
    """recvfrom(2); the sender has no address."""
    socket = _socket(task, fd)
    if flags & U32 & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL):
        raise LinuxError(errno.EOPNOTSUPP)
    wanted, done = min(size, MAX_RW_COUNT), bytearray()
    peek, nonblock = bool(flags & MSG_PEEK), bool(flags & MSG_DONTWAIT)
    while True:
        left = wanted - len(done)
        try:
            part = blocking(
                task,
                socket,
                READABLE,
                lambda: socket.receive(left, peek=peek),  # noqa: B023
                nonblock=nonblock,
            )
        except LinuxError:
            if done:
                break
            raise
        done += part
        waits = flags & MSG_WAITALL and socket.kind is Kind.STREAM and not peek
        if not part or len(done) == wanted or not waits:
            break
    task.mm.copy_to_user(addr, bytes(done))
    if name_size:
        task.mm.copy_to_user(name_size, struct.pack("<i", 0))
    return len(done)


@syscall("shutdown")
def sys_shutdown(task: Task, fd: int, how: int, *_: int) -> int:
    """shutdown(2)."""
    socket, bits = _socket(task, fd), s32(how) + 1
    if not 0 < bits <= SHUTDOWN_MASK:
        raise LinuxError(errno.EINVAL)
    socket.shutdown(bits)
    return 0


@syscall("getsockopt")
def sys_getsockopt(
    task: Task, fd: int, level: int, name: int, value: int, size: int, *_: int
) -> int:
    """getsockopt(2): SO_TYPE, SO_ERROR, SO_DOMAIN."""
    socket = _socket(task, fd)
    (room,) = struct.unpack("<i", task.mm.copy_from_user(size, 4))
    if room < 0:
        raise LinuxError(errno.EINVAL)
    answers = {SO_TYPE: int(socket.kind), SO_ERROR: socket.error, SO_DOMAIN: AF_UNIX}
    if s32(level) != SOL_SOCKET or s32(name) not in answers:
        raise LinuxError(errno.ENOPROTOOPT)
    if s32(name) == SO_ERROR:
        socket.error = 0
    data = struct.pack("<i", answers[s32(name)])[:room]
    task.mm.copy_to_user(value, data)
    task.mm.copy_to_user(size, struct.pack("<i", len(data)))
    return 0
