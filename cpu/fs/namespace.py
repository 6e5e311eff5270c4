# SPDX-License-Identifier: GPL-2.0-or-later
"""Making, taking away and moving names (fs/namei.c: do_mkdirat() to do_renameat2(), v6.18)."""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from cpu.fs.node import Dentry, is_empty
from cpu.fs.open import make
from cpu.fs.permission import MAY_WRITE, inode_permission, may_create, may_delete
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.fs.dcache import DentryCache
    from cpu.fs.walk import Nameidata

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
_DOTS: Final = ("", ".", "..")


def filename_create(nd: Nameidata, path: str, cred: Cred, *, is_dir: bool = False) -> str:
    """The last name of ``path``, which is free, in the directory ``nd.at``, where ``cred`` may make
    something. EEXIST; ENOENT for a name with a slash behind it that is to be no directory.
    """
    name = nd.parent(path)
    if name in _DOTS:
        raise LinuxError(errno.EEXIST)
    if nd.find(name) is not None:
        raise LinuxError(errno.EEXIST)
    if nd.trailing and not is_dir:
        raise LinuxError(errno.ENOENT)
    may_create(nd.at, cred)
    return name


def mkdir(
    cache: DentryCache, nd: Nameidata, path: str, mode: int, umask: int, cred: Cred
) -> Dentry:
    """Make a directory (vfs_mkdir())."""
    name = filename_create(nd, path, cred, is_dir=True)
    return make(cache, nd.at, name, stat.S_IFDIR | mode & 0o1777 & ~umask, cred)


def symlink(cache: DentryCache, nd: Nameidata, path: str, target: str, cred: Cred) -> None:
    """Make a symbolic link that says ``target`` (vfs_symlink())."""
    if not target:
        raise LinuxError(errno.ENOENT)
    name = filename_create(nd, path, cred)
    make(cache, nd.at, name, stat.S_IFLNK | 0o777, cred, target=target)


