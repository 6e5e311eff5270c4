# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files that no name leads to, as something whose attributes can be changed: pipes, sockets,
files of memory.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from cpu.fs.node import Change, Dentry, Node, SuperBlock

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.fs.kstat import Kstat

ANON_INODE_FS_MAGIC: Final = 0x09041934
ANON_INODES: Final = SuperBlock("anon_inodefs", 9, ANON_INODE_FS_MAGIC)


class Nameless(Node):
    """The node of such a file."""

    sb = ANON_INODES

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self.mode = file.mode
        self.uid, self.gid = file.uid or 0, file.gid or 0

    def getattr(self) -> Kstat:
        """What stat() says."""
        return self._file.getattr()

    def setattr(self, change: Change) -> None:
        """Rights and owner; of times nothing is known."""
        file = self._file
        if change.mode is not None:
            file.mode = stat.S_IFMT(file.mode) | change.mode
        if change.uid is not None:
            file.uid = change.uid
        if change.gid is not None:
            file.gid = change.gid


def node_of(file: OpenFile) -> Node:
    """The node of an open file."""
    return file.dentry.node if isinstance(file.dentry, Dentry) else Nameless(file)
