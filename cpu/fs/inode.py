# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of the host's that guests have open, map, or gave attributes to: struct inode
(fs/inode.c, include/linux/fs.h, v6.18).

One object for each file of the host's, by (st_dev, st_ino), whatever the names it was reached by::

    OpenFile ──> Inode ──> HostData            the host's file, and its pages in guest RAM
                   ├────> FileLockContext      POSIX, OFD and flock locks
                   └────> Attributes           what stat() says and the host does not keep
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cpu.cred import CAP_FSETID, Cred
from cpu.fs.host_data import HostData, Space
from cpu.fs.locks import Blocked, FileLockContext
from mmu.errors import LinuxError
from mmu.linux.filemap import MAX_LFS_FILESIZE

if TYPE_CHECKING:
    from mmu.linux.state import Kernel

IDLE_MAX = 256
"""Inodes that keep pages though nobody has them open or maps them."""

Key = tuple[int, int]
"""(st_dev, st_ino) of the host."""


@dataclass(slots=True)
class Attributes:
    """What stat() says of a file in the upper layer. Times are in nanoseconds since 1970, by the
    machine's clock; ``mode`` has the S_IFMT bits.

    ``object`` is what a special file stands for: a FIFO's pipe, a socket.
    """

    number: int
    mode: int
    uid: int
    gid: int
    atime: int
    mtime: int
    ctime: int
    btime: int
    rdev: int = 0
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    object: Any = None


