# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache of directory entries (fs/dcache.c, v6.18).

A Dentry is kept while somebody has it: a
working directory, an open file, an entry below it; of the others the last DENTRIES that were walked
through. One that was removed or replaced keeps its name, as ``unhashed``.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import Final
from weakref import WeakValueDictionary

from cpu.fs.node import Dentry, Node
from mmu.errors import LinuxError

DENTRIES: Final = 1 << 14
"""Entries that are kept though nobody has them."""


class DentryCache:
    """The entries of a tree."""

    def __init__(self) -> None:
        self._recent: OrderedDict[int, Dentry] = OrderedDict()

    def lookup(self, parent: Dentry, name: str) -> Dentry | None:
        """The entry ``name`` of a directory; None if there is none (lookup_one())."""
        if parent.mounts:
            mounted = parent.mounts.get(name)
            if mounted is not None:
                return mounted
        children = parent.children
        child = None if children is None else children.get(name)
        if child is not None and parent.node.cached:
            return child
        node = parent.node.lookup(name)
        if node is None:
            if child is not None:
                self.drop(child)
            if parent.node.sb.fixed:
                raise LinuxError(errno.ENOENT)
            return None
        if child is not None:
            if child.node is node:
                return child
            self.drop(child)
        return self.add(parent, name, node)

    def add(self, parent: Dentry, name: str, node: Node) -> Dentry:
        """A new entry (d_add())."""
        child = Dentry(parent, name, node)
        node.found(child)
        if parent.children is None:
            parent.children = WeakValueDictionary()
        parent.children[name] = child
        if parent.node.cached:
            recent = self._recent
            recent[id(child)] = child
            if len(recent) > DENTRIES:
                recent.popitem(last=False)
        return child

    def drop(self, dentry: Dentry) -> None:
        """The name is gone, or stands for something else (d_drop())."""
        dentry.unhashed = True
        self._recent.pop(id(dentry), None)
        children = dentry.parent.children
        if children is not None and children.get(dentry.name) is dentry:
            del children[dentry.name]

    def move(self, dentry: Dentry, parent: Dentry, name: str) -> None:
        """It has got another name (d_move())."""
        children = dentry.parent.children
        if children is not None and children.get(dentry.name) is dentry:
            del children[dentry.name]
        dentry.parent, dentry.name = parent, name
        if parent.children is None:
            parent.children = WeakValueDictionary()
        parent.children[name] = dentry

    def exchange(self, one: Dentry, other: Dentry) -> None:
        """Each has got the other's name (d_exchange())."""
        parent, name = other.parent, other.name
        self.move(other, one.parent, one.name)
        dentry_parent, dentry_name = one.parent, one.name
        one.parent, one.name = parent, name
        for dentry in (one, other):
            children = dentry.parent.children
            if children is None:
                children = dentry.parent.children = WeakValueDictionary()
            children[dentry.name] = dentry
        assert (other.parent, other.name) == (dentry_parent, dentry_name)
