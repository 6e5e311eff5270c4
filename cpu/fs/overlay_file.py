# SPDX-License-Identifier: GPL-2.0-or-later
"""Regular files of the overlay: where their data is, and how it is copied up (cpu.fs.overlay)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from cpu.fs.files import O_ACCMODE, O_RDONLY, O_TRUNC, O_WRONLY
from cpu.fs.kstat import Kstat
from cpu.fs.node import Dentry, d_path
from cpu.fs.overlay_node import OverlayNode, OverlaySuper
from cpu.fs.regular_files import HostFile
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.files import OpenFile
    from cpu.fs.inode import Attributes, Inode


class OverlayFile(OverlayNode):
    """A regular file. ``store`` is the number of its data in the upper layer, None: it is below."""

    __slots__ = ("inode", "store", "unnamed")

    def __init__(self, sb: OverlaySuper) -> None:
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

    def add_name(self) -> None:
        """One name more."""
        self.unnamed = False
        super().add_name()

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
