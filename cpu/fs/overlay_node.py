# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes of the overlay: what is said of them, below and above (cpu.fs.overlay)."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from cpu.fs.kstat import Kstat
from cpu.fs.node import Change, Dentry, Making, Node, SuperBlock
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.fs.fifo import Fifo
    from cpu.fs.files import OpenFile
    from cpu.fs.inode import Attributes
    from cpu.fs.lower import LowerDir
    from cpu.fs.upper import UpperLayer


class OverlaySuper(SuperBlock):
    """What nodes know of the super block. ``shmem``: pages of its files count as shared memory, as
    a tmpfs's do. ``open_fifo`` opens a FIFO, whose node it is given.
    """

    layer: UpperLayer
    shmem: bool
    open_fifo: Callable[[OverlaySpecial, int], OpenFile]
    changed: set[OverlayNode]
    """Upper nodes, which must not be forgotten."""

    def lower_node(self, place: LowerDir, name: str, info: os.stat_result) -> OverlayNode:
        """The node of a file of the host's; all its names have one."""
        raise NotImplementedError

    def new(self, making: Making) -> OverlayNode:
        """Something new, which has no name yet."""
        raise NotImplementedError


class Fixed(NamedTuple):
    """What is to be said of a directory on the way to what was given; ``time`` is when the machine
    started, nanoseconds since 1970.
    """

    mode: int
    uid: int
    gid: int
    number: int
    time: int


