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

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakValueDictionary

from cpu.fs.files import O_ACCMODE, O_RDONLY, O_TRUNC, O_WRONLY, Dirent
from cpu.fs.kstat import BLOCK_SIZE, Kstat
from cpu.fs.node import Change, Dentry, Making, Node, SuperBlock, Usage, d_path
from cpu.fs.regular_files import HostFile
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.fs.fifo import Fifo
    from cpu.fs.files import OpenFile
    from cpu.fs.inode import Attributes, Inode
    from cpu.fs.lower import LowerDir
    from cpu.fs.upper import UpperLayer


class Overlay(SuperBlock):
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
        self.changed: set[OverlayNode] = set()
        """Upper nodes, which must not be forgotten."""
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
                node.other_places.add(node.place)
            node.place, node.info = (place, name), info
        elif not node.is_dir:
            node.other_places.add((place, name))
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

    cached = True

    def __init__(self, sb: Overlay) -> None:
        self.sb: Overlay = sb
        self.place: tuple[LowerDir, str] | None = None
        self.other_places: set[tuple[LowerDir, str]] = set()
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


class OverlayFile(OverlayNode):
    """A regular file. ``store`` is the number of its data in the upper layer, None: it is below."""

    def __init__(self, sb: Overlay) -> None:
        super().__init__(sb)
        self.store: int | None = None
        self.inode: Inode | None = None
        self.unnamed = False
        """Made without a name, and still without one."""

    def _size(self) -> tuple[int, int]:
        info = self._host_info()
        return (0, 0) if info is None else (info.st_size, info.st_blocks)

    def _host_info(self) -> os.stat_result | None:
        inode = self.inode
        if inode is not None and inode.opens:
            return inode.fstat()
        if self.store is not None:
            return (
                None
                if not self.nlink and not self.unnamed
                else self.sb.layer.stat_store(self.store)
            )
        if self.place is not None:
            return self.place[0].lstat(self.place[1]) or self.info
        return None

    def _lower_kstat(self) -> Kstat:
        kstat = super()._lower_kstat()
        if self.inode is not None and self.inode.opens:
            info = self.inode.fstat()
            kstat.size, kstat.blocks = info.st_size, info.st_blocks
        return kstat

    def make_upper(self) -> Attributes:
        """It is to be changed; its data stays where it is."""
        attributes = super().make_upper()
        if self.inode is not None:
            self.inode.attributes = attributes
        return attributes

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open it, copied up if it is to be written."""
        writes = flags & O_ACCMODE != O_RDONLY or bool(flags & O_TRUNC)
        if writes:
            self.copy_up()
        fd = self.open_data()
        path = "" if dentry is None else d_path(dentry)
        file = HostFile(self._inode(fd), fd, flags, path)
        if not self.nlink:
            file.on_release.append(self._released)
        return file

    def _released(self) -> None:
        """An open file without a name goes: O_TMPFILE's data with the last one."""
        if self.unnamed and not self.nlink and self.inode is not None and self.inode.opens == 1:
            self.unnamed = False
            self.sb.layer.release()
            self._gone()

    def _inode(self, fd: int) -> Inode:
        layer = self.sb.layer
        self.inode = layer.inodes.iget(
            os.fstat(fd), upper=self.store is not None, shmem=self.sb.shmem
        )
        if self.attributes is not None:
            self.inode.attributes = self.attributes
        return self.inode

    def open_data(self) -> int:
        """A new descriptor of the host's file."""
        inode = self.inode
        if self.store is not None:
            if not self.nlink and not self.unnamed:
                if inode is None or not inode.opens:
                    raise LinuxError(errno.ENOENT)
                return os.dup(inode.data.fd)
            return self.sb.layer.open_store(self.store)
        assert self.place is not None
        directory, name = self.place
        try:
            fd = directory.open(name)
        except LinuxError:
            if inode is None or not inode.opens:
                raise
            return os.dup(inode.data.fd)
        info = os.fstat(fd)
        if self.info is not None and self.info.st_ino != info.st_ino:
            self.info = info
        return fd

    def copy_up(self) -> None:
        """Have its data in the upper layer. EROFS, ENOSPC, ETXTBSY."""
        if self.store is not None:
            return
        layer = self.sb.layer
        if self.inode is not None and self.inode.writers < 0:
            raise LinuxError(errno.ETXTBSY)
        self.make_upper()
        if self.place is None:
            self.store, fd = layer.new_store()
            os.close(fd)
            return
        source = self.open_data()
        try:
            inode = layer.inodes.find(os.fstat(source))
            self.store, fd = layer.copy(source)
        finally:
            os.close(source)
        if inode is not None:
            inode.copy_up(fd)
        else:
            os.close(fd)

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long."""
        file = self.open_at(None, O_WRONLY)
        file.users += 1
        try:
            file.truncate(size)
        finally:
            file.put()

    def _gone(self) -> None:
        if self.store is not None:
            layer = self.sb.layer
            info = layer.stat_store(self.store)
            layer.unlink_store(self.store)
            layer.inodes.forget(info)


class OverlayLink(OverlayNode):
    """A symbolic link; ``text`` is what it says, None: what the host's says."""

    text: str | None = None

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

    def __init__(self, sb: Overlay) -> None:
        super().__init__(sb)
        self.fifo: Fifo | None = None
        """What those share who have it open."""

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open a FIFO: it is the guests' own, even where the host has one."""
        if stat.S_ISFIFO(self.mode):
            return self.sb.open_fifo(self, flags)
        raise LinuxError(errno.ENXIO if stat.S_ISSOCK(self.mode) else errno.EACCES)


class OverlayDir(OverlayNode):
    """A directory; ``lower`` is the host's, None: there is none, or none to be seen."""

    def __init__(self, sb: Overlay) -> None:
        super().__init__(sb)
        self.lower: LowerDir | None = None
        self.named: dict[str, OverlayNode] = {}
        self.whiteouts: set[str] = set()
        self.base: dict[str, OverlayNode] = {}
        self._absent: set[str] = set()
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
            self._absent.add(name)
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
        self._absent.discard(name)
        self._nr_dirs += node.is_dir

    def _take(self, name: str, node: OverlayNode) -> None:
        self._modified()
        if self.named.pop(name, None) is not None:
            self._nr_dirs -= node.is_dir
        if name not in self.whiteouts and self.below(name) is not None:
            self.whiteouts.add(name)

    def _modified(self) -> None:
        attributes = self.make_upper()
        attributes.mtime = attributes.ctime = self.sb.layer.now()


_MAX_ABSENT: Final = 4096
"""Names that a directory remembers not to have."""
