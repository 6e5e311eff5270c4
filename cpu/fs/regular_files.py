# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files with a position: bytes made up, host files that were given, directories."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from cpu.fs.files import (
    O_ACCMODE,
    O_APPEND,
    O_NOATIME,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    OpenFile,
)
from cpu.fs.mutex import Mutex
from mmu.errors import LinuxError
from mmu.linux.filemap import AddressSpace, MappedFile

if TYPE_CHECKING:
    from cpu.fs.inode import Inode
    from cpu.fs.locks import FileLockContext
    from mmu.linux.state import Kernel

Views = Sequence[memoryview]
"""Pieces of memory, one after the other."""


class FileMapping(MappedFile):
    """What a VMA has of an open file: it keeps that open (vma->vm_file)."""

    def __init__(self, file: OpenFile, mapping: AddressSpace, **what: Any) -> None:
        super().__init__(mapping, **what)
        self._file = file

    def shown(self) -> tuple[str, tuple[int, int], int]:
        """The name that it has now, and device and inode as stat() tells them."""
        kstat = self._file.getattr()
        return self._file.shown_path(), (os.major(kstat.dev), os.minor(kstat.dev)), kstat.ino

    def get(self) -> None:
        """One more user."""
        if not self.users:
            self._file.users += 1
        super().get()

    def put(self) -> None:
        """One user less; with the last one the file may be closed."""
        super().put()
        if not self.users:
            self._file.put()


class SeekableFile(OpenFile):
    """A regular file with a position. What moves its bytes is read_views() and write_views()."""

    mode = stat.S_IFREG | 0o444

    def __init__(self) -> None:
        super().__init__()
        self.position = 0
        self._f_pos_lock: Mutex | None = None

    def f_pos_lock(self, kernel: Kernel) -> Mutex:
        """Held by who reads or writes at the position, and moves it (fdget_pos())."""
        if self._f_pos_lock is None:
            self._f_pos_lock = Mutex(kernel, "the f_pos_lock of an open file")
        return self._f_pos_lock

    @property
    def inode_lock(self) -> AbstractContextManager[object]:
        """i_rwsem, held by who writes; none where nobody can."""
        return nullcontext()

    def read_views(self, views: Views, at: int) -> int:
        """Read into ``views`` from byte ``at`` on, as much as the file has; returns the bytes."""
        raise LinuxError(errno.EINVAL)

    def write_views(self, views: Views, at: int) -> int:
        """Write what is in ``views`` from byte ``at`` on; returns the bytes written, fewer where
        room ends. Raises LinuxError if there are none.
        """
        raise LinuxError(errno.EINVAL)

    def ahead(self, at: int) -> int:
        """Bytes that can be read from byte ``at`` on, 0 at the end."""
        return max(self.size - at, 0)

    def must_read(self) -> None:
        """EBADF if it is not open for reading."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)

    def must_write(self) -> None:
        """EBADF if it is not open for writing."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EBADF)

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at end of file."""
        data = self.pread(count, self.position)
        self.position += len(data)
        return data

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on."""
        self.must_read()
        data = bytearray(max(min(count, self.size - offset), 0))
        done = self.read_views([memoryview(data)], offset) if data else 0
        return bytes(data[:done])

    def unread(self, data: bytes) -> None:
        """Move back over what was read last."""
        self.position -= len(data)

    def write(self, data: bytes) -> int:
        """Write at the position, or at the end with O_APPEND."""
        self.must_write()
        at = self.size if self.flags & O_APPEND else self.position
        done = self.write_views([memoryview(data)], at)
        self.position = at + done
        return done

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write at ``offset``; at the end with O_APPEND, as Linux does it."""
        self.must_write()
        at = self.size if self.flags & O_APPEND else offset
        return self.write_views([memoryview(data)], at)

    def seek_hole_data(self, offset: int, whence: int) -> int:
        """lseek(SEEK_DATA) and SEEK_HOLE: without holes all is data, up to the end
        (generic_file_llseek_size()).
        """
        if not 0 <= offset < self.size:
            raise LinuxError(errno.ENXIO)
        return offset if whence == os.SEEK_DATA else self.size

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; EINVAL if that would be before the start, or ``whence`` is none of the
        five.
        """
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            if offset < 0:
                raise LinuxError(errno.ENXIO)
            self.position = self.seek_hole_data(offset, whence)
            return self.position
        base = {SEEK_SET: 0, SEEK_CUR: self.position, SEEK_END: self.size}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 63:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset
        return self.position

    def nr_readable(self) -> int:
        """ioctl(FIONREAD): what lies between the position and the end."""
        return max(self.size - self.position, 0)


def _read_only(flags: int) -> None:
    if flags & (O_ACCMODE | O_TRUNC):
        raise LinuxError(errno.EROFS)


