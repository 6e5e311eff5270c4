# SPDX-License-Identifier: GPL-2.0-or-later
"""System V IPC: thin over cpu.ipc."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from cpu.ipc.msg import MSGMAX, Message
from cpu.ipc.sem import read_sembufs
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

_SECOND = 10**9


@syscall("shmget")
def sys_shmget(task: Task, key: int, size: int, flags: int, *_: int) -> int:
    """shmget(2)."""
    return task.system.ipc.shm.shmget(task, s32(key), size, s32(flags))


@syscall("shmat")
def sys_shmat(task: Task, number: int, addr: int, flags: int, *_: int) -> int:
    """shmat(2)."""
    return task.system.ipc.shm.shmat(task, s32(number), addr, s32(flags))


@syscall("shmdt")
def sys_shmdt(task: Task, addr: int, *_: int) -> int:
    """shmdt(2)."""
    task.system.ipc.shm.shmdt(task, addr)
    return 0


@syscall("shmctl")
def sys_shmctl(task: Task, number: int, command: int, buffer: int, *_: int) -> int:
    """shmctl(2)."""
    if s32(number) < 0 or s32(command) < 0:
        raise LinuxError(errno.EINVAL)
    return task.system.ipc.shm.shmctl(task, s32(number), s32(command), buffer)


@syscall("semget")
def sys_semget(task: Task, key: int, nsems: int, flags: int, *_: int) -> int:
    """semget(2)."""
    return task.system.ipc.sem.semget(task, s32(key), s32(nsems), s32(flags))


@syscall("semop")
def sys_semop(task: Task, number: int, operations: int, count: int, *_: int) -> int:
    """semop(2)."""
    return _semtimedop(task, number, operations, count, None)


@syscall("semtimedop")
def sys_semtimedop(
    task: Task, number: int, operations: int, count: int, timeout: int, *_: int
) -> int:
    """semtimedop(2)."""
    wait = None
    if timeout:
        seconds, nanoseconds = struct.unpack("<qq", task.mm.copy_from_user(timeout, 16))
        if seconds < 0 or not 0 <= nanoseconds < _SECOND:
            raise LinuxError(errno.EINVAL)
        wait = seconds * _SECOND + nanoseconds
    return _semtimedop(task, number, operations, count, wait)


def _semtimedop(
    task: Task, number: int, operations: int, count: int, timeout_ns: int | None
) -> int:
    if s32(number) < 0:
        raise LinuxError(errno.EINVAL)
    wanted = read_sembufs(task, operations, count & 0xFFFFFFFF)
    return task.system.ipc.sem.semtimedop(task, s32(number), wanted, timeout_ns)


@syscall("semctl")
def sys_semctl(task: Task, number: int, semnum: int, command: int, arg: int, *_: int) -> int:
    """semctl(2)."""
    return task.system.ipc.sem.semctl(task, s32(number), s32(semnum), s32(command), arg)


@syscall("msgget")
def sys_msgget(task: Task, key: int, flags: int, *_: int) -> int:
    """msgget(2)."""
    return task.system.ipc.msg.msgget(task, s32(key), s32(flags))


@syscall("msgsnd")
def sys_msgsnd(task: Task, number: int, message: int, size: int, flags: int, *_: int) -> int:
    """msgsnd(2)."""
    (kind,) = struct.unpack("<q", task.mm.copy_from_user(message, 8))
    if size > MSGMAX:
        raise LinuxError(errno.EINVAL)
    data = task.mm.copy_from_user(message + 8, size) if size else b""
    return task.system.ipc.msg.msgsnd(task, s32(number), Message(kind, data), s32(flags))


@syscall("msgrcv")
def sys_msgrcv(
    task: Task, number: int, message: int, size: int, kind: int, flags: int, *_: int
) -> int:
    """msgrcv(2)."""
    got = task.system.ipc.msg.msgrcv(task, s32(number), size, s64(kind), s32(flags))
    task.mm.copy_to_user(message, struct.pack("<q", got.kind) + got.data)
    return len(got.data)


@syscall("msgctl")
def sys_msgctl(task: Task, number: int, command: int, buffer: int, *_: int) -> int:
    """msgctl(2)."""
    return task.system.ipc.msg.msgctl(task, s32(number), s32(command), buffer)
