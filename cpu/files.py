# SPDX-License-Identifier: GPL-2.0-or-later
"""A process's file descriptors, and the few files it may see.

A guest sees its own program, a handful of /proc and /sys files that tell the truth of our mm, its
three standard streams, and whatever host paths it was given: all read-only. Everything else does
not exist, and is looked up nowhere on the host.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mmu.errors import LinuxError
from mmu.linux.filemap import MappedFile

RLIMIT_NOFILE = 1024
PIPE_BUF = 4096
STOP_POLL = 0.1
"""Seconds between looks at whether the run is to stop, while a stream makes it wait."""
MAX_MAPPED = 1 << 30
"""Bytes of the largest host file that can be mapped: its contents are read whole."""

O_ACCMODE, O_WRONLY, O_CREAT, O_TRUNC, O_DIRECTORY, O_CLOEXEC = 0x3, 0x1, 0x40, 0x200, 0x10000, 0x80000
SEEK_SET, SEEK_CUR, SEEK_END = 0, 1, 2
_STAT = struct.Struct("<QQQIIIIQqqqqqqqqq24x")
_UID = 1000


class OpenFile:
    """An open file description: what dup() shares. This base is a file that can do nothing."""

    mode = 0
    """st_mode."""
    flags = os.O_RDONLY
    """O_ACCMODE bits."""
    inode = 0

    def __init__(self) -> None:
        self.users = 0

    @property
    def size(self) -> int:
        """Bytes, 0 where that means nothing."""
        return 0

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at end of file."""
        raise LinuxError(errno.EBADF)

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on; the position stays."""
        raise LinuxError(errno.ESPIPE)

    def write(self, data: bytes) -> int:
        """Write all of ``data``; returns its length."""
        raise LinuxError(errno.EBADF)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; returns it."""
        raise LinuxError(errno.ESPIPE)

    def mapped(self) -> MappedFile:
        """The file as mmap() wants it."""
        raise LinuxError(errno.ENODEV)

    def close(self) -> None:
        """The last descriptor is gone."""

    def stat(self) -> bytes:
        """Struct stat, 144 bytes."""
        size = self.size
        return _STAT.pack(
            1, self.inode, 1, self.mode, _UID, _UID, 0, 0, size, PIPE_BUF, -(-size // 512), *([0] * 6)
        )


class Stream(OpenFile):
    """A standard stream: one of the host's descriptors, which the guest always sees as a pipe.

    So a guest's buffering, and with it the run, does not depend on where its output goes.
    """

    mode = stat.S_IFIFO | 0o600

    def __init__(
        self, host_fd: int, flags: int, inode: int, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__()
        self._stopping = stopping
        self.host_fd = host_fd
        self.flags = flags
        self.inode = inode

    def read(self, count: int) -> bytes:
        """Wait for input and return what there is, at most ``count`` bytes; EINTR if the run is to stop."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)
        try:
            while not select.select([self.host_fd], [], [], STOP_POLL)[0]:
                if self._stopping():
                    raise LinuxError(errno.EINTR)
            return os.read(self.host_fd, count)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None

    def write(self, data: bytes) -> int:
        """Write all of it, however often the host takes only a part; EPIPE if nobody reads."""
        if self.flags & O_ACCMODE == os.O_RDONLY:
            raise LinuxError(errno.EBADF)
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.host_fd, rest) :]
            except BlockingIOError:
                select.select([], [self.host_fd], [], STOP_POLL)
                if self._stopping():
                    break
            except OSError as error:
                if len(rest) < len(data):
                    break
                raise LinuxError(error.errno or errno.EIO) from None
        return len(data) - len(rest)


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

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; EINVAL if that would be before the start, or ``whence`` is none of the three."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position, SEEK_END: self.size}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 63:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset
        return self.position


class DataFile(SeekableFile):
    """A file whose bytes are known when it is opened: /proc's, /sys's, the program itself."""

    def __init__(
        self,
        data: bytes,
        *,
        mode: int = stat.S_IFREG | 0o444,
        inode: int = 1,
        map_as: MappedFile | None = None,
    ) -> None:
        super().__init__()
        self.data = data
        self.mode = mode
        self.inode = inode
        self._map_as = map_as

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


class HostFile(SeekableFile):
    """A host file the guest was given, read as it asks."""

    def __init__(self, path: str) -> None:
        super().__init__()
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None
        info = os.fstat(self._fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(self._fd)
            raise LinuxError(errno.EACCES)
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
        size = self.size
        if size > MAX_MAPPED:
            raise LinuxError(errno.ENOMEM)
        return MappedFile(self.pread(size, 0), path=self.path, inode=self.inode)

    def close(self) -> None:
        """Give the host's descriptor back."""
        os.close(self._fd)


@dataclass
class Descriptor:
    """What a number in the table stands for."""

    file: OpenFile
    cloexec: bool = False


class FileTable:
    """File descriptors by number, below what ``nofile`` says just then: the soft RLIMIT_NOFILE."""

    def __init__(self, nofile: Callable[[], int] = lambda: RLIMIT_NOFILE) -> None:
        self._table: dict[int, Descriptor] = {}
        self._nofile = nofile

    def get(self, fd: int) -> OpenFile:
        """The open file; EBADF if there is none."""
        return self.descriptor(fd).file

    def descriptor(self, fd: int) -> Descriptor:
        """The table's entry; EBADF if there is none."""
        entry = self._table.get(fd)
        if entry is None:
            raise LinuxError(errno.EBADF)
        return entry

    def install(self, file: OpenFile, *, lowest: int = 0, cloexec: bool = False) -> int:
        """Give ``file`` the lowest free number from ``lowest`` on; EMFILE if all are taken."""
        limit = self._nofile()
        if not 0 <= lowest < limit:
            raise LinuxError(errno.EINVAL)
        fd = next((n for n in range(lowest, limit) if n not in self._table), None)
        if fd is None:
            if not file.users:
                file.close()
            raise LinuxError(errno.EMFILE)
        self._put_at(fd, file, cloexec)
        return fd

    def replace(self, fd: int, file: OpenFile, *, cloexec: bool = False) -> int:
        """dup2(): make ``fd`` stand for ``file``, closing what it stood for."""
        if not 0 <= fd < self._nofile():
            raise LinuxError(errno.EBADF)
        file.users += 1
        with suppress(LinuxError):
            self.close(fd)
        file.users -= 1
        self._put_at(fd, file, cloexec)
        return fd

    def close(self, fd: int) -> None:
        """Forget the number, and the file with its last one."""
        file = self.get(fd)
        del self._table[fd]
        file.users -= 1
        if not file.users:
            file.close()

    def close_all(self) -> None:
        """What exit does."""
        for fd in list(self._table):
            self.close(fd)

    def _put_at(self, fd: int, file: OpenFile, cloexec: bool) -> None:
        file.users += 1
        self._table[fd] = Descriptor(file, cloexec)


class FileSystem:
    """The paths a guest may see.

    ``made_up`` maps a path to what makes its text when it is opened; ``program`` is the guest's own
    file; ``allow`` are host files and directories it was given. ``cwd`` is where relative paths start.
    """

    def __init__(
        self,
        made_up: Mapping[str, Callable[[], bytes]],
        program_paths: Sequence[str],
        program: MappedFile,
        program_data: bytes,
        *,
        allow: Sequence[str] = (),
        cwd: str = "/",
    ) -> None:
        self._made_up = made_up
        self._program_paths = frozenset(program_paths)
        self._program = program
        self._program_data = program_data
        self._allow = tuple(os.path.realpath(path) for path in allow)
        self.cwd = cwd

    def resolve(self, path: str) -> str:
        """The path, absolute and without ``.`` and ``..``, by its letters alone."""
        if not path:
            raise LinuxError(errno.ENOENT)
        resolved = os.path.normpath(os.path.join(self.cwd, path))
        return resolved[1:] if resolved.startswith("//") else resolved

    def open(self, path: str, flags: int) -> OpenFile:
        """Open for reading; EROFS for any other wish, ENOENT for what the guest may not see."""
        try:
            file = self._find(self.resolve(path))
        except LinuxError as error:
            if error.errno == errno.ENOENT and path and flags & O_CREAT:
                raise LinuxError(errno.EROFS) from None
            raise
        if flags & O_DIRECTORY:
            self._discard(file)
            raise LinuxError(errno.ENOTDIR)
        if flags & (O_ACCMODE | O_TRUNC):
            self._discard(file)
            raise LinuxError(errno.EROFS)
        return file

    def stat(self, path: str) -> bytes:
        """Struct stat of what ``path`` names."""
        file = self._find(self.resolve(path))
        try:
            return file.stat()
        finally:
            self._discard(file)

    @staticmethod
    def _discard(file: OpenFile) -> None:
        if not file.users:
            file.close()

    def _find(self, path: str) -> OpenFile:
        if path in self._made_up:
            return DataFile(self._made_up[path]())
        if path in self._program_paths:
            return DataFile(self._program_data, mode=stat.S_IFREG | 0o555, inode=2, map_as=self._program)
        if any(path.startswith(known + "/") for known in (*self._made_up, *self._program_paths)):
            raise LinuxError(errno.ENOTDIR)
        if any(_inside(path, allowed) for allowed in self._allow):
            real = os.path.realpath(path)
            if any(_inside(real, allowed) for allowed in self._allow):
                return HostFile(real)
            raise LinuxError(errno.EACCES)
        raise LinuxError(errno.ENOENT)


def _inside(path: str, allowed: str) -> bool:
    return path == allowed or path.startswith(allowed.rstrip("/") + "/")
