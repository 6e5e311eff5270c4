# SPDX-License-Identifier: GPL-2.0-or-later
"""Making a directory of the upper layer that others can use (--keep).

Until then the layer is one file for the data of each regular file, and the rest is in memory. What
is made has what guests changed, under its names, in the form of a layer of an OCI image: an empty
file ``.wh.NAME`` for a name that was taken away, ``.wh..wh..opq`` in a directory that hides what is
below. Rights up to 0777 and times are kept; owners, FIFOs and sockets are not, nor is what a guest
called ``.wh.`` and more itself.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cpu.fs.overlay_dir import OverlayDir
from cpu.fs.overlay_file import OverlayFile
from cpu.fs.overlay_node import OverlayLink, OverlayNode
from cpu.fs.upper import copy_data
from cpu.fs.walk import NAME_MAX

if TYPE_CHECKING:
    from cpu.fs.lower import LowerDir
    from cpu.fs.overlay import Overlay

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
_STORES: Final = ".wh..stores"  # no name that is saved

Key = tuple[int | str, ...]


@dataclass
class _Work:
    """A directory that is being made: ``whole``: all that it holds is written, else what was
    changed. ``fd`` is -1 until something is.
    """

    node: OverlayDir
    name: str
    parent: _Work | None
    whole: bool
    hides: bool
    fd: int = -1
    left: list[str] | None = None


class Keeper:
    """Makes the tree of an overlay's changes in the upper layer's own directory."""

    def __init__(self, overlay: Overlay) -> None:
        self._layer = overlay.layer
        self._changed: dict[Key, set[str]] = {}
        self._linked: dict[OverlayFile, str] = {}
        self.lost = 0
        """FIFOs and sockets, and names that would be read as whiteouts, which are not kept."""
        for node in overlay.changed:
            self._note(node)

    def keep(self, root: OverlayDir) -> None:
        """Make it; the layer cannot be used afterwards. Raises OSError, LinuxError."""
        layer = self._layer
        os.mkdir(_STORES, 0o700, dir_fd=layer.fd)
        stores = os.open(_STORES, os.O_RDONLY | os.O_DIRECTORY, dir_fd=layer.fd)
        try:
            for name in os.listdir(layer.fd):
                if name != _STORES:
                    os.rename(name, name, src_dir_fd=layer.fd, dst_dir_fd=stores)
            self._tree(root, stores)
            for name in os.listdir(stores):
                os.unlink(name, dir_fd=stores)
        finally:
            os.close(stores)
        os.rmdir(_STORES, dir_fd=layer.fd)

    def _note(self, node: OverlayNode) -> None:
        """Know on which directories of the host's a changed node lies."""
        places = [*node.other_places, *([] if node.place is None else [node.place])]
        for at, name in places:
            self._note_place(at, name)

    def _note_place(self, at: LowerDir | None, name: str) -> None:
        while at is not None:
            self._changed.setdefault(_key(at), set()).add(name)
            name, at = at.name, at.parent

    def _tree(self, root: OverlayDir, stores: int) -> None:
        top = _Work(root, "", None, whole=False, hides=False, fd=os.dup(self._layer.fd))
        stack = [top]
        while stack:
            work = stack[-1]
            if work.left is None:
                work.left = self._begin(work)
            if not work.left:
                self._end(stack.pop())
                continue
            below = self._entry(work, work.left.pop(), stores)
            if below is not None:
                stack.append(below)

    def _begin(self, work: _Work) -> list[str]:
        """The names that are to be looked at."""
        node = work.node
        if work.whole:
            self._make(work)
            if work.hides:
                _touch(work.fd, OPAQUE)
            return [entry.name for entry in reversed(node.entries())]
        gone = [name for name in sorted(node.whiteouts) if name not in node.named]
        for name in gone:
            if name.startswith(WHITEOUT) or len(os.fsencode(WHITEOUT + name)) > NAME_MAX:
                self.lost += 1
                continue
            self._make(work)
            _touch(work.fd, WHITEOUT + name)
        if node.attributes is not None and work.parent is not None:
            self._make(work)
        names = {*node.named, *node.base}
        if node.lower is not None:
            names |= self._changed.get(_key(node.lower), set()) - node.whiteouts.keys()
        return sorted(names, reverse=True)

    def _entry(self, work: _Work, name: str, stores: int) -> _Work | None:
        """Write an entry, unless it is a directory: that is returned."""
        node = work.node.lookup(name)
        if node is None:
            return None
        below = None if work.whole else work.node.below(name)
        same = below is node
        if name.startswith(WHITEOUT):
            self.lost += not same
            return None
        if isinstance(node, OverlayDir):
            return _Work(node, name, work, whole=not same, hides=below is not None and not same)
        if same and node.attributes is None:
            return None
        self._make(work)
        if isinstance(node, OverlayLink):
            os.symlink(node.readlink(), name, dir_fd=work.fd)
        elif isinstance(node, OverlayFile):
            self._file(node, work.fd, name, stores)
        else:
            self.lost += 1
        return None

    def _file(self, node: OverlayFile, fd: int, name: str, stores: int) -> None:
        store = self._linked.get(node) or self._store(node, stores)
        if node.nlink > 1:
            self._linked[node] = store
            os.link(store, name, src_dir_fd=stores, dst_dir_fd=fd)
        else:
            os.rename(store, name, src_dir_fd=stores, dst_dir_fd=fd)
        _finish(node, fd, name)

    def _store(self, node: OverlayFile, stores: int) -> str:
        """The file for its data, made if the layer has none."""
        if node.store is not None:
            return str(node.store)
        store = f"copy{len(self._linked)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        target = os.open(store, flags, 0o600, dir_fd=stores)
        source = node.open_data()
        try:
            copy_data(source, target)
        finally:
            os.close(source)
            os.close(target)
        return store

    def _make(self, work: _Work) -> None:
        """Have the directory, and those above it."""
        missing: list[_Work] = []
        at: _Work | None = work
        while at is not None and at.fd < 0:
            missing.append(at)
            at = at.parent
        for one in reversed(missing):
            assert one.parent is not None
            os.mkdir(one.name, 0o700, dir_fd=one.parent.fd)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            one.fd = os.open(one.name, flags, dir_fd=one.parent.fd)

    def _end(self, work: _Work) -> None:
        if work.fd < 0:
            return
        os.close(work.fd)
        if work.parent is not None:
            _finish(work.node, work.parent.fd, work.name)


def _key(directory: LowerDir) -> Key:
    """The same for every LowerDir of one directory."""
    names: list[str] = []
    at = directory
    while at.parent is not None:
        names.append(at.name)
        at = at.parent
    return (id(at), *reversed(names))


def _touch(fd: int, name: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
    os.close(os.open(name, flags, 0o600, dir_fd=fd))


def _finish(node: OverlayNode, fd: int, name: str) -> None:
    """Rights and times."""
    kstat = node.getattr() if node.attributes is None else None
    mode = node.mode & 0o777
    os.chmod(name, mode | (stat.S_IRWXU if node.is_dir else 0), dir_fd=fd)
    a = node.attributes
    times = (kstat.atime, kstat.mtime) if kstat else (a.atime, a.mtime) if a else (0, 0)
    os.utime(name, ns=times, dir_fd=fd, follow_symlinks=False)
