# SPDX-License-Identifier: GPL-2.0-or-later
"""The paths of system calls: read from user memory, and where they start."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.fs.namei import base_of
from cpu.fs.node import Dentry
from cpu.syscalls.registry import s32
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.task import Task

PATH_MAX: Final = 4096
AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW = 0x100, 0x400
AT_EACCESS = AT_REMOVEDIR = 0x200
AT_NO_AUTOMOUNT: Final = 0x800
AT_EMPTY_PATH: Final = 0x1000


def user_path(task: Task, addr: int) -> str:
    """The path at ``addr``; ENAMETOOLONG, EFAULT."""
    name = task.mm.strncpy_from_user(addr, PATH_MAX)
    if len(name) == PATH_MAX:
        raise LinuxError(errno.ENAMETOOLONG)
    return name.decode("utf-8", "surrogateescape")


def path_at(task: Task, dirfd: int, addr: int) -> tuple[str, Dentry | None]:
    """The path at ``addr``, and the directory it starts from if that is not the working one; ENOENT
    for an empty one.
    """
    name = user_path(task, addr)
    if not name:
        raise LinuxError(errno.ENOENT)
    return name, base_at(task, dirfd, name)


def base_at(task: Task, dirfd: int, name: str) -> Dentry | None:
    """Where the path ``name`` starts; None: at the root or the working directory.
    EBADF, ENOTDIR.
    """
    if name.startswith("/") or s32(dirfd) == AT_FDCWD:
        return None
    return base_of(task.files.get(s32(dirfd)))


def lookup_at(task: Task, dirfd: int, addr: int, flags: int) -> Dentry | None:
    """What a path leads to, or with AT_EMPTY_PATH and none what ``dirfd`` stands for: None if that
    has no name in the tree (user_path_at()).
    """
    name = user_path(task, addr)
    if not name and flags & AT_EMPTY_PATH:
        if s32(dirfd) == AT_FDCWD:
            return task.fs.pwd
        dentry = task.files.get(s32(dirfd)).dentry
        return dentry if isinstance(dentry, Dentry) else None
    if not name:
        raise LinuxError(errno.ENOENT)
    follow = not flags & AT_SYMLINK_NOFOLLOW
    return task.fs.lookup(name, base_at(task, dirfd, name), follow=follow)
