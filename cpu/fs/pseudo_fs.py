# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees of files that we make up: what a name stands for there, without a place on the host."""

from __future__ import annotations

import errno
import stat
import zlib
from collections.abc import Callable, Iterable, Mapping

from cpu.fs.files import OpenFile
from cpu.fs.regular_files import DataFile
from mmu.errors import LinuxError


class Inode:
    """What a name of ours stands for; ``mode`` has the S_IFMT bits and the rights."""

    mode = stat.S_IFREG | 0o444
    number: int | None = None
    """st_ino; None: one that follows from the path."""
    size = 0
    writable = False
    """Whether open() may be asked for writing, and says itself what cannot be written."""

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it, found at ``path``; the rights were looked at."""
        raise LinuxError(errno.ENXIO)

    def inode(self, path: str) -> int:
        """st_ino of what stands at ``path``."""
        return (
            zlib.crc32(path.encode("utf-8", "surrogateescape")) if not self.number else self.number
        )


class TextFile(Inode):
    """A file of /proc or /sys: made up when it is opened."""

    def __init__(self, text: Callable[[], str | bytes]) -> None:
        self._text = text

    def open(self, path: str, flags: int) -> OpenFile:
        """Make it up."""
        text = self._text()
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return DataFile(data, inode=self.inode(path), path=path)


class Device(Inode):
    """A device; ``make`` opens it."""

    mode = stat.S_IFCHR | 0o666
    writable = True

    def __init__(self, make: Callable[[int], OpenFile]) -> None:
        self._make = make

    def open(self, path: str, flags: int) -> OpenFile:
        """Open it."""
        file = self._make(flags)
        file.path, file.inode, file.mode = path, self.inode(path), self.mode
        return file


class Link(Inode):
    """A symbolic link; ``target`` tells where to."""

    mode = stat.S_IFLNK | 0o777

    def __init__(self, target: Callable[[], str]) -> None:
        self.target = target


class MagicLink(Link):
    """A link of /proc that leads to what it stands for, whatever its text says: a program, an open
    file.
    """

    def __init__(self, target: Callable[[], str], leads_to: Callable[[], Inode]) -> None:
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

    def open(self, path: str, flags: int) -> OpenFile:
        """Open what it stands for once more."""
        return self._file.reopen(flags)


class Directory(Inode):
    """A directory of ours; this one holds ``children``, by name."""

    mode = stat.S_IFDIR | 0o555

    def __init__(self, children: Mapping[str, Inode] | None = None) -> None:
        self._children = dict(children or {})

    def lookup(self, name: str) -> Inode | None:
        """What the name stands for."""
        return self._children.get(name)

    def names(self) -> Iterable[str]:
        """Its entries' names, in their order."""
        return self._children


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
