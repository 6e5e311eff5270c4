# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories: what they hold, and which one a task is in (fs/readdir.c, fs/d_path.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from cpu.cred import CAP_SYS_CHROOT
from cpu.fs.files import Dirent
from cpu.fs.namei import base_of
from cpu.syscalls.paths import user_path
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task


@syscall("getcwd")
def sys_getcwd(task: Task, buffer: int, size: int, *_: int) -> int:
    """getcwd(2), the kernel's form: returns the length with the final zero. ENOENT if the directory
    was removed.
    """
    pwd = task.fs.pwd
    if pwd.unhashed and not pwd.mounted:
        raise LinuxError(errno.ENOENT)
    path = task.fs.cwd.encode("utf-8", "surrogateescape") + b"\0"
    if len(path) > size:
        raise LinuxError(errno.ERANGE)
    task.mm.copy_to_user(buffer, path)
    return len(path)


@syscall("chdir")
def sys_chdir(task: Task, path: int, *_: int) -> int:
    """chdir(2)."""
    task.fs.chdir(user_path(task, path))
    return 0


@syscall("fchdir")
def sys_fchdir(task: Task, fd: int, *_: int) -> int:
    """fchdir(2)."""
    task.fs.set_pwd(base_of(task.files.get(s32(fd))))
    return 0


@syscall("chroot")
def sys_chroot(task: Task, path: int, *_: int) -> int:
    """chroot(2): of the tree that the guests see."""
    dentry = task.fs.lookup(user_path(task, path))
    task.fs.may_enter(dentry)
    if not task.cred.capable(CAP_SYS_CHROOT):
        raise LinuxError(errno.EPERM)
    task.fs.root = dentry
    return 0


@syscall("umask")
def sys_umask(task: Task, mask: int, *_: int) -> int:
    """umask(2)."""
    was, task.fs.umask = task.fs.umask, mask & 0o777
    return was


@syscall("getdents64")
def sys_getdents64(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    """getdents64(2)."""
    return _getdents(task, fd, buffer, size, _dirent64)


@syscall("getdents")
def sys_getdents(task: Task, fd: int, buffer: int, size: int, *_: int) -> int:
    """getdents(2)."""
    return _getdents(task, fd, buffer, size, _dirent)


def _getdents(
    task: Task, fd: int, buffer: int, size: int, pack: Callable[[Dirent, int], bytes]
) -> int:
    directory, room = task.files.get(s32(fd)), size & U32
    records = bytearray()
    for entry in directory.entries():
        record = pack(entry, directory.position)
        if len(records) + len(record) > room:
            directory.position -= 1
            if not records:
                raise LinuxError(errno.EINVAL)
            break
        records += record
    task.mm.copy_to_user(buffer, bytes(records))
    return len(records)


def _dirent64(entry: Dirent, following: int) -> bytes:
    """struct linux_dirent64; ``following`` is where the next one is."""
    name = entry.name.encode("utf-8", "surrogateescape")
    length = 19 + len(name) + 1 + 7 & ~7
    head = struct.pack("<QqHB", entry.inode, following, length, entry.kind >> 12)
    return (head + name).ljust(length, b"\0")


def _dirent(entry: Dirent, following: int) -> bytes:
    """struct linux_dirent: the kind is in the last byte."""
    name = entry.name.encode("utf-8", "surrogateescape")
    length = 18 + len(name) + 2 + 7 & ~7
    head = struct.pack("<QqH", entry.inode, following, length)
    return (head + name).ljust(length - 1, b"\0") + bytes([entry.kind >> 12])
