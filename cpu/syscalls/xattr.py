# SPDX-License-Identifier: GPL-2.0-or-later
"""Extended attributes (fs/xattr.c, v6.18): kept in memory, for files in the upper layer."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_SYS_ADMIN
from cpu.fs.nameless import node_of
from cpu.fs.node import XATTR_CREATE, XATTR_REPLACE, Node
from cpu.fs.permission import MAY_READ, MAY_WRITE, inode_permission
from cpu.syscalls.paths import AT_FDCWD, AT_SYMLINK_NOFOLLOW, lookup_at
from cpu.syscalls.registry import s32, syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.task import Task

XATTR_NAME_MAX: Final = 255
XATTR_SIZE_MAX: Final = 65536


def _node(task: Task, path: int, flags: int = 0) -> Node:
    dentry = lookup_at(task, AT_FDCWD, path, flags)
    assert dentry is not None
    return dentry.node


def _name(task: Task, addr: int) -> str:
    name = task.mm.strncpy_from_user(addr, XATTR_NAME_MAX + 1)
    if not name or len(name) > XATTR_NAME_MAX:
        raise LinuxError(errno.ERANGE)
    return name.decode("utf-8", "surrogateescape")


def _permission(node: Node, name: str, mask: int, cred: Cred) -> None:
    """xattr_permission()."""
    if mask & MAY_WRITE and node.sb.read_only:
        raise LinuxError(errno.EROFS)
    if name.startswith(("security.", "system.")):
        if mask & MAY_WRITE and name.startswith("security.") and not cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(errno.EPERM)
        return
    refused = errno.EPERM if mask & MAY_WRITE else errno.ENODATA
    if name.startswith("trusted."):
        if not cred.capable(CAP_SYS_ADMIN):
            raise LinuxError(refused)
        return
    if name.startswith("user.") and not node.is_regular and not node.is_dir:
        raise LinuxError(refused)
    inode_permission(node, mask, cred)


def _known(name: str) -> None:
    """EOPNOTSUPP for a kind of attributes that is not there."""
    prefix, _, rest = name.partition(".")
    if prefix not in ("user", "trusted", "security"):
        raise LinuxError(errno.EOPNOTSUPP)
    if not rest:
        raise LinuxError(errno.EINVAL)


def _get(task: Task, node: Node, name_at: int, value: int, size: int) -> int:
    name = _name(task, name_at)
    _permission(node, name, MAY_READ, task.cred)
    _known(name)
    data = node.xattrs().get(name)
    if data is None:
        raise LinuxError(errno.ENODATA)
    return _give(task, data, value, size)


def _give(task: Task, data: bytes, addr: int, size: int) -> int:
    if size:
        if len(data) > size:
            raise LinuxError(errno.ERANGE)
        task.mm.copy_to_user(addr, data)
    return len(data)


def _set(task: Task, node: Node, name_at: int, value: int, size: int, flags: int) -> int:
    flags &= U32
    if flags & ~(XATTR_CREATE | XATTR_REPLACE):
        raise LinuxError(errno.EINVAL)
    name = _name(task, name_at)
    if size > XATTR_SIZE_MAX:
        raise LinuxError(errno.E2BIG)
    data = task.mm.copy_from_user(value, size) if size else b""
    _permission(node, name, MAY_WRITE, task.cred)
    _known(name)
    there = name in node.xattrs()
    if there and flags & XATTR_CREATE:
        raise LinuxError(errno.EEXIST)
    if not there and flags & XATTR_REPLACE:
        raise LinuxError(errno.ENODATA)
    node.set_xattr(name, data)
    return 0


def _list(task: Task, node: Node, addr: int, size: int) -> int:
    try:
        names = sorted(node.xattrs())
    except LinuxError:
        names = []
    if not task.cred.capable(CAP_SYS_ADMIN):
        names = [name for name in names if not name.startswith("trusted.")]
    text = "".join(f"{name}\0" for name in names)
    return _give(task, text.encode("utf-8", "surrogateescape"), addr, size)


def _remove(task: Task, node: Node, name_at: int) -> int:
    name = _name(task, name_at)
    _permission(node, name, MAY_WRITE, task.cred)
    _known(name)
    if name not in node.xattrs():
        raise LinuxError(errno.ENODATA)
    node.set_xattr(name, None)
    return 0


@syscall("getxattr")
def sys_getxattr(task: Task, path: int, name: int, value: int, size: int, *_: int) -> int:
    """getxattr(2)."""
    return _get(task, _node(task, path), name, value, size)


@syscall("lgetxattr")
def sys_lgetxattr(task: Task, path: int, name: int, value: int, size: int, *_: int) -> int:
    """lgetxattr(2)."""
    return _get(task, _node(task, path, AT_SYMLINK_NOFOLLOW), name, value, size)


@syscall("fgetxattr")
def sys_fgetxattr(task: Task, fd: int, name: int, value: int, size: int, *_: int) -> int:
    """fgetxattr(2)."""
    return _get(task, node_of(task.files.not_path(s32(fd))), name, value, size)


@syscall("setxattr")
def sys_setxattr(
    task: Task, path: int, name: int, value: int, size: int, flags: int, *_: int
) -> int:
    """setxattr(2)."""
    return _set(task, _node(task, path), name, value, size, flags)


@syscall("lsetxattr")
def sys_lsetxattr(
    task: Task, path: int, name: int, value: int, size: int, flags: int, *_: int
) -> int:
    """lsetxattr(2)."""
    return _set(task, _node(task, path, AT_SYMLINK_NOFOLLOW), name, value, size, flags)


@syscall("fsetxattr")
def sys_fsetxattr(
    task: Task, fd: int, name: int, value: int, size: int, flags: int, *_: int
) -> int:
    """fsetxattr(2)."""
    return _set(task, node_of(task.files.not_path(s32(fd))), name, value, size, flags)


@syscall("listxattr")
def sys_listxattr(task: Task, path: int, names: int, size: int, *_: int) -> int:
    """listxattr(2)."""
    return _list(task, _node(task, path), names, size)


@syscall("llistxattr")
def sys_llistxattr(task: Task, path: int, names: int, size: int, *_: int) -> int:
    """llistxattr(2)."""
    return _list(task, _node(task, path, AT_SYMLINK_NOFOLLOW), names, size)


@syscall("flistxattr")
def sys_flistxattr(task: Task, fd: int, names: int, size: int, *_: int) -> int:
    """flistxattr(2)."""
    return _list(task, node_of(task.files.not_path(s32(fd))), names, size)


@syscall("removexattr")
def sys_removexattr(task: Task, path: int, name: int, *_: int) -> int:
    """removexattr(2)."""
    return _remove(task, _node(task, path), name)


@syscall("lremovexattr")
def sys_lremovexattr(task: Task, path: int, name: int, *_: int) -> int:
    """lremovexattr(2)."""
    return _remove(task, _node(task, path, AT_SYMLINK_NOFOLLOW), name)


@syscall("fremovexattr")
def sys_fremovexattr(task: Task, fd: int, name: int, *_: int) -> int:
    """fremovexattr(2)."""
    return _remove(task, node_of(task.files.not_path(s32(fd))), name)