def may_mknod(mode: int) -> int:
    """The mode with its S_IFMT bits; EPERM for a directory, EINVAL for what there is not."""
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        raise LinuxError(errno.EPERM)
    known = (0, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
    if kind not in known:
        raise LinuxError(errno.EINVAL)
    return mode if kind else mode | stat.S_IFREG


def mknod(
    cache: DentryCache,
    nd: Nameidata,
    path: str,
    mode: int,
    umask: int,
    cred: Cred,
) -> Dentry:
    """Make a regular file, a FIFO, or a socket's name; EPERM for devices,
    which nobody can make here (vfs_mknod()).
    """
    mode = may_mknod(mode)
    name = filename_create(nd, path, cred)
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise LinuxError(errno.EPERM)
    mode = stat.S_IFMT(mode) | mode & 0o7777 & ~umask
    return make(cache, nd.at, name, mode, cred)


def unlink(cache: DentryCache, nd: Nameidata, path: str, cred: Cred) -> None:
    """Take a name away (do_unlinkat())."""
    name = nd.parent(path)
    if name in _DOTS:
        raise LinuxError(errno.EISDIR)
    victim = _must_find(nd, name)
    if nd.trailing:
        raise LinuxError(errno.EISDIR if victim.node.is_dir else errno.ENOTDIR)
    may_delete(nd.at, victim, cred, is_dir=False)
    _not_busy(victim)
    nd.at.node.remove(name, victim.node)
    cache.drop(victim)


def rmdir(cache: DentryCache, nd: Nameidata, path: str, cred: Cred) -> None:
    """Take an empty directory away (do_rmdir())."""
    name = nd.parent(path)
    if name in _DOTS:
        raise LinuxError({"": errno.EBUSY, ".": errno.EINVAL, "..": errno.ENOTEMPTY}[name])
    victim = _must_find(nd, name)
    may_delete(nd.at, victim, cred, is_dir=True)
    _not_busy(victim)
    nd.at.node.remove(name, victim.node)
    cache.drop(victim)


def link(cache: DentryCache, old: Dentry, nd: Nameidata, path: str, cred: Cred) -> None:
    """Give what ``old`` stands for one more name (do_linkat())."""
    name = nd.parent(path)
    if name in _DOTS or nd.find(name) is not None:
        raise LinuxError(errno.EEXIST)
    if nd.trailing:
        raise LinuxError(errno.ENOENT)
    node = old.node
    if node.sb is not nd.at.node.sb:
        raise LinuxError(errno.EXDEV)
    may_create(nd.at, cred)
    if node.is_dir:
        raise LinuxError(errno.EPERM)
    if not node.may_link():
        raise LinuxError(errno.ENOENT)
    nd.at.node.link(name, node)
    cache.add(nd.at, name, node)


def rename(
    cache: DentryCache,
    source: tuple[Nameidata, str],
    target: tuple[Nameidata, str],
    flags: int,
    cred: Cred,
) -> None:
    """Move what one path names to another (do_renameat2())."""
    nd, path = source
    new_nd, new_path = target
    name, new_name = nd.parent(path), new_nd.parent(new_path)
    if nd.at.node.sb is not new_nd.at.node.sb:
        raise LinuxError(errno.EXDEV)
    if name in _DOTS:
        raise LinuxError(errno.EBUSY)
    if new_name in _DOTS:
        raise LinuxError(errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY)
    old = _must_find(nd, name)
    new = new_nd.find(new_name)
    exchange = bool(flags & RENAME_EXCHANGE)
    if flags & RENAME_NOREPLACE and new is not None:
        raise LinuxError(errno.EEXIST)
    _check_slashes(nd, old, new_nd, new, exchange=exchange)
    if new_nd.at.is_subdir(old):
        raise LinuxError(errno.EINVAL)
    if new is not None and nd.at.is_subdir(new):
        raise LinuxError(errno.EINVAL if exchange else errno.ENOTEMPTY)
    if new is not None and new.node is old.node:
        return
    _may_rename(nd.at, old, new_nd.at, new, cred, exchange=exchange)
    for dentry in (old, new):
        if dentry is not None:
            _not_busy(dentry)
    if new is not None and not exchange and new.node.is_dir and not is_empty(new.node):
        raise LinuxError(errno.ENOTEMPTY)
    nd.at.node.rename(name, new_nd.at.node, new_name, exchange=exchange)
    if exchange:
        assert new is not None
        cache.exchange(old, new)
        return
    if new is not None:
        cache.drop(new)
    cache.move(old, new_nd.at, new_name)


def _check_slashes(
    nd: Nameidata, old: Dentry, new_nd: Nameidata, new: Dentry | None, *, exchange: bool
) -> None:
    """ENOTDIR for slashes behind what is no directory; ENOENT if there is nothing to exchange."""
    if exchange:
        if new is None:
            raise LinuxError(errno.ENOENT)
        if not new.node.is_dir and new_nd.trailing:
            raise LinuxError(errno.ENOTDIR)
    if not old.node.is_dir and (nd.trailing or (not exchange and new_nd.trailing)):
        raise LinuxError(errno.ENOTDIR)


def _may_rename(
    directory: Dentry,
    old: Dentry,
    new_directory: Dentry,
    new: Dentry | None,
    cred: Cred,
    *,
    exchange: bool,
) -> None:
    """vfs_rename(): EACCES, EPERM, EISDIR, ENOTDIR, ENOENT."""
    is_dir = old.node.is_dir
    may_delete(directory, old, cred, is_dir=is_dir)
    if new is None:
        may_create(new_directory, cred)
    else:
        may_delete(new_directory, new, cred, is_dir=new.node.is_dir if exchange else is_dir)
    if new_directory is not directory:
        if is_dir:
            inode_permission(old.node, MAY_WRITE, cred)
        if exchange and new is not None and new.node.is_dir:
            inode_permission(new.node, MAY_WRITE, cred)


def _must_find(nd: Nameidata, name: str) -> Dentry:
    dentry = nd.find(name)
    if dentry is None:
        raise LinuxError(errno.ENOENT)
    return dentry


def _not_busy(dentry: Dentry) -> None:
    """EBUSY if something is mounted there."""
    if dentry.mounted:
        raise LinuxError(errno.EBUSY)
