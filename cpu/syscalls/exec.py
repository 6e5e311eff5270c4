# SPDX-License-Identifier: GPL-2.0-or-later
"""execve(2), execveat(2)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.binfmt_elf import MAX_ARG_STRLEN
from cpu.exec import do_execveat
from cpu.fs.namei import base_of
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.task import Task

PATH_MAX: Final = 4096
AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
AT_EXECVE_CHECK: Final = 0x10000
MAX_ARG_BYTES: Final = 8 << 20
"""More than any arguments may take: reading stops there."""


def _strings(task: Task, addr: int) -> list[bytes]:
    """The strings of an array of pointers that ends with 0 (copy_strings()); a null array is an
    empty one.
    """
    strings: list[bytes] = []
    size = 0
    while addr:
        (pointer,) = struct.unpack("<Q", task.mm.copy_from_user(addr, 8))
        if not pointer:
            break
        text = task.mm.strncpy_from_user(pointer, MAX_ARG_STRLEN)
        strings.append(text)
        size += len(text) + 9
        if len(text) == MAX_ARG_STRLEN or size > MAX_ARG_BYTES:
            raise LinuxError(errno.E2BIG)
        if task.fatal_signal_pending():
            raise LinuxError(errno.EINTR)
        addr += 8
    return strings


def _path(task: Task, addr: int) -> str:
    name = task.mm.strncpy_from_user(addr, PATH_MAX)
    if len(name) == PATH_MAX:
        raise LinuxError(errno.ENAMETOOLONG)
    return name.decode("utf-8", "surrogateescape")


@syscall("execve")
def sys_execve(task: Task, path: int, argv: int, envp: int, *_: int) -> int:
    """execve(2)."""
    name = _path(task, path)
    file = task.fs.open_exec(name)
    return _exec(task, file, name, argv, envp)


@syscall("execveat")
def sys_execveat(
    task: Task, dirfd: int, path: int, argv: int, envp: int, flags: int, *_: int
) -> int:
    """execveat(2)."""
    flags, dirfd = flags & U32, s32(dirfd)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_EXECVE_CHECK):
        raise LinuxError(errno.EINVAL)
    name = _path(task, path)
    if not name and not flags & AT_EMPTY_PATH:
        raise LinuxError(errno.ENOENT)
    base, shown = None, name
    if dirfd != AT_FDCWD and not name.startswith("/"):
        opened = task.files.get(dirfd)
        base = base_of(opened) if name else None
        shown = f"/dev/fd/{dirfd}/{name}" if name else f"/dev/fd/{dirfd}"
        if not name:
            file = task.fs.exec_file(opened)
            if flags & AT_EXECVE_CHECK:
                return 0
            return _exec(task, file, shown, argv, envp, by_fd=True)
    follow = not flags & AT_SYMLINK_NOFOLLOW
    file = task.fs.open_exec(name, base, follow=follow)
    if flags & AT_EXECVE_CHECK:
        file.close()
        return 0
    return _exec(task, file, shown, argv, envp)


def _exec(
    task: Task, file: OpenFile, name: str, argv: int, envp: int, *, by_fd: bool = False
) -> int:
    """The strings are the old program's: read before anything goes."""
    file.users += 1
    try:
        arguments, environment = _strings(task, argv), _strings(task, envp)
        do_execveat(task, file, name, arguments, environment, by_fd=by_fd)
    finally:
        file.put()
    return 0
