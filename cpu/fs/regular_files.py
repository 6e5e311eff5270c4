# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files with a position: bytes made up, host files that were given, directories."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from cpu.fs.files import (
    O_ACCMODE,
    O_TRUNC,
    PIPE_BUF,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    Dirent,
    OpenFile,
    stat_bytes,
)
from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile

MAX_MAPPED = 1 << 30
"""Bytes of the largest host file that can be mapped: its contents are read whole."""


class SeekableFile(OpenFile):
    """A regular read-only file with a position."""

    mode = stat.S_IFREG | 0o444

    def __init__(self) -> None:
        super().__init__()
        self.position = 0

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at end of file."""
        data = self.pread(count, self.position)
        self.position += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Move back over what was read last."""
        self.position -= len(data)

    def pwrite(self, data: bytes, offset: int) -> int:
        """It is read-only."""
        raise LinuxError(errno.EBADF)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; EINVAL if that would be before the start, or ``whence`` is none of the
        three.
        """
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
    """A host file the guest was given, read as it asks."""

    def __init__(self, path: str, place: int | None = None) -> None:
        """Open the file that ``place``, an O_PATH descriptor, stands for; without one, the file at
        ``path``.
        """
        super().__init__()
        name, nofollow = (path, os.O_NOFOLLOW) if place is None else (f"/proc/self/fd/{place}", 0)
        try:
            self._fd = os.open(name, os.O_RDONLY | nofollow | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None
        info = os.fstat(self._fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(self._fd)
            raise LinuxError(errno.EACCES)
        self.mode = stat.S_IFREG | 0o444 | info.st_mode & 0o111
        self.path = path
        self.inode = info.st_ino

    @property
    def size(self) -> int:
        """Bytes, now."""
        return os.fstat(self._fd).st_size

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on."""
        try:
            return os.pread(self._fd, count, offset)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None

    def mapped(self) -> MappedFile:
        """A copy of the contents as they are now."""
        if self.size > MAX_MAPPED:
            raise LinuxError(errno.ENOMEM)
        return MappedFile(self.contents(), path=self.path, inode=self.inode)

    def contents(self) -> bytes:
        """All of it, as it is now."""
        return self.pread(self.size, 0)

    def reopen(self, flags: int) -> OpenFile:
        """The same file once more; EROFS."""
        _read_only(flags)
        return HostFile(self.path, self._fd)

    def close(self) -> None:
        """Give the host's descriptor back."""
        os.close(self._fd)


class PathFile(OpenFile):
    """What open(O_PATH) gives: a place, to be looked at and walked from."""

    def __init__(self, path: str, mode: int, inode: int, size: int, flags: int) -> None:
        super().__init__()
        self.path = path
        self.mode = mode
        self.inode = inode
        self.flags = flags
        self._size = size

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self._size

    def pread(self, count: int, offset: int) -> bytes:
        """Nothing can be read."""
        raise LinuxError(errno.EBADF)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Nothing can be written."""
        raise LinuxError(errno.EBADF)

    def seek(self, offset: int, whence: int) -> int:
        """There is no position."""
        raise LinuxError(errno.EBADF)


class DirectoryFile(OpenFile):
    """An open directory; ``listing`` tells what it holds, and is asked at its start."""

    def __init__(
        self, path: str, mode: int, inode: int, listing: Callable[[], list[Dirent]]
    ) -> None:
        super().__init__()
        self.path = path
        self.mode = mode
        self.inode = inode
        self.position = 0
        self._listing = listing
        self._known: list[Dirent] = []

    def read(self, count: int) -> bytes:
        """It has no bytes."""
        raise LinuxError(errno.EISDIR)

    def pread(self, count: int, offset: int) -> bytes:
        """It has no bytes."""
        raise LinuxError(errno.EISDIR)

    def seek(self, offset: int, whence: int) -> int:
        """Move to the entry with this number; only from the start or from here."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 63:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset
        return self.position

    def entries(self) -> Iterator[Dirent]:
        """What it holds, from the position on; each one taken moves it."""
        if self.position == 0 or not self._known:
            here = Dirent(".", self.inode, stat.S_IFDIR)
            above = Dirent("..", self.inode, stat.S_IFDIR)
            self._known = [here, above, *self._listing()]
        while self.position < len(self._known):
            self.position += 1
            yield self._known[self.position - 1]

    def stat(self) -> bytes:
        """Struct stat."""
        return stat_bytes(self.mode, self.inode, PIPE_BUF)