class DataFile(SeekableFile):
    """A file whose bytes are known when it is opened: /proc's, /sys's, the program itself."""

    def __init__(
        self,
        data: bytes,
        *,
        mode: int = stat.S_IFREG | 0o444,
        inode: int = 1,
        path: str = "",
        map_as: MappedFile | None = None,
    ) -> None:
        super().__init__()
        self.data = data
        self.mode = mode
        self.inode = inode
        self.path = path
        self._map_as = map_as
        if map_as is not None:
            map_as.get()

    @property
    def size(self) -> int:
        """Bytes; 0 for what is made up on reading, as in /proc."""
        return len(self.data) if self._map_as else 0

    def ahead(self, at: int) -> int:
        """Bytes from there on."""
        return max(len(self.data) - at, 0)

    def read_views(self, views: Views, at: int) -> int:
        """Copy them."""
        data, done = memoryview(self.data), 0
        for view in views:
            part = data[at + done : at + done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return done

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on."""
        return self.data[offset : offset + count]

    def mapped(self) -> MappedFile:
        """The file's one page cache; ENODEV for what /proc and /sys make up."""
        if self._map_as is None:
            return super().mapped()
        return self._map_as

    def contents(self) -> bytes:
        """All of it."""
        return self.data

    def reopen(self, flags: int) -> OpenFile:
        """The same bytes, from their start; EROFS."""
        _read_only(flags)
        return DataFile(
            self.data, mode=self.mode, inode=self.inode, path=self.path, map_as=self._map_as
        )

    def close(self) -> None:
        """Let go of the page cache."""
        if self._map_as is not None:
            self._map_as.put()


class HostFile(SeekableFile):
    """An open file of the host's: ``node`` is its inode, ``fd`` a descriptor of the host's, which
    is the inode's from now on, ``flags`` are those of the guest's open().

    Raises LinuxError ETXTBSY for writing what is being executed.
    """

    def __init__(self, node: Inode, fd: int, flags: int, path: str) -> None:
        super().__init__()
        self.node = node
        self.flags = flags
        self.path = path
        self._mapped: MappedFile | None = None
        self._writes = flags & O_ACCMODE in (O_WRONLY, O_RDWR)
        node.open(fd, writes=self._writes)
        info = node.fstat()
        attributes = node.attributes
        self.mode = info.st_mode if attributes is None else attributes.mode
        self.inode = info.st_ino if attributes is None else attributes.number

    @property
    def size(self) -> int:
        """Bytes, now."""
        return self.node.data.i_size()

    @property
    def inode_lock(self) -> Mutex:
        """The inode's."""
        return self.node.data.lock

    def ahead(self, at: int) -> int:
        """Bytes from there on."""
        return self.node.data.ahead(at)

    def read_views(self, views: Views, at: int) -> int:
        """From the host, or from where the bytes are newer."""
        if not self.flags & O_NOATIME:
            self.node.touch(modified=False)
        return self.node.data.preadv(views, at)

    def write_views(self, views: Views, at: int) -> int:
        """To the host, and to where they are cached."""
        done = self.node.data.pwritev(views, at)
        self.node.touch(modified=True)
        return done

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long; EINVAL if it is not open for writing."""
        if not self._writes:
            raise LinuxError(errno.EINVAL)
        self.node.data.truncate(size)
        self.node.touch(modified=True)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """As HostData.fallocate(); EBADF if it is not open for writing."""
        self.must_write()
        self.node.data.fallocate(mode, offset, length)
        self.node.touch(modified=True)

    def seek_hole_data(self, offset: int, whence: int) -> int:
        """As the host knows it."""
        return self.node.data.seek_hole_data(offset, whence)

    def fsync(self) -> None:
        """Write dirty pages to the host's file. How long that keeps them is the host's affair."""
        self.node.data.write_back()

    def mapped(self) -> MappedFile:
        """The file's pages, as this open file may map them."""
        if self._mapped is None:
            access, device = self.flags & O_ACCMODE, self.node.key[0]
            self._mapped = FileMapping(
                self,
                self.node.data.mapping,
                path=self.path,
                readable=access != O_WRONLY,
                writable=self._writes,
                device=(os.major(device), os.minor(device)),
                inode=self.inode,
            )
        return self._mapped

    def contents(self) -> bytes:
        """All of it, as it is now."""
        return self.pread(self.size, 0)

    def deny_write_access(self) -> None:
        """It is being executed; ETXTBSY if somebody may write it."""
        self.node.deny_write_access()

    def allow_write_access(self) -> None:
        """It is being executed no more."""
        self.node.allow_write_access()

    @property
    def locks(self) -> FileLockContext:
        """Locks of the file."""
        return self.node.locks

    def reopen(self, flags: int) -> OpenFile:
        """The same file once more, wherever its name is now."""
        writes = flags & O_ACCMODE != O_RDONLY or bool(flags & O_TRUNC)
        if writes and not self.node.upper:
            raise LinuxError(errno.EROFS)
        fd = self.node.data.reopen(writes=writes)
        file = HostFile(self.node, fd, flags & ~O_TRUNC, self.path)
        if flags & O_TRUNC:
            self.node.data.truncate(0)
            self.node.touch(modified=True)
        return file

    def close(self) -> None:
        """The open file is gone, and its locks."""
        self.node.locks.release(self)
        self.node.close(writes=self._writes)
