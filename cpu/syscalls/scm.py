# SPDX-License-Identifier: GPL-2.0-or-later
"""Control messages: descriptors and credentials that go along (net/core/scm.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cpu.net.net import NOBODY, Ucred
from cpu.net.sock import MSG_CMSG_CLOEXEC, MSG_CTRUNC
from cpu.net.unix import UnixSock
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.net.sock import Message, Received, Sock
    from cpu.task import Task

SOL_SOCKET: Final = 1
SCM_RIGHTS, SCM_CREDENTIALS, SCM_SECURITY, SCM_PIDFD = 1, 2, 3, 4
SCM_MAX_FD: Final = 253
CMSG: Final = struct.Struct("<Qii")
UCRED: Final = struct.Struct("<iII")
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(level, type, data) of each; EINVAL if one does not fit."""
    place = 0
    while place + CMSG.size <= len(data):
        length, level, kind = CMSG.unpack_from(data, place)
        if length < CMSG.size or length > len(data) - place:
            raise LinuxError(errno.EINVAL)
        yield level, kind, data[place + CMSG.size : place + length]
        place += length + 7 & ~7


def scm_send(task: Task, sock: Sock, control: bytes, message: Message) -> None:
    """Put what the user wants to go along into the message; its files get a user more each."""
    if not isinstance(sock, UnixSock):
        for _ in _messages(control):
            pass
        return
    try:
        for level, kind, data in _messages(control):
            if level != SOL_SOCKET:
                continue
            if kind == SCM_RIGHTS:
                message.files += _files(task, data, len(message.files))
            elif kind == SCM_CREDENTIALS:
                message.creds = _credentials(task, data)
            else:
                raise LinuxError(errno.EINVAL)
    except LinuxError:
        scm_destroy(message.files)
        raise


def scm_destroy(files: list[OpenFile]) -> None:
    """Nobody gets them."""
    while files:
        files.pop().put()


def _files(task: Task, data: bytes, already: int) -> list[OpenFile]:
    numbers = struct.unpack_from(f"<{len(data) // 4}i", data)
    if already + len(numbers) > SCM_MAX_FD:
        raise LinuxError(errno.EINVAL)
    files = [task.files.get(fd) for fd in numbers]
    for file in files:
        file.users += 1
    return files


def _credentials(task: Task, data: bytes) -> Ucred:
    """scm_check_creds(): who they say they are, if they may."""
    if len(data) != UCRED.size:
        raise LinuxError(errno.EINVAL)
    creds, cred = Ucred(*UCRED.unpack(data)), task.cred
    if creds.pid != task.tgid and not cred.capable(CAP_SYS_ADMIN):
        raise LinuxError(errno.EPERM)
    if creds.uid not in (cred.uid, cred.euid, cred.suid) and not cred.capable(CAP_SETUID):
        raise LinuxError(errno.EPERM)
    if creds.gid not in (cred.gid, cred.egid, cred.sgid) and not cred.capable(CAP_SETGID):
        raise LinuxError(errno.EPERM)
    if creds.pid not in task.system.tasks:
        raise LinuxError(errno.ESRCH)
    return creds


def scm_recv(
    task: Task, sock: Sock, received: Received, addr: int, size: int, flags: int
) -> tuple[int, int]:
    """Write what has come along to the ``size`` bytes at ``addr``; returns how many were used, and
    MSG_CTRUNC if not all found room.
    """
    used = told = 0

    def put(level: int, kind: int, data: bytes) -> None:
        nonlocal used, told
        room = size - used
        if room < CMSG.size:
            told |= MSG_CTRUNC
            return
        length = CMSG.size + len(data)
        if length > room:
            told |= MSG_CTRUNC
            length = room
        record = CMSG.pack(length, level, kind) + data
        task.mm.copy_to_user(addr + used, record[:length])
        used += min(length + 7 & ~7, room)

    for level, kind, data in received.control:
        put(level, kind, data)
    if sock.options.get((SOL_SOCKET, 16)):
        put(SOL_SOCKET, SCM_CREDENTIALS, _pack(received.creds or NOBODY))
    if received.files:
        numbers = _install(task, received.files, size - used, flags)
        if received.files:
            told |= MSG_CTRUNC
            scm_destroy(received.files)
        if numbers:
            put(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"<{len(numbers)}i", *numbers))
    return used, told


def _pack(creds: Ucred) -> bytes:
    return UCRED.pack(creds.pid, creds.uid & U32, creds.gid & U32)


def _install(task: Task, files: list[OpenFile], room: int, flags: int) -> list[int]:
    """Give as many files a number as find room; they leave the list (scm_detach_fds())."""
    numbers: list[int] = []
    while files and len(numbers) < (room - CMSG.size) // 4:
        try:
            numbers.append(task.files.install(files[0], cloexec=bool(flags & MSG_CMSG_CLOEXEC)))
        except LinuxError:
            break
        files.pop(0).put()
    return numbers
