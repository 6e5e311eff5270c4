# SPDX-License-Identifier: GPL-2.0-or-later
"""What fcntl(2) says of who hears of a file, of leases and of hints (fs/fcntl.c, v6.18).

No file sends SIGIO: an owner and a signal are kept and told, and that is all. No lease is given.
"""

from __future__ import annotations

import errno
import stat
import struct
from typing import TYPE_CHECKING, Final

from cpu.syscalls.registry import s32
from mmu.errors import LinuxError
from mmu.units import U32, U64

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task

F_SETOWN, F_GETOWN, F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX = 8, 9, 10, 11, 15, 16
F_SETLEASE, F_GETLEASE, F_NOTIFY, F_DUPFD_QUERY = 1024, 1025, 1026, 1027
_DN_EVENTS = U32 & ~(1 << 31)
"""All of F_NOTIFY's argument but DN_MULTISHOT: without one, it ends what was asked for before."""
F_GET_RW_HINT, F_SET_RW_HINT = 1035, 1036
F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP = 0, 1, 2
_NSIG: Final = 64
_RW_HINT_MAX: Final = 5
_RDLCK, _WRLCK, _UNLCK = 0, 1, 2


def fcntl_other(task: Task, file: OpenFile, command: int, argument: int) -> int:
    """The commands that are left; EINVAL for those that there are not."""
    if command in (F_SETOWN, F_SETOWN_EX):
        file.owner = _owner_of(task, command, argument)
        return 0
    if command == F_GETOWN:
        kind, number = file.owner
        return -number if kind == F_OWNER_PGRP else number
    if command == F_GETOWN_EX:
        task.mm.copy_to_user(argument, struct.pack("<ii", *file.owner))
        return 0
    if command == F_SETSIG:
        if argument > _NSIG:
            raise LinuxError(errno.EINVAL)
        file.signum = argument
        return 0
    if command == F_GETSIG:
        return file.signum
    if command == F_DUPFD_QUERY:
        return int(task.files.get(s32(argument)) is file)
    return _leases_and_hints(task, file, command, argument)


def _leases_and_hints(task: Task, file: OpenFile, command: int, argument: int) -> int:
    if command == F_GETLEASE:
        return _UNLCK
    if command == F_SETLEASE:
        wanted = argument & U32
        if not stat.S_ISREG(file.mode) or wanted not in (_RDLCK, _WRLCK, _UNLCK):
            raise LinuxError(errno.EINVAL)
        raise LinuxError(errno.EAGAIN)
    if command == F_NOTIFY and not argument & _DN_EVENTS:
        return 0
    if command == F_NOTIFY and not stat.S_ISDIR(file.mode):
        raise LinuxError(errno.ENOTDIR)
    if command == F_GET_RW_HINT:
        task.mm.copy_to_user(argument, struct.pack("<Q", file.rw_hint))
        return 0
    if command == F_SET_RW_HINT:
        (hint,) = struct.unpack("<Q", task.mm.copy_from_user(argument, 8))
        if hint > _RW_HINT_MAX:
            raise LinuxError(errno.EINVAL)
        file.rw_hint = hint
        return 0
    raise LinuxError(errno.EINVAL)


def _owner_of(task: Task, command: int, argument: int) -> tuple[int, int]:
    """F_OWNER_* and the number: ESRCH if there is nobody of it."""
    if command == F_SETOWN_EX:
        kind, number = struct.unpack("<ii", task.mm.copy_from_user(argument, 8))
        if kind not in (F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP):
            raise LinuxError(errno.EINVAL)
    else:
        kind, number = F_OWNER_PID, s32(argument & U64)
        if number == -(1 << 31):
            raise LinuxError(errno.EINVAL)
        if number < 0:
            kind, number = F_OWNER_PGRP, -number
    if number and not _is_there(task, kind, number):
        raise LinuxError(errno.ESRCH)
    return kind, number


def _is_there(task: Task, kind: int, number: int) -> bool:
    system = task.system
    if kind == F_OWNER_PGRP:
        return any(process.pgrp == number for process in system.alive())
    return number in system.tasks