class Inode:
    """A struct inode. ``upper``: guests may change it; ``attributes`` it has only then, if whoever
    made it gave it some.

    ``opens`` are the open files that have it, mappings included. ``writers`` is i_writecount:
    above 0 it is open for writing, below 0 it is being executed.
    """

    __slots__ = (
        "_stamp",
        "attributes",
        "data",
        "key",
        "locks",
        "opens",
        "table",
        "upper",
        "writers",
    )

    def __init__(
        self, table: InodeTable, key: Key, *, upper: bool, shmem: bool, charged: bool
    ) -> None:
        self.table = table
        self.key = key
        self.upper = upper
        self.attributes: Attributes | None = None
        self.opens = 0
        self.writers = 0
        self.locks = FileLockContext(table.kernel, table.blocked)
        space = table.space if upper and charged else None
        self.data = HostData(table.kernel, space, writable=upper, shmem=shmem)
        self._stamp: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Its place on the host, for people."""
        return f"<inode {self.key[0]}:{self.key[1]}, {self.opens} open>"

    def fstat(self) -> os.stat_result:
        """What the host says of it; it is open."""
        return os.fstat(self.data.fd)

    def open(self, fd: int, *, writes: bool) -> None:
        """One more open file has it. ``fd`` is a descriptor of the host's, the inode's from now on;
        it can be written if ``writes``. Raises ETXTBSY for one that is being executed.
        """
        if writes and self.writers < 0:
            os.close(fd)
            raise LinuxError(errno.ETXTBSY)
        self.data.open(fd, writes=writes)
        if not self.opens and self.data.mapping.nr_cached and self._stamp != _stamp(self.fstat()):
            self.data.mapping.truncate_range(0, MAX_LFS_FILESIZE)
        self.opens += 1
        self.writers += writes

    def close(self, *, writes: bool) -> None:
        """One open file less; with the last one dirty pages are written to the host. May wait."""
        self.writers -= writes
        self.opens -= 1
        if self.opens:
            return
        with suppress(LinuxError):
            self.data.write_back()
        if self.opens or self.data.fd < 0:
            return  # others opened it meanwhile, and perhaps closed it
        if self.data.mapping.shmem:
            self.data.mapping.truncate_range(0, MAX_LFS_FILESIZE)
        info = self.fstat()
        self._stamp = _stamp(info)
        self.data.close()
        if info.st_nlink:
            self.table.idle(self)
        else:
            self.data.release()
            self.table.drop(self)

    def copy_up(self, fd: int) -> None:
        """It has moved to the upper layer: its host's file is the one of ``fd`` (O_RDWR, the same
        bytes), which is the inode's from now on. Who has it open or maps it goes on with that one.
        """
        table, info = self.table, os.fstat(fd)
        table.rekey(self, (info.st_dev, info.st_ino))
        self.upper = True
        self.data.copy_up(fd, table.space, keep_open=self.opens > 0)
        self._stamp = _stamp(info)

    def deny_write_access(self) -> None:
        """It is being executed: nobody may open it for writing. ETXTBSY if somebody has."""
        if self.writers > 0:
            raise LinuxError(errno.ETXTBSY)
        self.writers -= 1

    def allow_write_access(self) -> None:
        """It is being executed once less."""
        self.writers += 1

    def touch(self, *, modified: bool) -> None:
        """file_update_time(), or touch_atime() as a mount with relatime does it."""
        attributes = self.attributes
        if attributes is None:
            return
        now = self.table.now()
        if modified:
            attributes.mtime = attributes.ctime = now
            attributes.mode &= ~self.table.setattr_should_drop_suidgid(attributes)
        elif (
            attributes.atime <= max(attributes.mtime, attributes.ctime)
            or now - attributes.atime > RELATIME_NS
        ):
            attributes.atime = now


RELATIME_NS = 24 * 3600 * 10**9
"""How old an access time may be before it is set again."""


def _stamp(info: os.stat_result) -> tuple[int, ...]:
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns)


class InodeTable:
    """The inodes of a machine. ``now`` is the machine's clock, nanoseconds since 1970; ``space`` is
    what the upper layer may hold.
    """

    def __init__(self, kernel: Kernel, now: Callable[[], int], space: Space) -> None:
        self.kernel = kernel
        self.now = now
        self.space = space
        self.blocked = Blocked()
        self.cred: Callable[[], Cred] = lambda: Cred.of(0, 0)
        """Who reads and writes."""
        self._inodes: dict[Key, Inode] = {}
        self._idle: dict[Key, Inode] = {}
        self._other_locks: dict[int, FileLockContext] = {}
        kernel.shrinkers.append(self.shrink)

    def iget(
        self, info: os.stat_result, *, upper: bool, shmem: bool = False, charged: bool = True
    ) -> Inode:
        """The inode of the host's file that ``info`` is of, made if there is none. ``upper``:
        guests may change it. ``shmem``: its pages count as shared memory, as in /dev/shm.
        ``charged``: what it takes is counted, if it is upper.
        """
        key = info.st_dev, info.st_ino
        inode = self._inodes.get(key)
        if inode is None:
            inode = self._inodes[key] = Inode(self, key, upper=upper, shmem=shmem, charged=charged)
        return inode

    def find(self, info: os.stat_result) -> Inode | None:
        """The inode of the host's file, if there is one."""
        return self._inodes.get((info.st_dev, info.st_ino))

    def rekey(self, inode: Inode, key: Key) -> None:
        """The inode is of another file of the host's from now on."""
        self._inodes.pop(inode.key, None)
        idle = self._idle.pop(inode.key, None)
        inode.key = key
        self._inodes[key] = inode
        if idle is not None:
            self._idle[key] = inode

    def forget(self, info: os.stat_result) -> None:
        """The host's file has lost its last name: its attributes go when nobody has it open."""
        inode = self.find(info)
        if inode is not None and not inode.opens:
            inode.data.release()
            self.drop(inode)

    def lock_context(self, number: int) -> FileLockContext:
        """Locks of what is no regular file, by its st_ino."""
        self._other_locks = {n: locks for n, locks in self._other_locks.items() if locks.used}
        return self._other_locks.setdefault(number, FileLockContext(self.kernel, self.blocked))

    def idle(self, inode: Inode) -> None:
        """Nobody has the inode open any more: it keeps its pages as long as few others do."""
        self._idle.pop(inode.key, None)
        if inode.data.mapping.nr_cached:
            self._idle[inode.key] = inode
        elif inode.attributes is None:
            self.drop(inode)
        if len(self._idle) > IDLE_MAX:
            self._leave(next(iter(self._idle.values())))

    def shrink(self) -> int:
        """Give back frames of guest RAM that can be read again; returns how many. Called when RAM
        is out, perhaps inside an mmu_gather: nothing is written back.
        """
        return sum(inode.data.mapping.drop_unmapped() for inode in list(self._inodes.values()))

    def sync(self) -> None:
        """Write every dirty page to the host (ksys_sync()). May wait."""
        for inode in list(self._inodes.values()):
            if inode.opens:
                inode.opens += 1
                with suppress(LinuxError):
                    inode.data.write_back()
                inode.close(writes=False)

    def close(self) -> None:
        """The machine ends: write all back, give frames and descriptors back."""
        for inode in list(self._inodes.values()):
            if inode.data.fd >= 0:
                with suppress(LinuxError):
                    inode.data.write_back()
                inode.data.close()
            inode.data.mapping.drop()
        self._inodes.clear()
        self._idle.clear()

    def setattr_should_drop_suidgid(self, attributes: Attributes) -> int:
        """The bits of S_ISUID and S_ISGID that a write takes away from a regular file: none if the
        writer has CAP_FSETID.
        """
        mode, cred = attributes.mode, self.cred()
        if not mode & (stat.S_ISUID | stat.S_ISGID) or cred.capable(CAP_FSETID):
            return 0
        drop = mode & stat.S_ISUID
        if mode & stat.S_IXGRP or not cred.in_group_p(attributes.gid):
            drop |= mode & stat.S_ISGID
        return drop

    def _leave(self, inode: Inode) -> None:
        inode.data.mapping.truncate_range(0, MAX_LFS_FILESIZE)
        del self._idle[inode.key]
        if inode.attributes is None:
            self.drop(inode)

    def drop(self, inode: Inode) -> None:
        """Nobody has the inode, and it is not worth keeping."""
        inode.data.mapping.drop()
        self._idle.pop(inode.key, None)
        self._inodes.pop(inode.key, None)
