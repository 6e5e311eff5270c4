# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache of directory entries, and the path that one has (fs/dcache.c, fs/d_path.c, v6.18).

A Dentry is a name in a directory and what it stands for. It is kept while somebody has it: a
working directory, an open file, an entry below it; of the others the last DENTRIES that were walked
through. One that was removed or replaced keeps its name, as ``unhashed``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from cpu.fs.node import Node

DENTRIES: Final = 1 << 14
"""Entries that are kept though nobody has them."""


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

    def above(self) -> Iterator[Dentry]:
        """The directories it lies in, the nearest first."""
        at = self
        while at.parent is not at:
            at = at.parent
            yield at

    def is_subdir(self, other: Dentry) -> bool:
        """Whether it is ``other``, or lies beneath it."""
        return self is other or any(at is other for at in self.above())


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
            return None
        if child is not None:
            if child.node is node:
                return child
            self.drop(child)
        return self.add(parent, name, node)

    def add(self, parent: Dentry, name: str, node: Node) -> Dentry:
        """A new entry (d_add())."""
        child = Dentry(parent, name, node)
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
