# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of all tasks of a machine: what a View gives, and what the machine makes up, mounted
over it (fs/namespace.c, v6.18).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cpu.cred import Cred
from cpu.fs.dcache import DentryCache
from cpu.fs.fifo import FifoNode, open_fifo
from cpu.fs.hostfs import HostFs
from cpu.fs.keep import Keeper
from cpu.fs.lower import Descriptors, held_root
from cpu.fs.node import (
    OVERLAYFS_SUPER_MAGIC,
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    TMPFS_MAGIC,
    Dentry,
    Node,
    SuperBlock,
)
from cpu.fs.overlay import Overlay
from cpu.fs.overlay_dir import OverlayDir
from cpu.fs.overlay_node import OverlayNode
from cpu.fs.pseudo_fs import Directory
from cpu.fs.upper import UpperLayer
from cpu.fs.view import Given, View, ViewError
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.fs.inode import InodeTable
    from mmu.linux.sched import Scheduler

_MAGIC: Final = {"proc": PROC_SUPER_MAGIC, "sys": SYSFS_MAGIC}
_TYPE: Final = {"proc": "proc", "sys": "sysfs", "dev": "devtmpfs"}
_FIRST_DEV: Final = 40
_SHM: Final = "/dev/shm"


class FileSystem:
    """The tree. ``mounts`` are the things that the machine makes up, by absolute paths; ``view``
    says what of the host's there is, and where writes go; ``inodes`` has those of the host's files
    that are open. ``cred`` says who asks, where no task does; ``scheduler`` lets openers of FIFOs
    wait. close() it. Raises ViewError.
    """

    def __init__(
        self,
        mounts: Mapping[str, Node],
        view: View,
        inodes: InodeTable,
        *,
        cred: Callable[[], Cred] | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self.cred = cred or (lambda: Cred.of(0, 0))
        inodes.cred = self.cred
        self.cache = DentryCache()
        self.roots: list[Dentry] = []
        """The roots of what is mounted, in the order of their mounting."""
        self._scheduler = scheduler
        self._descriptors = Descriptors()
        self._host: list[HostFs] = []
        try:
            self.layer = UpperLayer(inodes, view.upper, view.files, inodes.now)
        except OSError as error:
            raise ViewError(str(view.upper), str(error.strerror)) from None
        self.overlay = self._overlay("overlay", OVERLAYFS_SUPER_MAGIC)
        try:
            self._build(mounts, view, inodes)
        except ViewError:
            self.close()
            raise

    def close(self) -> None:
        """Give the host's descriptors back."""
        self._descriptors.close()
        for host in self._host:
            host.descriptors.close()
        self.layer.close()

    def keep(self) -> int:
        """Make a tree of what guests wrote, in the upper layer's directory (cpu.fs.keep); returns
        how many names are not in it (cpu.fs.keep). Nobody may use the tree afterwards. Raises
        OSError, LinuxError.
        """
        keeper, node = Keeper(self.overlay), self.root.node
        assert isinstance(node, OverlayDir)
        keeper.keep(node)
        return keeper.lost

    @property
    def root(self) -> Dentry:
        """The root of all."""
        return self.roots[0]

    def _overlay(self, name: str, magic: int, *, shmem: bool = False) -> Overlay:
        return Overlay(
            name,
            self._new_dev(),
            magic,
            self.layer,
            shmem=shmem,
            open_fifo=self._open_fifo,
        )

    def _new_dev(self) -> int:
        self._nr_devs = getattr(self, "_nr_devs", 0) + 1
        return _FIRST_DEV + self._nr_devs - 1

    def _open_fifo(self, node: FifoNode, flags: int) -> OpenFile:
        if self._scheduler is None:
            raise LinuxError(errno.ENXIO)
        return open_fifo(self._scheduler, node, flags)

    # What is there.

    def _build(self, mounts: Mapping[str, Node], view: View, inodes: InodeTable) -> None:
        given = sorted(view.given, key=lambda one: one.path.count("/") if one.path != "/" else 0)
        top = next((one for one in given if one.path == "/"), None)
        node = self.overlay.synthetic() if top is None else self._given_node(top)
        if not isinstance(node, OverlayDir):
            raise ViewError("/", "is no directory")
        self._mount_root(node, self.overlay)
        for path, text in view.links:
            directory, name = self._way(path)
            directory.add_below(name, self.overlay.fixed_link(text))
        self._fresh(view)  # before others make the directories above them
        ours = [path for path in mounts if path.count("/") == 1]
        mounted = [*ours, *(one.path for one in given if one.writable)]
        later: list[Given] = []
        for one in given:
            if one.path == "/":
                continue
            if any(_is_beneath(one.path, path) for path in mounted):
                later.append(one)
            else:
                directory, name = self._way(one.path)
                directory.add_below(name, self._given_node(one))
        self._fresh(view)
        for path, node_of in mounts.items():
            name = path[1:].partition("/")[0]
            kind = _TYPE.get(name, "tmpfs")
            sb = SuperBlock(kind, self._new_dev(), _MAGIC.get(name, TMPFS_MAGIC))
            sb.time, sb.fixed = self.layer.now(), kind in ("proc", "sysfs")
            self._mount(path, node_of, sb)
        if any(_is_beneath(_SHM, path) for path in ours):
            shm = self._overlay("tmpfs", TMPFS_MAGIC, shmem=True)
            self._mount(_SHM, shm.synthetic(0o1777), shm)
        for one in later:
            inner = (
                other
                for other in given
                if one.writable
                and not other.writable
                and other.path != "/"
                and other.host.startswith(one.host + "/")
            )
            self._mount_given(one, _identities(inner))

    def _given_node(self, given: Given) -> OverlayNode:
        """The node of what was given. Raises ViewError."""
        try:
            info = os.stat(given.host, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                lower = held_root(self._descriptors, given.host, public=given.public_only)
                return self.overlay.root_node(lower)
            above, name = os.path.split(given.host)
            place = held_root(self._descriptors, above, public=False)
            return self.overlay.lower_node(place, name, info)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise ViewError(given.host, why) from None

    def _way(self, path: str) -> tuple[OverlayDir, str]:
        """The directory that ``path`` lies in, made if there is none, and the last name."""
        *names, last = path.strip("/").split("/")
        directory = self.roots[0].node
        assert isinstance(directory, OverlayDir)
        for name in names:
            child = directory.lookup(name)
            if not isinstance(child, OverlayDir):
                child = self.overlay.synthetic()
            directory.add_below(name, child)
            directory = child
        return directory, last

    def _directory(self, path: str, mode: int, uid: int = 0, gid: int = 0) -> None:
        """A directory, made if there is nothing at the path."""
        directory, name = self._way(path)
        if directory.lookup(name) is None:
            directory.add_below(name, self.overlay.synthetic(mode, uid, gid))

    def _fresh(self, view: View) -> None:
        for path in view.fresh:
            if not path.startswith("/dev/"):
                self._directory(path, 0o1777)
        if view.home is not None:
            cred = self.cred()
            self._directory(view.home, 0o755, cred.uid, cred.gid)

    # Mounting.

    def _mount_root(self, node: Node, sb: SuperBlock) -> None:
        sb.mnt_id = 1
        self.roots.append(Dentry(None, "", node))

    def _mount(self, path: str, node: Node, sb: SuperBlock) -> None:
        """Mount ``node`` at ``path``, where a directory or a file is put if there is none."""
        parent, name = self._mount_point(path, node)
        if not isinstance(node, OverlayNode):
            node.sb = sb
        sb.mnt_id = len(self.roots) + 1
        root = Dentry(parent, name, node)
        root.mounted = True
        node.found(root)
        parent.mounts[name] = root
        self.roots.append(root)

    def _mount_point(self, path: str, node: Node) -> tuple[Dentry, str]:
        """The directory's entry and the name."""
        *names, last = path.strip("/").split("/")
        at = self.roots[0]
        for name in names:
            below = self.cache.lookup(at, name)
            if below is None or not below.node.is_dir:
                if below is not None:
                    self.cache.drop(below)
                self._put_under(at.node, name, is_dir=True)
                below = self.cache.lookup(at, name)
            assert below is not None
            at = below
        if at.node.lookup(last) is None:
            self._put_under(at.node, last, is_dir=node.is_dir)
        return at, last

    def _put_under(self, directory: Node, name: str, *, is_dir: bool) -> None:
        """Have something to mount on."""
        if isinstance(directory, OverlayDir):
            make = self.overlay.synthetic if is_dir else self.overlay.placeholder
            directory.add_below(name, make())
        elif isinstance(directory, Directory):
            directory.add(name, Directory())

    def _mount_given(self, given: Given, kept: frozenset[tuple[int, int]]) -> None:
        if not given.writable:
            self._mount(given.path, self._given_node(given), self.overlay)
            return
        host = HostFs("hostfs", self._new_dev(), given.host, self.layer, self._open_fifo)
        host.kept = kept
        self._host.append(host)
        try:
            root = host.root()
        except OSError as error:
            raise ViewError(given.host, str(error.strerror)) from None
        self._mount(given.path, root, host)


def _identities(given: Iterable[Given]) -> frozenset[tuple[int, int]]:
    """Device and inode of each."""
    found = set()
    for one in given:
        with suppress(OSError, ValueError):
            info = os.stat(one.host, follow_symlinks=False)
            found.add((info.st_dev, info.st_ino))
    return frozenset(found)


def _is_beneath(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")
