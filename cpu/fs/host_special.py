# SPDX-License-Identifier: GPL-2.0-or-later
"""FIFOs and names of sockets in a writable directory of the host's: the machine's own, for as long
as it runs; the host has nothing under these names.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from cpu.fs.kstat import Kstat
from cpu.fs.node import Change, Dentry, Making, Node, SuperBlock
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.fifo import Fifo
    from cpu.fs.files import OpenFile

DirectoryKey = tuple[int, int]
"""(st_dev, st_ino) of the host's directory."""


class HostSpecial(Node):
    """A FIFO or the name of a socket. ``open_fifo`` opens the one, nobody the other."""

    def __init__(
        self,
        sb: SuperBlock,
        making: Making,
        number: int,
        now: Callable[[], int],
        open_fifo: Callable[[HostSpecial, int], OpenFile],
    ) -> None:
        self.sb = sb
        self.mode, self.uid, self.gid = making.mode, making.uid, making.gid
        self.number = number
        self.nlink = 0
        self.fifo: Fifo | None = None
        self._now = now
        self._open_fifo = open_fifo
        self._atime = self._mtime = self._ctime = self._btime = now()

    def getattr(self) -> Kstat:
        """What stat() says."""
        kstat = Kstat(self.mode, self.number, self.sb.dev, self.nlink, self.uid, self.gid)
        kstat.atime, kstat.mtime, kstat.ctime = self._atime, self._mtime, self._ctime
        kstat.btime, kstat.mnt_id = self._btime, self.sb.mnt_id
        return kstat

    def setattr(self, change: Change) -> None:
        """Change attributes."""
        if change.mode is not None:
            self.mode = stat.S_IFMT(self.mode) | change.mode
        self.uid = self.uid if change.uid is None else change.uid
        self.gid = self.gid if change.gid is None else change.gid
        self._atime = self._atime if change.atime is None else change.atime
        self._mtime = self._mtime if change.mtime is None else change.mtime
        self._ctime = self._now()

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open a FIFO; ENXIO for a socket."""
        if stat.S_ISFIFO(self.mode):
            return self._open_fifo(self, flags)
        raise LinuxError(errno.ENXIO)

    def may_link(self) -> bool:
        """Whether it has a name."""
        return self.nlink > 0


class Specials:
    """Those of a file system, by directory and name."""

    def __init__(self) -> None:
        self._found: dict[DirectoryKey, dict[str, HostSpecial]] = {}

    def get(self, directory: DirectoryKey, name: str) -> HostSpecial | None:
        """The one of that name."""
        names = self._found.get(directory)
        return None if names is None else names.get(name)

    def of(self, directory: DirectoryKey) -> dict[str, HostSpecial]:
        """All of a directory."""
        return self._found.get(directory, {})

    def put(self, directory: DirectoryKey, name: str, node: HostSpecial) -> None:
        """One name more."""
        self._found.setdefault(directory, {})[name] = node
        node.nlink += 1

    def take(self, directory: DirectoryKey, name: str) -> None:
        """One name less."""
        names = self._found[directory]
        names.pop(name).nlink -= 1
        if not names:
            del self._found[directory]
