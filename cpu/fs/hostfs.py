# SPDX-License-Identifier: GPL-2.0-or-later
"""A directory of the host's that guests may write to (--writable): what they do there is done.

Each operation is one of the host's, on one name in a directory that is held open. What is never put
on the host is kept here while the machine runs: owners, S_ISUID, S_ISGID and S_ISVTX, FIFOs and
sockets (cpu.fs.host_special).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from cpu.fs.files import O_ACCMODE, O_RDONLY, O_TRUNC, O_WRONLY, Dirent
from cpu.fs.host_special import HostSpecial, Specials
from cpu.fs.kstat import BLOCK_SIZE, Kstat
from cpu.fs.lower import Descriptors, LowerDir
from cpu.fs.node import Change, Dentry, Making, Node, SuperBlock, Usage
from cpu.fs.openat2 import host_error, open_beneath
from cpu.fs.regular_files import HostFile
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cpu.fs.files import OpenFile
    from cpu.fs.upper import UpperLayer

HOSTFS_MAGIC: Final = 0x00C0FFEE
RENAME_EXCHANGE: Final = 2
_NR_RENAMEAT2: Final = 316
_libc = ctypes.CDLL(None, use_errno=True)


class HostFs(SuperBlock):
    """The super block of the host's directory at ``path``, absolute and without links."""

    def __init__(
        self,
        name: str,
        dev: int,
        path: str,
        layer: UpperLayer,
        open_fifo: Callable[[HostSpecial, int], OpenFile],
    ) -> None:
        super().__init__(name, dev, HOSTFS_MAGIC)
        self.inodes = layer.inodes
        self.specials = Specials()
        self._layer = layer
        self._open_fifo = open_fifo
        self.descriptors = Descriptors()
        self.path = path
        self._nodes: WeakValueDictionary[tuple[int, int], HostNode] = WeakValueDictionary()
        self.owners: dict[tuple[int, int], tuple[int, int, int]] = {}
        """Owner, group and the mode's bits above 0o777 that guests gave."""
        self.kept: frozenset[tuple[int, int]] = frozenset()
        """Files and directories that were given to be read only: whatever name leads to them here,
        they and what they hold are not changed.
        """

    def usage(self) -> Usage:
        """What the host says."""
        info = os.statvfs(self.path)
        scale = max(info.f_frsize // BLOCK_SIZE, 1)
        return Usage(info.f_blocks * scale, info.f_bavail * scale, info.f_files, info.f_favail)

    def node(self, place: LowerDir, name: str, info: os.stat_result) -> HostNode:
        """The node of a file of the host's."""
        key = info.st_dev, info.st_ino
        node = self._nodes.get(key)
        if node is None or node.kind != stat.S_IFMT(info.st_mode):
            node = self._nodes[key] = HostNode(self, key)
            if stat.S_ISDIR(info.st_mode):
                node.directory = place.below(name)
        node.place, node.info = (place, name), info
        return node

    def new_special(self, making: Making) -> HostSpecial:
        """A FIFO or a socket's name, in memory."""
        number, now = self._layer.new_number(), self._layer.now
        return HostSpecial(self, making, number, now, self._open_fifo)

    def root(self) -> HostNode:
        """The node of the directory itself. Raises OSError."""
        top = LowerDir(self.descriptors, None, self.path, public=False)
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.path, flags | os.O_DIRECTORY)
        self.descriptors.hold(top, fd)
        info = os.fstat(fd)
        node = HostNode(self, (info.st_dev, info.st_ino))
        node.info, node.directory = info, top
        return node


