# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories of the overlay: what is below, what is above, and what is gone (cpu.fs.overlay)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from cpu.fs.files import Dirent
from cpu.fs.kstat import BLOCK_SIZE, Kstat
from cpu.fs.node import Making, Node
from cpu.fs.overlay_file import OverlayFile
from cpu.fs.overlay_node import OverlayNode, OverlaySuper
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.lower import LowerDir

_MAX_ABSENT: Final = 4096
"""Names that a directory remembers not to have."""


class OverlayDir(OverlayNode):
    """A directory; ``lower`` is the host's, None: there is none, or none to be seen."""

    __slots__ = ("_absent", "_nr_dirs", "base", "lower", "named", "whiteouts")

    def __init__(self, sb: OverlaySuper) -> None:
        super().__init__(sb)
        self.lower: LowerDir | None = None
        self.named: dict[str, OverlayNode] = {}
        self.whiteouts: dict[str, None] = {}
        self.base: dict[str, OverlayNode] = {}
        self._absent: dict[str, None] = {}
        self._nr_dirs = 0

    def _size(self) -> tuple[int, int]:
        return BLOCK_SIZE, BLOCK_SIZE >> 9

    def getattr(self) -> Kstat:
        """What stat() says; of a directory that both layers have one link, as overlayfs does."""
        kstat = super().getattr()
        if self.attributes is not None:
            merged = self.lower is not None or self.base
            kstat.nlink = 0 if not self.nlink else 1 if merged else 2 + self._nr_dirs
        return kstat

    def lookup(self, name: str) -> OverlayNode | None:
        """What the name stands for."""
        node = self.named.get(name)
        if node is not None:
            return node
        if name in self.whiteouts or name in self._absent:
            return None
        return self.below(name)

    def add_below(self, name: str, node: OverlayNode) -> None:
        """Have the name stand for this below, before anybody writes."""
        self._absent.pop(name, None)
        self.base[name] = node

    def below(self, name: str) -> OverlayNode | None:
        """What the name stands for below."""
        node = self.base.get(name)
        if node is not None:
            return node
        if self.lower is None:
            return None
        info = self.lower.lstat(name)
        if info is None:
            if len(self._absent) >= _MAX_ABSENT:
                self._absent.clear()
            self._absent[name] = None
            return None
        return self.sb.lower_node(self.lower, name, info)

    def entries(self) -> list[Dirent]:
        """What it holds, in the order of names."""
        found = {
            name: Dirent(name, node.number, node.kind)
            for name, node in (*self.base.items(), *self.named.items())
            if name not in self.whiteouts or name in self.named
        }
        lower = self.lower
        if lower is not None:
            device = 0 if self.info is None else self.info.st_dev
            for name, inode, kind in lower.scan():
                if name not in found and name not in self.whiteouts:
                    number = self.sb.layer.number_of(device, inode)
                    found[name] = Dirent(name, number, kind)
        return [found[name] for name in sorted(found)]

    def create(self, name: str, making: Making) -> OverlayNode:
        """Make something new, where the name is free."""
        self.make_upper()
        node = self.sb.new(making)
        if isinstance(node, OverlayFile):
            node.copy_up()
        self._put(name, node)
        return node

    def tmpfile(self, making: Making) -> OverlayNode:
        """A regular file without a name."""
        node = self.sb.new(making)
        assert isinstance(node, OverlayFile)
        node.copy_up()
        node.linkable = node.unnamed = True
        return node

    def link(self, name: str, node: Node) -> None:
        """Give a node one more name."""
        assert isinstance(node, OverlayNode)
        self._put(name, node)

    def remove(self, name: str, node: Node) -> None:
        """Take the name away; ENOTEMPTY."""
        assert isinstance(node, OverlayNode)
        if isinstance(node, OverlayDir) and node.entries():
            raise LinuxError(errno.ENOTEMPTY)
        self._take(name, node)
        node.nlink = 1 if isinstance(node, OverlayDir) else node.nlink
        node.drop_name()

    def rename(self, name: str, to: Node, new: str, *, exchange: bool) -> None:
        """Move an entry, in place of what is there, or in exchange for it."""
        node, target = self.lookup(name), to.lookup(new)
        assert isinstance(to, OverlayDir)
        assert node is not None
        if exchange:
            assert isinstance(target, OverlayNode)
            self._take(name, node)
            to._take(new, target)
            self._set(name, target)
            target.changed_now()
        else:
            if target is not None:
                to.remove(new, target)
            self._take(name, node)
        to._set(new, node)
        node.changed_now()

    def _put(self, name: str, node: OverlayNode) -> None:
        self._set(name, node)
        if isinstance(node, OverlayDir):
            node.nlink = 0
        node.add_name()

    def _set(self, name: str, node: OverlayNode) -> None:
        self._modified()
        self.named[name] = node
        self._absent.pop(name, None)
        self._nr_dirs += node.is_dir

    def _take(self, name: str, node: OverlayNode) -> None:
        self._modified()
        if self.named.pop(name, None) is not None:
            self._nr_dirs -= node.is_dir
        if name not in self.whiteouts and self.below(name) is not None:
            self.whiteouts[name] = None

    def _modified(self) -> None:
        attributes = self.make_upper()
        attributes.mtime = attributes.ctime = self.sb.layer.now()
