# SPDX-License-Identifier: GPL-2.0-or-later
"""Names: made, taken away, moved (fs/namei.c, v6.18)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_DAC_READ_SEARCH
from cpu.fs.namespace import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from cpu.syscalls.paths import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    base_at,
    lookup_at,
    path_at,
    user_path,
)
from cpu.syscalls.registry import syscall
from mmu.errors import LinuxError
from mmu.units import U32

if TYPE_CHECKING:
    from cpu.task import Task

_UMODE: Final = 0xFFFF


@syscall("mkdir")
def sys_mkdir(task: Task, path: int, mode: int, *_: int) -> int:
    """mkdir(2)."""
    return sys_mkdirat(task, AT_FDCWD, path, mode)


@syscall("mkdirat")
def sys_mkdirat(task: Task, dirfd: int, path: int, mode: int, *_: int) -> int:
    """mkdirat(2)."""
    name, base = path_at(task, dirfd, path)
    task.fs.mkdir(name, mode & _UMODE, base)
    return 0


@syscall("rmdir")
def sys_rmdir(task: Task, path: int, *_: int) -> int:
    """rmdir(2)."""
    task.fs.rmdir(user_path(task, path))
    return 0


@syscall("unlink")
def sys_unlink(task: Task, path: int, *_: int) -> int:
    """unlink(2)."""
    task.fs.unlink(user_path(task, path))
    return 0


@syscall("unlinkat")
def sys_unlinkat(task: Task, dirfd: int, path: int, flags: int, *_: int) -> int:
    """unlinkat(2)."""
    if flags & U32 & ~AT_REMOVEDIR:
        raise LinuxError(errno.EINVAL)
    name, base = path_at(task, dirfd, path)
    if flags & AT_REMOVEDIR:
        task.fs.rmdir(name, base)
    else:
        task.fs.unlink(name, base)
    return 0


@syscall("symlink")
def sys_symlink(task: Task, target: int, path: int, *_: int) -> int:
    """symlink(2)."""
    return sys_symlinkat(task, target, AT_FDCWD, path)


@syscall("symlinkat")
def sys_symlinkat(task: Task, target: int, dirfd: int, path: int, *_: int) -> int:
    """symlinkat(2)."""
    text = user_path(task, target)
    if not text:
        raise LinuxError(errno.ENOENT)
    name, base = path_at(task, dirfd, path)
    task.fs.symlink(text, name, base)
    return 0


@syscall("mknod")
def sys_mknod(task: Task, path: int, mode: int, dev: int, *_: int) -> int:
    """mknod(2)."""
    return sys_mknodat(task, AT_FDCWD, path, mode, dev)


@syscall("mknodat")
def sys_mknodat(task: Task, dirfd: int, path: int, mode: int, _dev: int, *_: int) -> int:
    """mknodat(2): of a device EPERM."""
    name, base = path_at(task, dirfd, path)
    task.fs.mknod(name, mode & _UMODE, base)
    return 0


@syscall("link")
def sys_link(task: Task, old: int, new: int, *_: int) -> int:
    """link(2)."""
    return sys_linkat(task, AT_FDCWD, old, AT_FDCWD, new, 0)


@syscall("linkat")
def sys_linkat(
    task: Task, olddirfd: int, old: int, newdirfd: int, new: int, flags: int, *_: int
) -> int:
    """linkat(2)."""
    flags &= U32
    if flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
        raise LinuxError(errno.EINVAL)
    walk = (flags & AT_EMPTY_PATH) | (0 if flags & AT_SYMLINK_FOLLOW else AT_SYMLINK_NOFOLLOW)
    by_fd = flags & AT_EMPTY_PATH and not user_path(task, old)
    if by_fd and not task.cred.capable(CAP_DAC_READ_SEARCH):
        raise LinuxError(errno.ENOENT)
    source = lookup_at(task, olddirfd, old, walk)
    name, base = path_at(task, newdirfd, new)
    if source is None:
        raise LinuxError(errno.EXDEV)
    task.fs.link(source, name, base)
    return 0


@syscall("rename")
def sys_rename(task: Task, old: int, new: int, *_: int) -> int:
    """rename(2)."""
    return sys_renameat2(task, AT_FDCWD, old, AT_FDCWD, new, 0)


@syscall("renameat")
def sys_renameat(task: Task, olddirfd: int, old: int, newdirfd: int, new: int, *_: int) -> int:
    """renameat(2)."""
    return sys_renameat2(task, olddirfd, old, newdirfd, new, 0)


@syscall("renameat2")
def sys_renameat2(
    task: Task, olddirfd: int, old: int, newdirfd: int, new: int, flags: int, *_: int
) -> int:
    """renameat2(2); no whiteouts."""
    flags &= U32
    if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags & RENAME_WHITEOUT:
        raise LinuxError(errno.EINVAL)
    if flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
        raise LinuxError(errno.EINVAL)
    path, new_path = user_path(task, old), user_path(task, new)
    if not path or not new_path:
        raise LinuxError(errno.ENOENT)
    base, new_base = base_at(task, olddirfd, path), base_at(task, newdirfd, new_path)
    task.fs.rename(path, new_path, flags, base=base, new_base=new_base)
    return 0


@syscall("mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsmount", "fspick")
def sys_mount(_task: Task, *_: int) -> int:
    """mount(2) and its like: EPERM, for root too; the tree is the machine's."""
    raise LinuxError(errno.EPERM)


@syscall("name_to_handle_at")
def sys_name_to_handle_at(_task: Task, *_: int) -> int:
    """name_to_handle_at(2): EOPNOTSUPP, as of a file system without handles."""
    raise LinuxError(errno.EOPNOTSUPP)
