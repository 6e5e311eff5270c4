# SPDX-License-Identifier: GPL-2.0-or-later
"""open(2) and its kin (fs/open.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_CLOEXEC, O_CREAT, O_PATH, O_TRUNC, O_WRONLY, OpenFile
from cpu.fs.open import O_PATH_FLAGS, O_TMPFILE_BIT, VALID_OPEN_FLAGS
from cpu.fs.walk import RESOLVE_BENEATH, RESOLVE_CACHED, RESOLVE_IN_ROOT
from cpu.syscalls.paths import base_at, path_at, user_path
from cpu.syscalls.registry import syscall
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

OPEN_HOW_SIZE: Final = 24
VALID_RESOLVE_FLAGS: Final = 0x3F
_MODE: Final = 0o7777


def _install(task: Task, file: OpenFile, flags: int) -> int:
    return task.files.install(file, cloexec=bool(flags & O_CLOEXEC))


@syscall("open")
def sys_open(task: Task, path: int, flags: int, mode: int, *_: int) -> int:
    """open(2)."""
    flags &= VALID_OPEN_FLAGS
    file = task.fs.open(user_path(task, path), flags, mode=mode & _MODE)
    return _install(task, file, flags)


@syscall("creat")
def sys_creat(task: Task, path: int, mode: int, *_: int) -> int:
    """creat(2)."""
    return sys_open(task, path, O_CREAT | O_WRONLY | O_TRUNC, mode)


@syscall("openat")
def sys_openat(task: Task, dirfd: int, path: int, flags: int, mode: int, *_: int) -> int:
    """openat(2)."""
    name, base = path_at(task, dirfd, path)
    flags &= VALID_OPEN_FLAGS
    return _install(task, task.fs.open(name, flags, base, mode=mode & _MODE), flags)


@syscall("openat2")
def sys_openat2(task: Task, dirfd: int, path: int, how: int, size: int, *_: int) -> int:
    """openat2(2)."""
    if size < OPEN_HOW_SIZE:
        raise LinuxError(errno.EINVAL)
    if size > 4096:
        raise LinuxError(errno.E2BIG)
    data = task.mm.copy_from_user(how, size)
    if any(data[OPEN_HOW_SIZE:]):
        raise LinuxError(errno.E2BIG)
    flags, mode, resolve = struct.unpack_from("<QQQ", data)
    _check_how(flags, mode, resolve)
    name, base = path_at(task, dirfd, path)
    if base is None and name.startswith("/") and resolve & RESOLVE_IN_ROOT:
        base = base_at(task, dirfd, ".")
    if resolve & RESOLVE_CACHED:
        raise LinuxError(errno.EAGAIN)
    file = task.fs.open(name, flags, base, mode=mode, resolve=resolve)
    return _install(task, file, flags)


def _check_how(flags: int, mode: int, resolve: int) -> None:
    """What openat2() refuses, and open() does not look at: EINVAL (build_open_flags())."""
    contradictory = RESOLVE_BENEATH | RESOLVE_IN_ROOT
    if (
        flags & ~VALID_OPEN_FLAGS
        or resolve & ~VALID_RESOLVE_FLAGS
        or resolve & contradictory == contradictory
        or mode & ~_MODE
        or (mode and not flags & (O_CREAT | O_TMPFILE_BIT))
        or (flags & O_PATH and flags & ~O_PATH_FLAGS)
        or (resolve & RESOLVE_CACHED and flags & (O_TRUNC | O_CREAT | O_TMPFILE_BIT))
    ):
        raise LinuxError(errno.EINVAL)
