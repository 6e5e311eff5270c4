# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and what they stand for, in whichever file system: struct dentry, and the operations of
struct inode and struct super_block (include/linux/dcache.h, include/linux/fs.h, v6.18).

::

    Dentry ──> Node ──> SuperBlock
                                ├── of /proc, /sys, /dev       cpu.fs.pseudo_fs
                                ├── of the overlay             cpu.fs.overlay
                                └── of a writable directory    cpu.fs.hostfs

The caller (cpu.fs.namespace) has looked at rights and kinds; what a file system cannot do says so
here.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.files import Dirent, OpenFile
    from cpu.fs.kstat import Kstat

OVERLAYFS_SUPER_MAGIC: Final = 0x794C7630
TMPFS_MAGIC: Final = 0x01021994
PROC_SUPER_MAGIC: Final = 0x9FA0
SYSFS_MAGIC: Final = 0x62656572
XATTR_CREATE, XATTR_REPLACE = 1, 2


@dataclass
class Usage:
    """What statfs(2) says of room: blocks of 4096 bytes, and files."""

    blocks: int = 0
    bfree: int = 0
    files: int = 0
    ffree: int = 0


@dataclass(eq=False)
class SuperBlock:
    """A mounted file system: its name in /proc/mounts, st_dev, f_type. ``time`` is when it was
    mounted, nanoseconds since 1970. ``fixed``: a name that is not there can never be.
    """

    name: str
    dev: int
    magic: int
    read_only: bool = False
    mnt_id: int = 1
    time: int = 0
    fixed: bool = False

    def usage(self) -> Usage:
        """Room in it; none is told for what has no size."""
        return Usage()


@dataclass
class Change:
    """A struct iattr: what chmod, chown and utimes change; None: nothing. Times are nanoseconds
    since 1970.
    """

    mode: int | None = None
    """Permission bits, 0o7777."""
    uid: int | None = None
    gid: int | None = None
    atime: int | None = None
    mtime: int | None = None


@dataclass
class Making:
    """How something new is made: its S_IFMT bits and rights, its owner, a link's text, a device's
    number.
    """

    mode: int
    uid: int
    gid: int
    target: str = ""
    rdev: int = 0


class Node:
    """What a name stands for. ``mode`` has S_IFMT bits and rights. This base is something that
    cannot be changed, and holds nothing.
    """

    __slots__ = ("__weakref__", "sb")
    sb: SuperBlock
    mode = stat.S_IFREG | 0o444
    uid = 0
    gid = 0
    immutable = False
    """Whether nobody may write it, whatever the rights (S_IMMUTABLE)."""
    cached = False
    """Whether what lookup() said is so until somebody changes it through this tree."""

    @property
    def kind(self) -> int:
        """S_IFMT bits."""
        return stat.S_IFMT(self.mode)

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    def found(self, dentry: Dentry) -> None:
        """It was found as ``dentry``, which is new."""

    def getattr(self) -> Kstat:
        """What stat() says."""
        raise NotImplementedError

    def lookup(self, name: str) -> Node | None:
        """What the name stands for in this directory; None: nothing."""
        return None

    def entries(self) -> list[Dirent]:
        """What this directory holds, without ``.`` and ``..``."""
        return []

    def readlink(self) -> str:
        """What this symbolic link says."""
        raise LinuxError(errno.EINVAL)

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open it, found as ``dentry``; None: without a name. The rights were looked at."""
        raise LinuxError(errno.ENXIO)

    def truncate(self, size: int) -> None:
        """Make this file ``size`` bytes long."""
        raise LinuxError(errno.EINVAL)

    def setattr(self, change: Change) -> None:
        """Change attributes."""
        raise LinuxError(errno.EPERM)

    def create(self, name: str, making: Making) -> Node:
        """Make something new in this directory, where the name is free."""
        raise LinuxError(errno.EACCES)

    def tmpfile(self, making: Making) -> Node:
        """Make a regular file without a name (O_TMPFILE)."""
        raise LinuxError(errno.EOPNOTSUPP)

    def may_link(self) -> bool:
        """Whether it may get one more name: what has none only if it never had one."""
        return True

    def forbid_link(self) -> None:
        """It may not get a name (O_TMPFILE with O_EXCL)."""

    def link(self, name: str, node: Node) -> None:
        """Give ``node``, of the same file system, one more name, which is free."""
        raise LinuxError(errno.EPERM)

    def remove(self, name: str, node: Node) -> None:
        """Take the name of ``node`` away; a directory is empty. ENOTEMPTY if it is not."""
        raise LinuxError(errno.EPERM)

    def rename(self, name: str, to: Node, new: str, *, exchange: bool) -> None:
        """Move an entry of this directory to another of the same file system, in place of what is
        there, or in exchange for it.
        """
        raise LinuxError(errno.EPERM)

    def xattrs(self) -> dict[str, bytes]:
        """Extended attributes that can be read; EOPNOTSUPP if it can have none."""
        raise LinuxError(errno.EOPNOTSUPP)

    def set_xattr(self, name: str, value: bytes | None) -> None:
        """Set one of them, or with None remove it."""
        raise LinuxError(errno.EOPNOTSUPP)


def is_empty(node: Node) -> bool:
    """Whether a directory holds nothing."""
    return not node.entries()


class Dentry:
    """A struct dentry. ``parent`` is itself for a root. ``mounts`` are the roots of what is mounted
    on names of this directory.
    """

    __slots__ = (
        "__weakref__",
        "children",
        "mounted",
        "mounts",
        "name",
        "node",
        "parent",
        "unhashed",
    )

    def __init__(self, parent: Dentry | None, name: str, node: Node) -> None:
        self.parent = self if parent is None else parent
        self.name = name
        self.node = node
        self.unhashed = False
        self.mounted = parent is None
        """Whether it is the root of a file system."""
        self.mounts: dict[str, Dentry] = {}
        self.children: WeakValueDictionary[str, Dentry] | None = None

    def __repr__(self) -> str:
        """Its path, for people."""
        return f"<dentry {d_path(self)}>"

    def getattr(self) -> Kstat:
        """What stat() says of what it stands for."""
        kstat = self.node.getattr()
        kstat.mount_root = self.mounted
        return kstat

    def shown_path(self) -> str:
        """Its path, as /proc shows it."""
        return d_path(self)

    def above(self) -> Iterator[Dentry]:
        """The directories it lies in, the nearest first."""
        at = self
        while at.parent is not at:
            at = at.parent
            yield at

    def is_subdir(self, other: Dentry) -> bool:
        """Whether it is ``other``, or lies beneath it."""
        return self is other or any(at is other for at in self.above())


def d_path(dentry: Dentry, root: Dentry | None = None) -> str:
    """Its path from ``root`` on, None: from the tree's root, with what Linux adds: " (deleted)" and
    "(unreachable)".
    """
    names = []
    at = dentry
    while at is not root and at.parent is not at:
        names.append(at.name)
        at = at.parent
    path = "/" + "/".join(reversed(names))
    if root is not None and at is not root:
        path = "(unreachable)" + path
    return path + " (deleted)" if dentry.unhashed and not dentry.mounted else path
