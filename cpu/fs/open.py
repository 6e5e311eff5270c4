# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening what a path leads to (fs/open.c, fs/namei.c: path_openat(), v6.18)."""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.fs.directories import DirectoryFile, PathFile
from cpu.fs.files import (
    FASYNC,
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_DIRECTORY,
    O_DSYNC,
    O_EXCL,
    O_LARGEFILE,
    O_NOATIME,
    O_NOCTTY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_TRUNC,
    OpenFile,
)
from cpu.fs.node import Dentry, Making
from cpu.fs.permission import (
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    inode_init_owner,
    inode_permission,
    is_owner,
)
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.fs.dcache import DentryCache
    from cpu.fs.walk import Nameidata

O_TMPFILE_BIT, O_SYNC_BIT = 0o20000000, 0o4000000
O_TMPFILE: Final = O_TMPFILE_BIT | O_DIRECTORY
O_PATH_FLAGS: Final = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC
VALID_OPEN_FLAGS: Final = (
    O_ACCMODE
    | O_CREAT
    | O_EXCL
    | O_NOCTTY
    | O_TRUNC
    | O_APPEND
    | O_NONBLOCK
    | O_SYNC_BIT
    | O_DSYNC
    | FASYNC
    | O_DIRECT
    | O_LARGEFILE
    | O_DIRECTORY
    | O_NOFOLLOW
    | O_NOATIME
    | O_CLOEXEC
    | O_PATH
    | O_TMPFILE_BIT
)
_NOT_KEPT: Final = O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC
"""Flags of open() that F_GETFL does not say."""
_ACCESS: Final = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)
_S_IALLUGO: Final = 0o7777


@dataclass
class OpenFlags:
    """A struct open_flags: ``mode`` is that of a new file, ``access`` what must be allowed, MAY_*
    bits.
    """

    flags: int
    mode: int
    access: int

    @classmethod
    def of(cls, flags: int, mode: int) -> OpenFlags:
        """EINVAL for flags that contradict each other (build_open_flags())."""
        if flags & O_PATH:
            return cls(flags & O_PATH_FLAGS, 0, 0)
        if flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT:
            raise LinuxError(errno.EINVAL)
        access = _ACCESS[flags & O_ACCMODE]
        if flags & O_TMPFILE_BIT:
            if flags & (O_TMPFILE | O_CREAT) != O_TMPFILE or not access & MAY_WRITE:
                raise LinuxError(errno.EINVAL)
        elif not flags & O_CREAT:
            mode = 0
        if flags & O_SYNC_BIT:
            flags |= O_DSYNC
        if flags & O_TRUNC:
            access |= MAY_WRITE
        return cls(flags, mode & _S_IALLUGO, access)


def path_openat(
    cache: DentryCache, nd: Nameidata, path: str, how: OpenFlags, cred: Cred, umask: int
) -> OpenFile:
    """Open what ``path`` leads to, or make it. Raises LinuxError; may wait, for a FIFO."""
    flags = how.flags
    if flags & O_TMPFILE_BIT:
        return _tmpfile(cache, nd, path, how, cred, umask)
    follow = not flags & O_NOFOLLOW and not (flags & O_CREAT and flags & O_EXCL)
    name = nd.parent(path)
    dentry = nd.last(name, follow=follow, creating=bool(flags & O_CREAT))
    created = dentry is None
    if dentry is None:
        if not flags & O_CREAT:
            raise LinuxError(errno.ENOENT)
        dentry = _create(cache, nd, how, cred, umask)
    elif flags & O_CREAT:
        if flags & O_EXCL:
            raise LinuxError(errno.EEXIST)
        if dentry.node.is_dir:
            raise LinuxError(errno.EISDIR)
    if flags & O_DIRECTORY and not dentry.node.is_dir:
        raise LinuxError(errno.ENOTDIR)
    return do_open(dentry, how, cred, created=created)


def do_open(dentry: Dentry, how: OpenFlags, cred: Cred, *, created: bool) -> OpenFile:
    """Open what was found (do_open())."""
    flags, node = how.flags, dentry.node
    if flags & O_PATH:
        return PathFile(dentry, flags & O_PATH_FLAGS & ~O_CLOEXEC)
    if created:
        flags &= ~O_TRUNC
    else:
        may_open(dentry, how, cred)
    if node.is_dir:
        file: OpenFile = DirectoryFile(dentry)
    else:
        file = node.open_at(dentry, flags)
        if flags & O_TRUNC and stat.S_ISREG(node.mode):
            _truncate(file, dentry)
        file.path = file.path or dentry.shown_path()
        if file.dentry is None and dentry.parent is not dentry:
            file.dentry = dentry
    file.flags = flags & ~_NOT_KEPT | O_LARGEFILE
    return file


def _truncate(file: OpenFile, dentry: Dentry) -> None:
    try:
        dentry.node.truncate(0)
    except LinuxError:
        file.close()
        raise


def may_open(dentry: Dentry, how: OpenFlags, cred: Cred) -> None:
    """ELOOP, EISDIR, EACCES, EROFS, EPERM (may_open())."""
    node = dentry.node
    if stat.S_ISLNK(node.mode):
        raise LinuxError(errno.ELOOP)
    if node.is_dir and how.access & (MAY_WRITE | MAY_EXEC):
        raise LinuxError(errno.EISDIR if how.access & MAY_WRITE else errno.EACCES)
    inode_permission(node, how.access, cred)
    if how.flags & O_NOATIME and not is_owner(node, cred):
        raise LinuxError(errno.EPERM)


def _create(cache: DentryCache, nd: Nameidata, how: OpenFlags, cred: Cred, umask: int) -> Dentry:
    """Make the regular file that was not there (lookup_open())."""
    directory = nd.at
    if directory.unhashed and not directory.mounted:
        raise LinuxError(errno.ENOENT)
    inode_permission(directory.node, MAY_WRITE | MAY_EXEC, cred)
    return make(cache, directory, nd.name, stat.S_IFREG | how.mode & ~umask, cred)


def make(
    cache: DentryCache,
    directory: Dentry,
    name: str,
    mode: int,
    cred: Cred,
    *,
    target: str = "",
) -> Dentry:
    """Make something new in a directory, where the name is free, as ``cred``'s own."""
    mode, uid, gid = inode_init_owner(directory.node, mode, cred)
    node = directory.node.create(name, Making(mode, uid, gid, target))
    return cache.add(directory, name, node)


def _tmpfile(
    cache: DentryCache, nd: Nameidata, path: str, how: OpenFlags, cred: Cred, umask: int
) -> OpenFile:
    """A file without a name (do_tmpfile())."""
    directory = nd.lookup(path, follow=not how.flags & O_NOFOLLOW)
    if not directory.node.is_dir:
        raise LinuxError(errno.ENOTDIR)
    inode_permission(directory.node, MAY_WRITE | MAY_EXEC, cred)
    mode, uid, gid = inode_init_owner(directory.node, stat.S_IFREG | how.mode & ~umask, cred)
    node = directory.node.tmpfile(Making(mode, uid, gid))
    dentry = Dentry(directory, f"#{node.getattr().ino}", node)
    dentry.unhashed = True
    if how.flags & O_EXCL:
        node.forbid_link()
    flags = how.flags & ~O_TMPFILE_BIT & ~O_DIRECTORY
    file = do_open(dentry, OpenFlags(flags, 0, 0), cred, created=True)
    file.flags |= O_TMPFILE
    return file