class OverlayNode(Node):
    """A node of the overlay.

    ``place`` and ``info`` are of the host's file, if there is one below. ``attributes`` an upper
    one has, and ``nlink`` is then how many names.
    """

    __slots__ = (
        "attributes",
        "fixed",
        "info",
        "linkable",
        "nlink",
        "other_places",
        "place",
    )
    cached = True
    sb: OverlaySuper

    def __init__(self, sb: OverlaySuper) -> None:
        self.sb = sb
        self.place: tuple[LowerDir, str] | None = None
        self.other_places: tuple[tuple[LowerDir, str], ...] = ()
        """Where else hard links of it were found."""
        self.info: os.stat_result | None = None
        self.fixed: Fixed | None = None
        self.attributes: Attributes | None = None
        self.nlink = 1
        self.linkable = False
        """Made by O_TMPFILE without O_EXCL: it may get a name."""

    @property
    def mode(self) -> int:  # type: ignore[override]
        """S_IFMT bits and rights."""
        if self.attributes is not None:
            return self.attributes.mode
        return self.info.st_mode if self.info is not None else self._fixed.mode

    @property
    def uid(self) -> int:  # type: ignore[override]
        """Owner."""
        if self.attributes is not None:
            return self.attributes.uid
        return self.info.st_uid if self.info is not None else self._fixed.uid

    @property
    def gid(self) -> int:  # type: ignore[override]
        """Group."""
        if self.attributes is not None:
            return self.attributes.gid
        return self.info.st_gid if self.info is not None else self._fixed.gid

    @property
    def _fixed(self) -> Fixed:
        assert self.fixed is not None, "a node is new, of the host's, or fixed"
        return self.fixed

    def getattr(self) -> Kstat:
        """What stat() says: of a lower file what the host says now."""
        if self.attributes is None:
            kstat = self._lower_kstat()
        else:
            a = self.attributes
            kstat = Kstat(
                mode=a.mode,
                ino=a.number,
                nlink=self.nlink,
                uid=a.uid,
                gid=a.gid,
                rdev=a.rdev,
                atime=a.atime,
                mtime=a.mtime,
                ctime=a.ctime,
                btime=a.btime,
            )
            kstat.size, kstat.blocks = self._size()
        kstat.dev, kstat.mnt_id = self.sb.dev, self.sb.mnt_id
        return kstat

    def _lower_kstat(self) -> Kstat:
        if self.info is None:
            fixed = self._fixed
            kstat = Kstat(fixed.mode, fixed.number, uid=fixed.uid, gid=fixed.gid)
            kstat.nlink = 2 if self.is_dir else 1
            kstat.atime = kstat.mtime = kstat.ctime = fixed.time
            kstat.size, kstat.blocks = self._size()
            return kstat
        if self.place is not None:
            now = self.place[0].lstat(self.place[1])
            if now is not None and now.st_ino == self.info.st_ino:
                self.info = now
        kstat = Kstat.of_host(self.info)
        kstat.ino = self.sb.layer.number_of(self.info.st_dev, self.info.st_ino)
        return kstat

    @property
    def number(self) -> int:
        """st_ino."""
        if self.attributes is not None:
            return self.attributes.number
        if self.info is not None:
            return self.sb.layer.number_of(self.info.st_dev, self.info.st_ino)
        return self._fixed.number

    def _size(self) -> tuple[int, int]:
        """Bytes, and blocks of 512."""
        return 0, 0

    def make_upper(self) -> Attributes:
        """It is to be changed: from now on the upper layer has it. EROFS, ENOSPC."""
        if self.attributes is None:
            layer = self.sb.layer
            if self.info is None:
                fixed = self._fixed
                self.attributes = layer.make(Making(fixed.mode, fixed.uid, fixed.gid))
                self.attributes.number = fixed.number
            else:
                self.attributes = layer.copy_of(self.info)
                self.nlink = self.info.st_nlink
            self.sb.changed.add(self)
        return self.attributes

    def found_also_at(self, place: tuple[LowerDir, str]) -> None:
        """A hard link of it was found."""
        if place not in self.other_places:
            self.other_places = (*self.other_places, place)

    def may_link(self) -> bool:
        """Whether it has a name, or never had one."""
        return bool(self.nlink) or self.linkable

    def forbid_link(self) -> None:
        """It may not get a name."""
        self.linkable = False

    def changed_now(self) -> None:
        """Ctime is now."""
        self.make_upper().ctime = self.sb.layer.now()

    def setattr(self, change: Change) -> None:
        """Change attributes."""
        a = self.make_upper()
        if change.mode is not None:
            a.mode = stat.S_IFMT(a.mode) | change.mode
        if change.uid is not None:
            a.uid = change.uid
        if change.gid is not None:
            a.gid = change.gid
        if change.atime is not None:
            a.atime = change.atime
        if change.mtime is not None:
            a.mtime = change.mtime
        a.ctime = self.sb.layer.now()

    def add_name(self) -> None:
        """One name more."""
        self.make_upper()
        self.nlink += 1
        self.changed_now()
        self.sb.changed.add(self)

    def drop_name(self) -> None:
        """One name less; with the last one the data goes when nobody has it open."""
        self.make_upper()
        self.nlink -= 1
        self.changed_now()
        if self.nlink <= 0:
            self.nlink = 0
            self.sb.changed.discard(self)
            self.sb.layer.release()
            self._gone()

    def _gone(self) -> None:
        """No name leads to it any more."""

    def xattrs(self) -> dict[str, bytes]:
        """Those that guests set."""
        found = {} if self.attributes is None else self.attributes.xattrs
        return {os.fsdecode(name): value for name, value in found.items()}

    def set_xattr(self, name: str, value: bytes | None) -> None:
        """Set or remove one, in memory."""
        xattrs = self.make_upper().xattrs
        if value is None:
            del xattrs[os.fsencode(name)]
        else:
            xattrs[os.fsencode(name)] = value
        self.changed_now()


class OverlayLink(OverlayNode):
    """A symbolic link; ``text`` is what it says, None: what the host's says."""

    __slots__ = ("text",)

    def __init__(self, sb: OverlaySuper) -> None:
        super().__init__(sb)
        self.text: str | None = None

    def readlink(self) -> str:
        """What it says."""
        if self.text is None:
            assert self.place is not None
            directory, name = self.place
            self.text = directory.readlink(name)
        return self.text

    def _size(self) -> tuple[int, int]:
        return len(os.fsencode(self.readlink())), 0


class OverlaySpecial(OverlayNode):
    """A FIFO, the name of a socket, or a device of the host's, which cannot be opened."""

    __slots__ = ("fifo",)

    def __init__(self, sb: OverlaySuper) -> None:
        super().__init__(sb)
        self.fifo: Fifo | None = None
        """What those share who have it open."""

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open a FIFO: it is the guests' own, even where the host has one."""
        if stat.S_ISFIFO(self.mode):
            return self.sb.open_fifo(self, flags)
        raise LinuxError(errno.ENXIO if stat.S_ISSOCK(self.mode) else errno.EACCES)
