# SPDX-License-Identifier: GPL-2.0-or-later
"""Open directories, and places opened with O_PATH (fs/readdir.c, fs/libfs.c, v6.18)."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator

from cpu.fs.files import SEEK_CUR, SEEK_SET, Dirent, OpenFile
from cpu.fs.node import Dentry
from mmu.errors import LinuxError


class PathFile(OpenFile):
    """What open(O_PATH) gives: a place, to be looked at and walked from."""

    def __init__(self, dentry: Dentry, flags: int) -> None:
        super().__init__()
        self.dentry = dentry
        self.path = dentry.shown_path()
        self.mode = dentry.node.mode
        self.flags = flags

    def pread(self, count: int, offset: int) -> bytes:
        """Nothing can be read."""
        raise LinuxError(errno.EBADF)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Nothing can be written."""
        raise LinuxError(errno.EBADF)

    def seek(self, offset: int, whence: int) -> int:
        """There is no position."""
        raise LinuxError(errno.EBADF)

    def truncate(self, size: int) -> None:
        """Nothing can be written."""
        raise LinuxError(errno.EBADF)

    def entries(self) -> Iterator[Dirent]:
        """Nothing can be read."""
        raise LinuxError(errno.EBADF)


class DirectoryFile(OpenFile):
    """An open directory. What it holds is asked at its start (the first look, and rewinddir()); its
    positions are the numbers of entries as they were then.
    """

    def __init__(self, dentry: Dentry) -> None:
        super().__init__()
        self.dentry = dentry
        self.path = dentry.shown_path()
        self.mode = dentry.node.mode
        self.position = 0
        self._place = dentry
        self._known: list[Dirent] | None = None

    def read(self, count: int) -> bytes:
        """It has no bytes."""
        raise LinuxError(errno.EISDIR)

    def pread(self, count: int, offset: int) -> bytes:
        """It has no bytes."""
        raise LinuxError(errno.EISDIR)

    def seek(self, offset: int, whence: int) -> int:
        """Move to the entry with this number; only from the start or from here."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 63:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset
        if not self.position:
            self._known = None
        return self.position

    def entries(self) -> Iterator[Dirent]:
        """What it holds, from the position on; each one taken moves it. ENOENT if it was removed
        (iterate_dir()).
        """
        place = self._place
        if place.unhashed and not place.mounted:
            raise LinuxError(errno.ENOENT)
        if self._known is None:
            here = Dirent(".", place.node.getattr().ino, stat.S_IFDIR)
            above = Dirent("..", place.parent.node.getattr().ino, stat.S_IFDIR)
            self._known = [here, above, *place.node.entries()]
        while self.position < len(self._known):
            self.position += 1
            yield self._known[self.position - 1]

    def fsync(self) -> None:
        """It is as it is."""
