# SPDX-License-Identifier: GPL-2.0-or-later
"""The overlay: files of the host's below, read-only, and what guests made of them above (as
fs/overlayfs, v6.18).

::

    OverlayDir.lookup(name)
      named       upper: made, moved or linked here by a guest
      whiteouts   upper: a name that was taken away
      base        lower: what was given beneath, and directories on the way to it
      lower       lower: the host's directory

A node becomes an upper one by its first change (make_upper()); the data of a regular file is copied
when it is first opened for writing (copy_up()). Since the upper layer's names are in memory, a
directory of the host's is moved as cheaply as any, open files and mappings go on with the copy,
and hard links stay together: programs see none of overlayfs's exceptions.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from cpu.fs.kstat import BLOCK_SIZE
from cpu.fs.node import Making, Usage
from cpu.fs.overlay_dir import OverlayDir
from cpu.fs.overlay_file import OverlayFile
from cpu.fs.overlay_node import Fixed, OverlayLink, OverlayNode, OverlaySpecial, OverlaySuper

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.fs.files import OpenFile
    from cpu.fs.lower import LowerDir
    from cpu.fs.upper import UpperLayer


class Overlay(OverlaySuper):
    """The super block. ``shmem``: pages of its files count as shared memory, as a tmpfs's do.
    ``open_fifo`` opens a FIFO, whose node it is given.
    """

    def __init__(
        self,
        name: str,
        dev: int,
        magic: int,
        layer: UpperLayer,
        *,
        shmem: bool = False,
        open_fifo: Callable[[OverlaySpecial, int], OpenFile],
    ) -> None:
        super().__init__(name, dev, magic, read_only=not layer.there)
        self.layer = layer
        self.shmem = shmem
        self.open_fifo = open_fifo
        self.changed = set()
        self._nodes: WeakValueDictionary[tuple[int, int, bool], OverlayNode] = WeakValueDictionary()

    def usage(self) -> Usage:
        """Room in the upper layer."""
        layer, space = self.layer, self.layer.inodes.space
        return Usage(
            blocks=space.limit // BLOCK_SIZE,
            bfree=space.room // BLOCK_SIZE,
            files=layer.files,
            ffree=layer.files - layer.nr_files,
        )

    def lower_node(self, place: LowerDir, name: str, info: os.stat_result) -> OverlayNode:
        """The node of a file of the host's; all its names have one."""
        key = info.st_dev, info.st_ino, place.public
        node = self._nodes.get(key)
        if node is None or node.kind != stat.S_IFMT(info.st_mode):
            node = self._new(info.st_mode)
            node.place, node.info = (place, name), info
            if isinstance(node, OverlayDir):
                node.lower = place.below(name)
            self._nodes[key] = node
        elif node.attributes is None:
            if info.st_nlink > 1 and node.place is not None and not node.is_dir:
                node.found_also_at(node.place)
            node.place, node.info = (place, name), info
        elif not node.is_dir:
            node.found_also_at((place, name))
        return node

    def root_node(self, lower: LowerDir) -> OverlayDir:
        """The node of a directory of the host's that is held open."""
        info = os.fstat(lower.fd)
        key = info.st_dev, info.st_ino, lower.public
        node = self._nodes.get(key)
        if not isinstance(node, OverlayDir):
            node = OverlayDir(self)
            node.info, node.lower = info, lower
            self._nodes[key] = node
        return node

    def synthetic(self, mode: int = 0o755, uid: int = 0, gid: int = 0) -> OverlayDir:
        """A directory that was there before any guest, and on no host."""
        node = OverlayDir(self)
        node.fixed = self._fixed(stat.S_IFDIR | mode, uid, gid)
        return node

    def placeholder(self) -> OverlayNode:
        """A file to mount another on."""
        node = OverlaySpecial(self)
        node.fixed = self._fixed(stat.S_IFREG | 0o444)
        return node

    def fixed_link(self, text: str) -> OverlayLink:
        """A symbolic link that was there before any guest, and on no host."""
        node = OverlayLink(self)
        node.fixed = self._fixed(stat.S_IFLNK | 0o777)
        node.text = text
        return node

    def _fixed(self, mode: int, uid: int = 0, gid: int = 0) -> Fixed:
        return Fixed(mode, uid, gid, self.layer.new_number(), self.layer.now())

    def new(self, making: Making) -> OverlayNode:
        """Something new, which has no name yet."""
        node = self._new(making.mode)
        node.attributes = self.layer.make(making)
        node.nlink = 0
        if isinstance(node, OverlayLink):
            node.text = making.target
        return node

    def _new(self, mode: int) -> OverlayNode:
        kind = stat.S_IFMT(mode)
        make = {stat.S_IFDIR: OverlayDir, stat.S_IFREG: OverlayFile, stat.S_IFLNK: OverlayLink}
        return make.get(kind, OverlaySpecial)(self)
