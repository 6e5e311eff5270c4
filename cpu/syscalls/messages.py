# SPDX-License-Identifier: GPL-2.0-or-later
"""Sending and receiving through sockets: sendto(), recvmsg() and their like (net/socket.c,
v6.18).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.fs.poll import READABLE
from cpu.net.sock import (
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    MSG_WAITFORONE,
    SOCK_DGRAM,
    SOCK_STREAM,
    Message,
    Received,
    Sock,
)
from cpu.net.unix import UnixSock
from cpu.net.unix_names import unix_name
from cpu.syscalls.clock import read_timespec
from cpu.syscalls.io import IOV_MAX, MAX_RW_COUNT, Vectors, blocking, iovecs, write_all
from cpu.syscalls.registry import s32, s64, syscall
from cpu.syscalls.scm import scm_destroy, scm_recv, scm_send
from cpu.syscalls.sockets import (
    SOCKADDR_STORAGE,
    find_unix,
    put_address,
    sock_of,
    user_address,
)
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

MSGHDR: Final = struct.Struct("<QI4xQQQQI4x")
MMSGHDR_SIZE: Final = 64
MSG_NAMELEN, MSG_CONTROLLEN, MSG_LEN = 8, 40, 56
"""Where these are in struct user_msghdr, and in struct mmsghdr."""
CONTROL_MAX: Final = 131_072
"""net.core.optmem_max."""


@dataclass
class _Header:
    """A struct user_msghdr at ``addr``."""

    addr: int
    name: int
    name_size: int
    vectors: Vectors
    control: int
    control_size: int


def _header(task: Task, addr: int) -> _Header:
    """copy_msghdr_from_user()."""
    fields = MSGHDR.unpack(task.mm.copy_from_user(addr, MSGHDR.size))
    name, name_size, iov, count, control, control_size, _ = fields
    if s32(name_size) < 0:
        raise LinuxError(errno.EINVAL)
    if not name:
        name_size = 0
    if s64(count) > IOV_MAX or count >> 63:
        raise LinuxError(errno.EMSGSIZE)
    return _Header(
        addr,
        name,
        min(name_size, SOCKADDR_STORAGE),
        iovecs(task, iov, count),
        control,
        control_size if control else 0,
    )


# Sending.


def _send(task: Task, sock: Sock, message: Message, flags: int) -> int:
    """Send it, waiting for room; EPIPE comes with SIGPIPE, of streams alone."""
    message.flags = flags
    to = _receiver(task, sock, message)

    def put(data: bytes) -> int:
        message.data = data
        if to is not None:
            assert isinstance(sock, UnixSock)
            return sock.send_to(to, message)
        return sock.sendmsg(message)

    try:
        return write_all(
            task,
            sock,
            message.data,
            nonblock=bool(flags & MSG_DONTWAIT),
            sigpipe=not flags & MSG_NOSIGNAL,
            write=put,
        )
    finally:
        scm_destroy(message.files)


def _receiver(task: Task, sock: Sock, message: Message) -> UnixSock | None:
    """Whom a datagram of AF_UNIX with an address goes to."""
    if not isinstance(sock, UnixSock) or sock.kind != SOCK_DGRAM:
        if isinstance(sock, UnixSock) and sock.kind != SOCK_STREAM:
            message.name = None
        return None
    if sock.passes_credentials:
        sock.autobind()
    if message.name is None:
        return None
    try:
        other = find_unix(task, sock, unix_name(message.name))
        if other is None:
            raise LinuxError(errno.ECONNREFUSED)
        if other.kind != sock.kind:
            raise LinuxError(errno.EPROTOTYPE)
    except LinuxError:
        scm_destroy(message.files)
        raise
    return other


@syscall("sendto")
def sys_sendto(
    task: Task, fd: int, addr: int, size: int, flags: int, name: int, name_size: int
) -> int:
    """sendto(2)."""
    sock = sock_of(task, fd)
    address = user_address(task, name, name_size) if name else None
    data = task.mm.copy_from_user(addr, min(size, MAX_RW_COUNT))
    return _send(task, sock, Message(data, address), s32(flags))


@syscall("sendmsg")
def sys_sendmsg(task: Task, fd: int, message: int, flags: int, *_: int) -> int:
    """sendmsg(2)."""
    return _sendmsg(task, sock_of(task, fd), message, s32(flags))


def _sendmsg(task: Task, sock: Sock, addr: int, flags: int) -> int:
    header = _header(task, addr)
    if header.control_size > CONTROL_MAX:
        raise LinuxError(errno.ENOBUFS)
    name = task.mm.copy_from_user(header.name, header.name_size) if header.name_size else None
    control = task.mm.copy_from_user(header.control, header.control_size)
    data = b"".join(task.mm.copy_from_user(base, length) for base, length in header.vectors)
    message = Message(data, name)
    scm_send(task, sock, control, message)
    return _send(task, sock, message, flags)


@syscall("sendmmsg")
def sys_sendmmsg(task: Task, fd: int, messages: int, count: int, flags: int, *_: int) -> int:
    """sendmmsg(2): how many were sent."""
    sock = sock_of(task, fd)
    done = 0
    for done in range(min(count & 0xFFFFFFFF, IOV_MAX)):
        at = messages + done * MMSGHDR_SIZE
        try:
            sent = _sendmsg(task, sock, at, s32(flags))
            task.mm.copy_to_user(at + MSG_LEN, struct.pack("<I", sent))
        except LinuxError:
            if done:
                return done
            raise
    return min(count & 0xFFFFFFFF, IOV_MAX)


# Receiving.


def _receive(task: Task, sock: Sock, wanted: int, flags: int) -> Received:
    """Wait for something, for all that is ``wanted`` of a stream with MSG_WAITALL."""
    nonblock, whole = bool(flags & MSG_DONTWAIT), Received(b"")
    waits = flags & MSG_WAITALL and sock.kind == SOCK_STREAM and not flags & MSG_PEEK
    parts: list[bytes] = []
    left = wanted
    while True:
        try:
            part = blocking(
                task,
                sock,
                READABLE,
                lambda: sock.recvmsg(left, flags),  # noqa: B023
                nonblock=nonblock,
            )
        except LinuxError:
            if parts:
                break
            raise
        if not parts:
            whole = part
        parts.append(part.data)
        left -= len(part.data)
        if not part.data or not left or not waits or part.files:
            break
    whole.data = b"".join(parts)
    return whole


def _result(received: Received, sock: Sock, flags: int) -> int:
    if flags & MSG_TRUNC and sock.kind != SOCK_STREAM:
        return received.size
    return len(received.data)


@syscall("recvfrom")
def sys_recvfrom(
    task: Task, fd: int, addr: int, size: int, flags: int, name: int, name_size: int
) -> int:
    """recvfrom(2)."""
    sock = sock_of(task, fd)
    received = _receive(task, sock, min(size, MAX_RW_COUNT), s32(flags))
    scm_destroy(received.files)
    task.mm.copy_to_user(addr, received.data)
    if name:
        put_address(task, received.name, name, name_size)
    return _result(received, sock, flags)


@syscall("recvmsg")
def sys_recvmsg(task: Task, fd: int, message: int, flags: int, *_: int) -> int:
    """recvmsg(2)."""
    return _recvmsg(task, sock_of(task, fd), message, s32(flags))


def _recvmsg(task: Task, sock: Sock, addr: int, flags: int) -> int:
    header = _header(task, addr)
    wanted = min(sum(length for _, length in header.vectors), MAX_RW_COUNT)
    received = _receive(task, sock, wanted, flags)
    try:
        done = 0
        for base, length in header.vectors:
            part = received.data[done : done + length]
            task.mm.copy_to_user(base, part)
            done += len(part)
        used, told = scm_recv(task, sock, received, header.control, header.control_size, flags)
    finally:
        scm_destroy(received.files)
    if header.name:
        put_address(task, received.name, header.name, addr + MSG_NAMELEN)
    told |= received.flags | flags & MSG_CMSG_CLOEXEC
    task.mm.copy_to_user(addr + MSG_CONTROLLEN, struct.pack("<QI", used, told))
    return _result(received, sock, flags)


@syscall("recvmmsg")
def sys_recvmmsg(
    task: Task, fd: int, messages: int, count: int, flags: int, timeout: int, *_: int
) -> int:
    """recvmmsg(2): how many came; the time is looked at between two."""
    sock, flags, done = sock_of(task, fd), s32(flags), 0
    deadline = None
    if timeout:
        deadline = task.system.clock.now_ns() + read_timespec(task, timeout)
    while done < min(count & 0xFFFFFFFF, IOV_MAX):
        at = messages + done * MMSGHDR_SIZE
        try:
            got = _recvmsg(task, sock, at, flags & ~MSG_WAITFORONE)
            task.mm.copy_to_user(at + MSG_LEN, struct.pack("<I", got))
        except LinuxError:
            if done:
                break
            raise
        done += 1
        if flags & MSG_WAITFORONE:
            flags |= MSG_DONTWAIT
        if deadline is not None and task.system.clock.now_ns() >= deadline:
            break
    return done
