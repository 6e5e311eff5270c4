# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of files, changed: rights, owners, times, sizes (fs/open.c, fs/utimes.c, v6.18)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.fs.nameless import node_of
from cpu.fs.node import Change, Node
from cpu.fs.permission import MAY_WRITE, chmod_ok, chown_ok, inode_permission, utimes_ok
from cpu.syscalls.io import inode_newsize_ok
from cpu.syscalls.paths import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_SYMLINK_NOFOLLOW,
    lookup_at,
    user_path,
)
from cpu.syscalls.registry import s32, s64, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
_NS: Final = 1_000_000_000


def _node_at(task: Task, dirfd: int, path: int, flags: int) -> Node:
    dentry = lookup_at(task, dirfd, path, flags)
    return node_of(task.files.get(s32(dirfd))) if dentry is None else dentry.node


def _may_change(node: Node) -> None:
    """mnt_want_write(): EROFS."""
    if node.sb.read_only:
        raise LinuxError(errno.EROFS)


# Rights.


@syscall("chmod")
def sys_chmod(task: Task, path: int, mode: int, *_: int) -> int:
    """chmod(2)."""
    return _chmod(task, _node_at(task, AT_FDCWD, path, 0), mode)


@syscall("fchmod")
def sys_fchmod(task: Task, fd: int, mode: int, *_: int) -> int:
    """fchmod(2)."""
    return _chmod(task, node_of(task.files.not_path(s32(fd))), mode)


@syscall("fchmodat")
def sys_fchmodat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    """fchmodat(2), the kernel's: without flags."""
    return _chmod(task, _node_at(task, dirfd, path, 0), mode)


@syscall("fchmodat2")
def sys_fchmodat2(task: Task, dirfd: int, path: int, mode: int, flags: int, *_: int) -> int:
    """fchmodat2(2)."""
    flags &= U32
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(errno.EINVAL)
    return _chmod(task, _node_at(task, dirfd, path, flags), mode)


def _chmod(task: Task, node: Node, mode: int) -> int:
    _may_change(node)
    change = Change(mode=mode & 0o7777)
    if node.is_link:
        raise LinuxError(errno.EOPNOTSUPP)
    chmod_ok(node, change, task.cred)
    node.setattr(change)
    return 0


# Owners.


@syscall("chown")
def sys_chown(task: Task, path: int, uid: int, gid: int, *_: int) -> int:
    """chown(2)."""
    return _chown(task, _node_at(task, AT_FDCWD, path, 0), uid, gid)


@syscall("lchown")
def sys_lchown(task: Task, path: int, uid: int, gid: int, *_: int) -> int:
    """lchown(2)."""
    return _chown(task, _node_at(task, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW), uid, gid)


@syscall("fchown")
def sys_fchown(task: Task, fd: int, uid: int, gid: int, *_: int) -> int:
    """fchown(2)."""
    return _chown(task, node_of(task.files.not_path(s32(fd))), uid, gid)


@syscall("fchownat")
def sys_fchownat(task: Task, dirfd: int, path: int, uid: int, gid: int, flags: int, *_: int) -> int:
    """fchownat(2)."""
    flags &= U32
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(errno.EINVAL)
    return _chown(task, _node_at(task, dirfd, path, flags), uid, gid)


def _chown(task: Task, node: Node, uid: int, gid: int) -> int:
    _may_change(node)
    uid, gid = uid & U32, gid & U32
    change = Change(uid=None if uid == U32 else uid, gid=None if gid == U32 else gid)
    chown_ok(node, change, task.cred)
    node.setattr(change)
    return 0


# Times.


@syscall("utime")
def sys_utime(task: Task, path: int, times: int, *_: int) -> int:
    """utime(2)."""
    at = None
    if times:
        atime, mtime = struct.unpack("<qq", task.mm.copy_from_user(times, 16))
        at = atime * _NS, mtime * _NS
    return _utimes(task, _node_at(task, AT_FDCWD, path, 0), at)


@syscall("utimes")
def sys_utimes(task: Task, path: int, times: int, *_: int) -> int:
    """utimes(2)."""
    return sys_futimesat(task, AT_FDCWD, path, times)


@syscall("futimesat")
def sys_futimesat(task: Task, dirfd: int, path: int, times: int, *_: int) -> int:
    """futimesat(2); without a path of the descriptor."""
    at = None
    if times:
        atime, micros, mtime, micros2 = struct.unpack("<qqqq", task.mm.copy_from_user(times, 32))
        if not (0 <= micros < 1_000_000 and 0 <= micros2 < 1_000_000):
            raise LinuxError(errno.EINVAL)
        at = atime * _NS + micros * 1000, mtime * _NS + micros2 * 1000
    if not path and s32(dirfd) != AT_FDCWD:
        return _utimes(task, node_of(task.files.not_path(s32(dirfd))), at)
    return _utimes(task, _node_at(task, dirfd, path, 0), at)


@syscall("utimensat")
def sys_utimensat(task: Task, dirfd: int, path: int, times: int, flags: int, *_: int) -> int:
    """utimensat(2)."""
    flags &= U32
    at: tuple[int | None, int | None] | None = None
    now = False
    if times:
        words = struct.unpack("<qqqq", task.mm.copy_from_user(times, 32))
        for nsec in words[1::2]:
            if nsec not in (UTIME_NOW, UTIME_OMIT) and not 0 <= nsec < _NS:
                raise LinuxError(errno.EINVAL)
        if words[1] == words[3] == UTIME_OMIT:
            return 0
        if words[1] == words[3] == UTIME_NOW:
            now = True
        clock = task.system.clock.realtime_ns()
        at = _time(words[0], words[1], clock), _time(words[2], words[3], clock)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(errno.EINVAL)
    if not path and s32(dirfd) != AT_FDCWD:
        if flags & AT_SYMLINK_NOFOLLOW:
            raise LinuxError(errno.EINVAL)
        node = node_of(task.files.not_path(s32(dirfd)))
    else:
        node = _node_at(task, dirfd, path, flags)
    return _utimes(task, node, None if now else at)


def _time(seconds: int, nanoseconds: int, now: int) -> int | None:
    if nanoseconds == UTIME_OMIT:
        return None
    return now if nanoseconds == UTIME_NOW else seconds * _NS + nanoseconds


def _utimes(task: Task, node: Node, at: tuple[int | None, int | None] | None) -> int:
    """vfs_utimes(): None is now."""
    _may_change(node)
    utimes_ok(node, task.cred, explicit=at is not None)
    now = task.system.clock.realtime_ns()
    atime, mtime = (now, now) if at is None else at
    node.setattr(Change(atime=atime, mtime=mtime))
    return 0


# Sizes.


@syscall("truncate")
def sys_truncate(task: Task, path: int, size: int, *_: int) -> int:
    """truncate(2)."""
    if s64(size) < 0:
        raise LinuxError(errno.EINVAL)
    node = task.fs.lookup(user_path(task, path)).node
    if node.is_dir:
        raise LinuxError(errno.EISDIR)
    if not node.is_regular:
        raise LinuxError(errno.EINVAL)
    inode_permission(node, MAY_WRITE, task.cred)
    inode_newsize_ok(task, node.getattr().size, size)
    node.truncate(size)
    return 0
