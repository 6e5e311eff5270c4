# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of files that we make up: what a name stands for there, without a place on the host."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Mapping

from cpu.fs.files import O_ACCMODE, O_TRUNC, Dirent, OpenFile
from cpu.fs.kstat import Kstat
from cpu.fs.node import Dentry, Node, d_path
from cpu.fs.seq_file import SeqFile, Store, Text
from mmu.errors import LinuxError


class Inode(Node):
    """What a name of ours stands for; ``mode`` has the S_IFMT bits and the rights, ``owner`` are
    its uid and gid. It belongs to the file system of the directory that it is found in.
    """

    mode = stat.S_IFREG | 0o444
    owner = (0, 0)
    number: int | None = None
    """st_ino; None: one that follows from the path."""
    size = 0
    rdev = 0
    writable = False
    """Whether open() may be asked for writing, and says itself what cannot be written."""

    _path = ""

    @property
    def uid(self) -> int:  # type: ignore[override]
        """Owner."""
        return self.owner[0]

    @property
    def gid(self) -> int:  # type: ignore[override]
        """Group."""
        return self.owner[1]

    def found(self, dentry: Dentry) -> None:
        """Take the directory's super block, and a number that follows from the path."""
        self._path = d_path(dentry)
        if not hasattr(self, "sb"):
            self.sb = dentry.parent.node.sb

    def truncate(self, size: int) -> None:
        """O_TRUNC changes nothing: it has no bytes of its own (proc_setattr())."""

    def getattr(self) -> Kstat:
        """What stat() says."""
        return Kstat(
            mode=self.mode,
            ino=self.inode(self._path),
            dev=self.sb.dev,
            nlink=2 if self.is_dir else 1,
            uid=self.uid,
            gid=self.gid,
            rdev=self.rdev,
            size=self.size,
            atime=self.sb.time,
            mtime=self.sb.time,
            ctime=self.sb.time,
            mnt_id=self.sb.mnt_id,
        )

    def entries(self) -> list[Dirent]:
        """What names() has, as lookup() finds it."""
        found = []
        for name in self.names():
            child = self.lookup(name)
            if child is not None:
                path = f"{self._path.rstrip('/')}/{name}"
                number = child.inode(path) if isinstance(child, Inode) else 1
                found.append(Dirent(name, number, child.kind))
        return found

    def names(self) -> Iterable[str]:
        """What a directory holds, in its order."""
        return ()

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open it; EACCES to write what cannot be written."""
        if not self.writable and flags & (O_ACCMODE | O_TRUNC):
            raise LinuxError(errno.EACCES)
        return self.open(self._path, flags)

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it, found at ``path``; the rights were looked at."""
        raise LinuxError(errno.ENXIO)

    def inode(self, path: str) -> int:
        """st_ino of what stands at ``path``."""
        return (
            zlib.crc32(path.encode("utf-8", "surrogateescape")) if not self.number else self.number
        )


class TextFile(Inode):
    """A file of /proc or /sys: made up as it is read. ``store`` takes what is written to it;
    ``rights`` are its mode's, and 0o200 more if it can be written.
    """

    def __init__(self, text: Text, store: Store | None = None, rights: int = 0o444) -> None:
        self._text = text
        self._store = store
        self.writable = store is not None
        self.mode = stat.S_IFREG | rights | (0o200 if store is not None else 0)

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it."""
        file = SeqFile(self._text, self._store, flags)
        file.inode, file.path, file.mode = self.inode(path), path, self.mode
        return file


class Device(Inode):
    """A device; ``make`` opens it, ``device`` are its major and minor number."""

    mode = stat.S_IFCHR | 0o666
    writable = True

    def __init__(self, make: Callable[[int], OpenFile], device: tuple[int, int] = (0, 0)) -> None:
        self._make = make
        self.rdev = os.makedev(*device)

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it."""
        file = self._make(flags)
        file.path, file.inode, file.mode = path, self.inode(path), self.mode
        return file


class Link(Inode):
    """A symbolic link; ``target`` tells where to."""

    mode = stat.S_IFLNK | 0o777

    size = 64

    def __init__(self, target: Callable[[], str]) -> None:
        self.target = target

    def readlink(self) -> str:
        """What it says."""
        return self.target()


class MagicLink(Link):
    """A link of /proc that leads to what it stands for, whatever its text says: a program, an open
    file, a directory.
    """

    def __init__(self, target: Callable[[], str], leads_to: Callable[[], Node | Dentry]) -> None:
        super().__init__(target)
        self.leads_to = leads_to


class Opened(Inode):
    """An open file, as seen through its link below /proc/PID/fd."""

    writable = True

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.mode = file.mode
        self.number = file.inode
        self.size = file.size
        self.owner = file.uid or 0, file.gid or 0

    def open(self, path: str, flags: int) -> OpenFile:
        """Open what it stands for once more."""
        return self._file.reopen(flags)


class Directory(Inode):
    """A directory of ours; this one holds ``children``, by name."""

    mode = stat.S_IFDIR | 0o555

    def __init__(self, children: Mapping[str, Node] | None = None) -> None:
        self._children = dict(children or {})

    def lookup(self, name: str) -> Node | None:
        """What the name stands for."""
        return self._children.get(name)

    def names(self) -> Iterable[str]:
        """Its entries' names, in their order."""
        return self._children

    def add(self, name: str, node: Node) -> None:
        """One entry more."""
        self._children[name] = node


def tree(files: Mapping[str, Inode]) -> Directory:
    """The directory with these files; their names are paths below it, as ``a/b``."""
    root: dict[str, Inode] = {}
    below: dict[str, dict[str, Inode]] = {}
    for path, inode in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = inode
        else:
            root[name] = inode
    return Directory({**root, **{name: tree(part) for name, part in below.items()}})