class HostNode(Node):
    """A node of it; ``place`` is where it was found last, ``directory`` what a directory holds."""

    sb: HostFs

    def __init__(self, sb: HostFs, key: tuple[int, int]) -> None:
        self.sb = sb
        self.key = key
        self.place: tuple[LowerDir, str] | None = None
        self.info: os.stat_result
        self.directory: LowerDir | None = None

    @property
    def _given(self) -> tuple[int, int, int]:
        info = self.info
        return self.sb.owners.get(self.key, (info.st_uid, info.st_gid, info.st_mode & 0o7000))

    @property
    def mode(self) -> int:  # type: ignore[override]
        """S_IFMT bits and rights."""
        return self.info.st_mode & ~0o7000 | self._given[2]

    @property
    def uid(self) -> int:  # type: ignore[override]
        """Owner."""
        return self._given[0]

    @property
    def gid(self) -> int:  # type: ignore[override]
        """Group."""
        return self._given[1]

    @property
    def _dir(self) -> LowerDir:
        if self.directory is None:
            raise LinuxError(errno.ENOTDIR)
        if self.key in self.sb.kept:
            raise LinuxError(errno.EACCES)
        return self.directory

    def _not_kept(self, number: int) -> None:
        """Raise the error if the file is not to be changed."""
        if self.key in self.sb.kept:
            raise LinuxError(number)

    def getattr(self) -> Kstat:
        """What the host says now."""
        inode = self.sb.inodes.find(self.info)
        if inode is not None and inode.opens:
            self.info = inode.fstat()
        elif self.place is not None:
            now = self.place[0].lstat(self.place[1])
            if now is not None and (now.st_dev, now.st_ino) == self.key:
                self.info = now
        elif self.directory is not None:
            self.info = os.fstat(self.directory.fd)
        kstat = Kstat.of_host(self.info)
        kstat.mode, kstat.uid, kstat.gid = self.mode, self.uid, self.gid
        kstat.dev, kstat.mnt_id = self.sb.dev, self.sb.mnt_id
        return kstat

    def lookup(self, name: str) -> Node | None:
        """What is there under the name."""
        return self.sb.specials.get(self.key, name) or self._lookup_host(name)

    def _lookup_host(self, name: str) -> HostNode | None:
        info = self._dir.lstat(name)
        return None if info is None else self.sb.node(self._dir, name, info)

    def entries(self) -> list[Dirent]:
        """What the host lists, and what is in memory."""
        found = {name: Dirent(name, inode, kind) for name, inode, kind in self._dir.scan()}
        for name, node in self.sb.specials.of(self.key).items():
            found[name] = Dirent(name, node.number, node.kind)
        return [found[name] for name in sorted(found)]

    def readlink(self) -> str:
        """What the link says."""
        assert self.place is not None
        return self.place[0].readlink(self.place[1])

    def open_at(self, dentry: Dentry | None, flags: int) -> OpenFile:
        """Open a regular file."""
        if not stat.S_ISREG(self.mode):
            raise LinuxError(errno.EACCES)
        inode = self.sb.inodes.find(self.info)
        writes = flags & O_ACCMODE != O_RDONLY or bool(flags & O_TRUNC)
        if writes:
            self._not_kept(errno.EACCES)
        assert self.place is not None
        directory, name = self.place
        try:
            fd = self._open(directory, name, writes=writes)
        except LinuxError:
            if inode is None or not inode.opens or (writes and not inode.data.fd_writes):
                raise
            fd = os.dup(inode.data.fd)
        inode = self.sb.inodes.iget(os.fstat(fd), upper=True, charged=False)
        return HostFile(inode, fd, flags, name)

    def _open(self, directory: LowerDir, name: str, *, writes: bool) -> int:
        """A descriptor that can be read and, if it is to be, written: of a file that may not be
        read, only written.
        """
        if not writes:
            return directory.open(name)
        try:
            return directory.open(name, os.O_RDWR)
        except LinuxError as error:
            if error.errno != errno.EACCES:
                raise
            return directory.open(name, os.O_WRONLY)

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long."""
        file = self.open_at(None, O_WRONLY)
        file.users += 1
        try:
            file.truncate(size)
        finally:
            file.put()

    def setattr(self, change: Change) -> None:
        """Rights and times are the host's, the rest is kept here."""
        self._not_kept(errno.EPERM)
        uid, gid, bits = self._given
        assert self.place is not None or self.directory is not None
        if change.mode is not None:
            bits = change.mode & 0o7000
            self._chmod(change.mode & 0o777)
        if change.atime is not None or change.mtime is not None:
            self._set_times(change)
        uid = uid if change.uid is None else change.uid
        gid = gid if change.gid is None else change.gid
        if (uid, gid, bits) != self._given:
            self.sb.owners[self.key] = uid, gid, bits
        self.getattr()

    def _chmod(self, rights: int) -> None:
        """Of the very file that was looked at: what is there by now may be a link."""
        fd = self._place_fd()
        try:
            os.chmod(f"/proc/self/fd/{fd}", rights)
        except OSError as error:
            raise host_error(error) from None
        finally:
            os.close(fd)

    def _set_times(self, change: Change) -> None:
        info = self.info
        atime = info.st_atime_ns if change.atime is None else change.atime
        mtime = info.st_mtime_ns if change.mtime is None else change.mtime
        name, directory = (".", self._dir) if self.place is None else (self.place[1], self.place[0])
        try:
            os.utime(name, ns=(atime, mtime), dir_fd=directory.fd, follow_symlinks=False)
        except OSError as error:
            raise host_error(error) from None

    def _place_fd(self) -> int:
        """An O_PATH descriptor of it; ENOENT if something else has its place by now."""
        if self.place is None:
            return os.dup(self._dir.fd)
        fd = open_beneath(self.place[0].fd, self.place[1], os.O_PATH)
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) != self.key or stat.S_ISLNK(info.st_mode):
            os.close(fd)
            raise LinuxError(errno.ENOENT)
        return fd

    # Names.

    def create(self, name: str, making: Making) -> Node:
        """Make a file, a directory or a link on the host, a FIFO or a socket's name in memory."""
        if stat.S_IFMT(making.mode) in (stat.S_IFIFO, stat.S_IFSOCK):
            special = self.sb.new_special(making)
            self.sb.specials.put(self.key, name, special)
            return special
        return self._create_host(name, making)

    def _create_host(self, name: str, making: Making) -> HostNode:
        kind, rights = stat.S_IFMT(making.mode), making.mode & 0o777
        fd = self._dir.fd
        try:
            if kind == stat.S_IFDIR:
                os.mkdir(name, 0o700, dir_fd=fd)
                new = open_beneath(fd, name, os.O_RDONLY | os.O_DIRECTORY)
                os.fchmod(new, rights)
                os.close(new)
            elif kind == stat.S_IFLNK:
                os.symlink(making.target, name, dir_fd=fd)
            elif kind == stat.S_IFREG:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                new = open_beneath(fd, name, flags, rights)
                os.fchmod(new, rights)
                os.close(new)
            else:
                raise LinuxError(errno.EPERM)
        except OSError as error:
            raise host_error(error) from None
        node = self._lookup_host(name)
        if node is None:
            raise LinuxError(errno.ENOENT)
        mine = making.uid, making.gid, making.mode & 0o7000
        if mine != node._given:
            self.sb.owners[node.key] = mine
        return node

    def link(self, name: str, node: Node) -> None:
        """One more name."""
        if isinstance(node, HostSpecial):
            self.sb.specials.put(self.key, name, node)
            return
        assert isinstance(node, HostNode)
        node._not_kept(errno.EPERM)
        if node.place is None:
            raise LinuxError(errno.EPERM)
        directory, old = node.place
        source, target = os.dup(directory.fd), self._dir.fd
        try:
            os.link(old, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            raise host_error(error) from None
        finally:
            os.close(source)

    def remove(self, name: str, node: Node) -> None:
        """Take the name away."""
        if isinstance(node, HostSpecial):
            self.sb.specials.take(self.key, name)
            return
        assert isinstance(node, HostNode)
        node._not_kept(errno.EBUSY)
        if self.sb.specials.of(node.key):
            raise LinuxError(errno.ENOTEMPTY)
        try:
            if node.is_dir:
                os.rmdir(name, dir_fd=self._dir.fd)
            else:
                os.unlink(name, dir_fd=self._dir.fd)
        except OSError as error:
            raise host_error(error) from None
        self._lost(node)

    def _lost(self, node: HostNode) -> None:
        """A name of the node is gone."""
        if node.is_dir or node.info.st_nlink <= 1:
            self.sb.owners.pop(node.key, None)
            self.sb.inodes.forget(node.info)

    def rename(self, name: str, to: Node, new: str, *, exchange: bool) -> None:
        """Rename on the host, or in memory."""
        assert isinstance(to, HostNode)
        node, target = self.lookup(name), to.lookup(new)
        if isinstance(target, HostSpecial) or isinstance(node, HostSpecial):
            self._rename_special(name, to, new, exchange=exchange)
        else:
            self._rename_host(name, to, new, exchange=exchange)

    def _rename_special(self, name: str, to: HostNode, new: str, *, exchange: bool) -> None:
        specials = self.sb.specials
        mine, other = specials.get(self.key, name), specials.get(to.key, new)
        if other is not None:
            specials.take(to.key, new)
        if mine is not None:
            specials.take(self.key, name)
            in_the_way = to._lookup_host(new)
            if in_the_way is not None and exchange:
                to._rename_host(new, self, name, exchange=False)
            elif in_the_way is not None:
                to.remove(new, in_the_way)
            specials.put(to.key, new, mine)
        else:
            self._rename_host(name, to, new, exchange=False)
        if other is not None and exchange:
            specials.put(self.key, name, other)

    def _rename_host(self, name: str, to: HostNode, new: str, *, exchange: bool) -> None:
        there, node = to._lookup_host(new), self._lookup_host(name)
        for one in (there, node):
            if one is not None:
                one._not_kept(errno.EBUSY)
        replaced = None if exchange else there
        source, target = os.dup(self._dir.fd), to._dir.fd
        try:
            if exchange:
                _exchange(source, name, target, new)
            else:
                os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
        except OSError as error:
            raise host_error(error) from None
        finally:
            os.close(source)
        if replaced is not None:
            self._lost(replaced)
        if node is not None:
            node._moved(to._dir, new)
        if exchange:
            other = self._lookup_host(name)
            if other is not None:
                other._moved(self._dir, name)

    def _moved(self, directory: LowerDir, name: str) -> None:
        """It has another place."""
        self.place = directory, name
        if self.directory is not None:
            self.directory.parent, self.directory.name = directory, name


def _exchange(source: int, name: str, target: int, new: str) -> None:
    done = _libc.syscall(
        ctypes.c_long(_NR_RENAMEAT2),
        ctypes.c_int(source),
        ctypes.c_char_p(os.fsencode(name)),
        ctypes.c_int(target),
        ctypes.c_char_p(os.fsencode(new)),
        ctypes.c_uint(RENAME_EXCHANGE),
    )
    if done:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
