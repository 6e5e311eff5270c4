# SPDX-License-Identifier: GPL-2.0-or-later
"""What files are: stat(2), access(2), readlink(2), statfs(2) (fs/stat.c, fs/statfs.c, v6.18)."""

from __future__ import annotations

import errno
import stat
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cpu.fs.kstat import BLOCK_SIZE, Kstat
from cpu.fs.nameless import ANON_INODES
from cpu.fs.node import Dentry, SuperBlock
from cpu.fs.permission import MAY_EXEC, MAY_READ, MAY_WRITE, inode_permission
from cpu.syscalls.paths import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_SYMLINK_NOFOLLOW,
    base_at,
    lookup_at,
    user_path,
)
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.task import Task

AT_STATX_SYNC_TYPE: Final = 0x6000
STATX_RESERVED: Final = 1 << 31
_STATFS: Final = struct.Struct("<qqqqqqqiiqqq32x")
ST_VALID, ST_RDONLY, ST_NOSUID, ST_NODEV = 0x20, 1, 2, 4


@syscall("fstat")
def sys_fstat(task: Task, fd: int, buffer: int, *_: int) -> int:
    """fstat(2)."""
    task.mm.copy_to_user(buffer, task.files.get(s32(fd)).stat())
    return 0


@syscall("stat")
def sys_stat(task: Task, path: int, buffer: int, *_: int) -> int:
    """stat(2)."""
    task.mm.copy_to_user(buffer, task.fs.stat(user_path(task, path)))
    return 0


@syscall("lstat")
def sys_lstat(task: Task, path: int, buffer: int, *_: int) -> int:
    """lstat(2)."""
    task.mm.copy_to_user(buffer, task.fs.stat(user_path(task, path), follow=False))
    return 0


@syscall("newfstatat")
def sys_newfstatat(task: Task, dirfd: int, path: int, buffer: int, flags: int, *_: int) -> int:
    """fstatat(2)."""
    flags &= U32
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        raise LinuxError(errno.EINVAL)
    task.mm.copy_to_user(buffer, _kstat_at(task, dirfd, path, flags).pack())
    return 0


@syscall("statx")
def sys_statx(
    task: Task, dirfd: int, path: int, flags: int, mask: int, buffer: int, *_: int
) -> int:
    """statx(2): the basic fields, and when it was made, if somebody knows."""
    flags &= U32
    if mask & STATX_RESERVED or flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE:
        raise LinuxError(errno.EINVAL)
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE):
        raise LinuxError(errno.EINVAL)
    task.mm.copy_to_user(buffer, _kstat_at(task, dirfd, path, flags).pack_statx())
    return 0


def _kstat_at(task: Task, dirfd: int, path: int, flags: int) -> Kstat:
    if not path and flags & AT_EMPTY_PATH and s32(dirfd) != AT_FDCWD:
        return task.files.get(s32(dirfd)).getattr()
    dentry = lookup_at(task, dirfd, path, flags)
    if dentry is None:
        return task.files.get(s32(dirfd)).getattr()
    return dentry.getattr()


# access().


@syscall("access")
def sys_access(task: Task, path: int, mode: int, *_: int) -> int:
    """access(2)."""
    return _access(task, AT_FDCWD, path, mode, 0)


@syscall("faccessat")
def sys_faccessat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    """faccessat(2), the kernel's: without flags."""
    return _access(task, dirfd, path, mode, 0)


@syscall("faccessat2")
def sys_faccessat2(task: Task, dirfd: int, path: int, mode: int, flags: int, *_: int) -> int:
    """faccessat2(2)."""
    return _access(task, dirfd, path, mode, flags & U32)


def _access(task: Task, dirfd: int, path: int, mode: int, flags: int) -> int:
    """do_faccessat()."""
    mode = s32(mode)
    if mode & ~(MAY_READ | MAY_WRITE | MAY_EXEC):
        raise LinuxError(errno.EINVAL)
    if flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
        raise LinuxError(errno.EINVAL)
    cred = task.cred if flags & AT_EACCESS else _real(task.cred)
    name = user_path(task, path)
    if not name and flags & AT_EMPTY_PATH:
        dentry = lookup_at(task, dirfd, path, flags)
        if dentry is None:
            return 0
    else:
        base, follow = base_at(task, dirfd, name), not flags & AT_SYMLINK_NOFOLLOW
        dentry = task.fs.lookup(name, base, follow=follow, cred=cred)
    inode_permission(dentry.node, mode, cred)
    return 0


def _real(cred: Cred) -> Cred:
    """Who it really is (access_override_creds())."""
    permitted = cred.cap_permitted if cred.uid == 0 else 0
    return replace(cred, fsuid=cred.uid, fsgid=cred.gid, cap_effective=permitted)


# Links.


@syscall("readlink")
def sys_readlink(task: Task, path: int, buffer: int, size: int, *_: int) -> int:
    """readlink(2)."""
    return sys_readlinkat(task, AT_FDCWD, path, buffer, size)


@syscall("readlinkat")
def sys_readlinkat(task: Task, dirfd: int, path: int, buffer: int, size: int, *_: int) -> int:
    """readlinkat(2): of a descriptor too that stands for a link."""
    if s32(size) <= 0:
        raise LinuxError(errno.EINVAL)
    name = user_path(task, path)
    flags = AT_SYMLINK_NOFOLLOW | (0 if name else AT_EMPTY_PATH)
    dentry = lookup_at(task, dirfd, path, flags)
    if dentry is None or not stat.S_ISLNK(dentry.node.mode):
        raise LinuxError(errno.EINVAL if name else errno.ENOENT)
    target = dentry.node.readlink().encode("utf-8", "surrogateescape")[: s32(size)]
    task.mm.copy_to_user(buffer, target)
    return len(target)


# statfs().


@syscall("statfs")
def sys_statfs(task: Task, path: int, buffer: int, *_: int) -> int:
    """statfs(2)."""
    dentry = task.fs.lookup(user_path(task, path))
    task.mm.copy_to_user(buffer, _statfs(dentry.node.sb))
    return 0


@syscall("fstatfs")
def sys_fstatfs(task: Task, fd: int, buffer: int, *_: int) -> int:
    """fstatfs(2)."""
    dentry = task.files.get(s32(fd)).dentry
    sb = dentry.node.sb if isinstance(dentry, Dentry) else ANON_INODES
    task.mm.copy_to_user(buffer, _statfs(sb))
    return 0


def _statfs(sb: SuperBlock) -> bytes:
    usage = sb.usage()
    flags = ST_VALID | ST_NOSUID | ST_NODEV | (ST_RDONLY if sb.read_only else 0)
    return _STATFS.pack(
        sb.magic,
        BLOCK_SIZE,
        usage.blocks,
        usage.bfree,
        usage.bfree,
        usage.files,
        usage.ffree,
        sb.dev,
        0,
        255,
        BLOCK_SIZE,
        flags,
    )
