# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs of sockets: socketpair(), send(), recv() (net/socket.c, v6.18); there is no network."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.fs.files import O_CLOEXEC, O_NONBLOCK
from cpu.fs.poll import READABLE
from cpu.net.sockets import SHUTDOWN_MASK, Kind, Socket, make_pair
from cpu.syscalls.io import MAX_RW_COUNT, Vectors, blocking, iovecs, write_all
from cpu.syscalls.pipes import install_pair
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_TYPE_MASK = 0xF
MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_NOSIGNAL = 0x2, 0x40, 0x100, 0x4000
MSG_TRUNC, MSG_CMSG_CLOEXEC = 0x20, 0x40000000
MSGHDR = struct.Struct("<QI4xQQQQI4x")
MSG_NAMELEN, MSG_CONTROLLEN = 8, 40
"""Where these are in struct user_msghdr."""
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
    data = _receive(task, _socket(task, fd), min(size, MAX_RW_COUNT), flags)
    task.mm.copy_to_user(addr, data)
    if name_size:
        task.mm.copy_to_user(name_size, struct.pack("<i", 0))
    return len(data)


def _receive(task: Task, socket: Socket, wanted: int, flags: int) -> bytes:
    """Wait for at least a byte, for all that is ``wanted`` with MSG_WAITALL."""
    if flags & U32 & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL | MSG_CMSG_CLOEXEC):
        raise LinuxError(errno.EOPNOTSUPP)
    done = bytearray()
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
    return bytes(done)


def _msghdr(task: Task, addr: int) -> tuple[int, Vectors, int]:
    """struct user_msghdr: the name, the vectors, bytes of control data."""
    header = task.mm.copy_from_user(addr, MSGHDR.size)
    name, _, iov, nr, _, control, _ = MSGHDR.unpack(header)
    return name, iovecs(task, iov, nr), control


@syscall("sendmsg")
def sys_sendmsg(task: Task, fd: int, message: int, flags: int, *_: int) -> int:
    """sendmsg(2), without an address; no descriptors are passed."""
    socket = _socket(task, fd)
    name, vectors, control = _msghdr(task, message)
    if control or flags & U32 & ~(MSG_DONTWAIT | MSG_NOSIGNAL):
        raise LinuxError(errno.EOPNOTSUPP)
    if name:
        raise LinuxError(errno.EISCONN)
    data = b"".join(task.mm.copy_from_user(base, length) for base, length in vectors)
    return write_all(
        task,
        socket,
        data,
        nonblock=bool(flags & MSG_DONTWAIT),
        sigpipe=not flags & MSG_NOSIGNAL,
    )


@syscall("recvmsg")
def sys_recvmsg(task: Task, fd: int, message: int, flags: int, *_: int) -> int:
    """recvmsg(2); the sender has no address, and no control data comes."""
    socket = _socket(task, fd)
    vectors = _msghdr(task, message)[1]
    wanted = min(sum(length for _, length in vectors), MAX_RW_COUNT)
    data = _receive(task, socket, wanted, flags)
    done = 0
    for base, length in vectors:
        part = data[done : done + length]
        task.mm.copy_to_user(base, part)
        done += len(part)
    told = MSG_TRUNC if socket.truncated else 0
    task.mm.copy_to_user(message + MSG_NAMELEN, struct.pack("<I", 0))
    task.mm.copy_to_user(message + MSG_CONTROLLEN, struct.pack("<QI", 0, told))
    return len(data)


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
