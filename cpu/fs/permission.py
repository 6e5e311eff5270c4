# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may do what to a file (fs/namei.c, fs/attr.c, fs/inode.c, v6.18).

The host's kernel decides on its own, as well, what the host's user may.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from cpu.cred import CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.cred import Cred
    from cpu.fs.node import Change, Dentry, Node

MAY_EXEC, MAY_WRITE, MAY_READ = 1, 2, 4
_DATA_KINDS: Final = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


def inode_permission(node: Node, mask: int, cred: Cred) -> None:
    """EACCES if ``cred`` may not do what ``mask`` says (MAY_READ and its like), EROFS or EPERM if
    nobody may write.
    """
    if mask & MAY_WRITE and node.sb.read_only and node.kind in _DATA_KINDS:
        raise LinuxError(errno.EROFS)
    if mask & MAY_WRITE and node.immutable:
        raise LinuxError(errno.EPERM)
    if not generic_permission(node, mask, cred):
        raise LinuxError(errno.EACCES)


def generic_permission(node: Node, mask: int, cred: Cred) -> bool:
    """Whether the rights of the node, or a capability, allow it (generic_permission())."""
    mode = node.mode
    if cred.fsuid == node.uid:
        granted = mode >> 6
    elif (mode >> 3 & 7) != mode & 7 and cred.in_group_p(node.gid):
        granted = mode >> 3
    else:
        granted = mode
    if not mask & ~granted & 7:
        return True
    if stat.S_ISDIR(mode):
        if not mask & MAY_WRITE and cred.capable(CAP_DAC_READ_SEARCH):
            return True
        return cred.capable(CAP_DAC_OVERRIDE)
    if mask == MAY_READ and cred.capable(CAP_DAC_READ_SEARCH):
        return True
    if not mask & MAY_EXEC or mode & 0o111:
        return cred.capable(CAP_DAC_OVERRIDE)
    return False


def may_exec_directory(node: Node, cred: Cred) -> None:
    """EACCES if ``cred`` may not walk through the directory."""
    mode = node.mode
    if mode & 0o111 != 0o111 and not generic_permission(node, MAY_EXEC, cred):
        raise LinuxError(errno.EACCES)


def check_sticky(directory: Node, node: Node, cred: Cred) -> bool:
    """Whether S_ISVTX of the directory keeps ``cred`` from taking the node's name away."""
    if not directory.mode & stat.S_ISVTX or cred.fsuid in (node.uid, directory.uid):
        return False
    return not cred.capable(CAP_FOWNER)


def may_create(directory: Dentry, cred: Cred) -> None:
    """EACCES, EROFS; ENOENT if the directory itself is gone (may_create())."""
    if directory.unhashed:
        raise LinuxError(errno.ENOENT)
    inode_permission(directory.node, MAY_WRITE | MAY_EXEC, cred)


def may_delete(directory: Dentry, victim: Dentry, cred: Cred, *, is_dir: bool) -> None:
    """EACCES, EPERM, EROFS; EISDIR or ENOTDIR if the victim is not of the kind that is asked for;
    EBUSY if something is mounted there (may_delete()).
    """
    inode_permission(directory.node, MAY_WRITE | MAY_EXEC, cred)
    node = victim.node
    if check_sticky(directory.node, node, cred):
        raise LinuxError(errno.EPERM)
    if is_dir:
        if not node.is_dir:
            raise LinuxError(errno.ENOTDIR)
    elif node.is_dir:
        raise LinuxError(errno.EISDIR)
    if directory.unhashed:
        raise LinuxError(errno.ENOENT)


def inode_init_owner(directory: Node, mode: int, cred: Cred) -> tuple[int, int, int]:
    """The mode, owner and group of what ``cred`` makes in a directory (inode_init_owner(),
    mode_strip_sgid()).
    """
    if directory.mode & stat.S_ISGID:
        gid = directory.gid
        if stat.S_ISDIR(mode):
            mode |= stat.S_ISGID
        elif (
            mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP
            and not cred.in_group_p(gid)
            and not cred.capable(CAP_FSETID)
        ):
            mode &= ~stat.S_ISGID
        return mode, cred.fsuid, gid
    return mode, cred.fsuid, cred.fsgid


def is_owner(node: Node, cred: Cred) -> bool:
    """Whether ``cred`` may act as the node's owner (inode_owner_or_capable())."""
    return cred.fsuid == node.uid or cred.capable(CAP_FOWNER)


def chmod_ok(node: Node, change: Change, cred: Cred) -> None:
    """EPERM; takes S_ISGID out of the change where the group is not one's own
    (setattr_prepare()).
    """
    if not is_owner(node, cred):
        raise LinuxError(errno.EPERM)
    assert change.mode is not None
    if not cred.in_group_p(node.gid) and not cred.capable(CAP_FSETID):
        change.mode &= ~stat.S_ISGID


def chown_ok(node: Node, change: Change, cred: Cred) -> None:
    """EPERM; chown_common(): takes S_ISUID and S_ISGID away from what is no directory."""
    uid, gid = change.uid, change.gid
    mine, can = cred.fsuid == node.uid, cred.capable(CAP_CHOWN)
    if uid is not None and not (mine and uid == node.uid) and not can:
        raise LinuxError(errno.EPERM)
    into = gid is None or (mine and (gid == node.gid or cred.in_group_p(gid)))
    if not into and not can:
        raise LinuxError(errno.EPERM)
    mode = node.mode
    if not stat.S_ISDIR(mode):
        kept = mode & ~stat.S_ISUID
        if mode & stat.S_IXGRP or (
            mode & stat.S_ISGID and not cred.in_group_p(node.gid) and not cred.capable(CAP_FSETID)
        ):
            kept &= ~stat.S_ISGID
        if kept != mode:
            change.mode = kept & 0o7777


def utimes_ok(node: Node, cred: Cred, *, explicit: bool) -> None:
    """EPERM for ``explicit`` times of somebody else's file, EACCES for those of now
    (vfs_utimes()).
    """
    if is_owner(node, cred):
        if node.sb.read_only:
            raise LinuxError(errno.EROFS)
        return
    if explicit:
        raise LinuxError(errno.EPERM)
    inode_permission(node, MAY_WRITE, cred)
