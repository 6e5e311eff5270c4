# SPDX-License-Identifier: GPL-2.0-or-later
"""A process's file descriptors, and the few files it may see.

A guest sees its own program, a handful of /proc and /sys files that tell the truth of our mm, its
three standard streams, and whatever host paths it was given: all read-only. Everything else does
not exist, and is looked up nowhere on the host.

A path is walked as Linux walks one, name by name, in the guest's own tree: each name is opened by
the host's kernel in the directory held open before it, and never followed if it is a link; a link's
text is walked in the guest's tree again. So no ``..``, no link, no magic link of /proc and no
rename meanwhile leads out of what was given, and absolute links from one given directory into
another work.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mmu.errors import LinuxError, MmuError
from mmu.linux.filemap import MappedFile

RLIMIT_NOFILE = 1024
PIPE_BUF = 4096
STOP_POLL = 0.1
"""Seconds between looks at whether the run is to stop, while a stream makes it wait."""
STOP_PATIENCE = 0.3
"""Seconds that a reader still has, once the run is to stop, to take what the guest has written."""
MAX_MAPPED = 1 << 30
"""Bytes of the largest host file that can be mapped: its contents are read whole."""

MAX_LINKS = 40
"""Symbolic links that one path may lead through (include/linux/namei.h, MAXSYMLINKS)."""

O_RDONLY, O_WRONLY, O_ACCMODE = 0x0, 0x1, 0x3
O_CREAT, O_TRUNC, O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC = 0x40, 0x200, 0x10000, 0x20000, 0x80000
SEEK_SET, SEEK_CUR, SEEK_END = 0, 1, 2
_STAT = struct.Struct("<QQQIIIIQqqqqqqqqq24x")
UID = GID = 1000
"""Whom a guest runs as, and who owns every file it sees."""


class AllowError(MmuError):
    """A host path that cannot be given to a guest: which, and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r}: {why}")


def write_or_stop(fd: int, data: bytes, stopping: Callable[[], bool]) -> int:
    """Write ``data`` to a host descriptor, waiting for room as long as the run is not to stop.

    Only as much is written at a time as a pipe with room takes without waiting, so a reader that
    does not read holds up nothing but the guest. Returns the bytes written: fewer than all if
    nobody has read them STOP_PATIENCE seconds after the stop, or if an error came after the first
    of them. Raises OSError.
    """
    regular = stat.S_ISREG(os.fstat(fd).st_mode)
    room = select.poll()
    room.register(fd, select.POLLOUT)
    rest = memoryview(data)
    deadline: float | None = None
    while rest:
        if deadline is None and stopping():
            deadline = time.monotonic() + STOP_PATIENCE
        if deadline is not None and time.monotonic() > deadline:
            break
        if not regular and not room.poll(STOP_POLL * 1000):
            continue
        try:
            rest = rest[os.write(fd, rest if regular else rest[:PIPE_BUF]) :]
        except BlockingIOError:
            time.sleep(STOP_POLL / 10)
        except OSError:
            if len(rest) < len(data):
                break
            raise
    return len(data) - len(rest)


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
        return _stat(self.mode, self.inode, self.size)


def _stat(mode: int, inode: int, size: int) -> bytes:
    return _STAT.pack(
        1, inode, 1, mode, UID, GID, 0, 0, size, PIPE_BUF, -(-size // 512), *([0] * 6)
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
        """Wait for input and return what there is, at most ``count`` bytes; EINTR if the run is to
        stop.
        """
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
        """Write all of it, in as many parts as the host takes; less if the run is to stop. EPIPE if
        nobody reads.
        """
        if self.flags & O_ACCMODE == os.O_RDONLY:
            raise LinuxError(errno.EBADF)
        try:
            return write_or_stop(self.host_fd, data, self._stopping)
        except OSError as error:
            raise LinuxError(error.errno or errno.EIO) from None


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
        """Move the position; EINVAL if that would be before the start, or ``whence`` is none of the
        three.
        """
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


@dataclass
class _Node:
    """Where a walk is: a path of the guest's tree, and the host's file there, if it has one."""

    path: str
    fd: int | None = None
    """An O_PATH descriptor, the node's own."""
    ours: bool = False
    """A file that we make up, or the program."""

    @property
    def kind(self) -> int:
        """S_IFMT bits; a directory if nothing but names of ours lie here."""
        if self.fd is None:
            return stat.S_IFREG if self.ours else stat.S_IFDIR
        return stat.S_IFMT(os.fstat(self.fd).st_mode)

    @property
    def target(self) -> str:
        """What the symbolic link says."""
        return os.readlink("", dir_fd=self.fd)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class FileSystem:
    """The paths a guest may see.

    ``made_up`` maps a path to what makes its text when it is opened; ``program`` is the guest's own
    file; ``allow`` are host files and directories it was given, seen under the name given and under
    their real one. ``cwd`` is where relative paths start. ``own_links`` are the names of the link
    to the program in /proc. close() it. Raises AllowError.
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
        own_links: frozenset[str] = frozenset(),
    ) -> None:
        self._made_up = made_up
        self.own_links = own_links
        self._program_paths = frozenset(program_paths)
        self._program = program
        self._program_data = program_data
        self._given: dict[str, int] = {}
        self._held: list[int] = []
        self.cwd = cwd
        try:
            for path in allow:
                self._give(path)
        except AllowError:
            self.close()
            raise
        self._above = _directories_above(
            [*made_up, *program_paths, *self._given, os.path.join(cwd, ".")]
        )

    def close(self) -> None:
        """Give the host's descriptors back."""
        self._given.clear()
        while self._held:
            os.close(self._held.pop())

    def _give(self, path: str) -> None:
        """Let the guest see the host's file or directory at ``path``."""
        if not path:
            raise AllowError(path, "names no file")
        try:
            info = os.stat(path)
            if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
                raise AllowError(path, "is neither a regular file nor a directory")
            if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(info.st_mode) else 0)):
                raise AllowError(path, "Permission denied")
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise AllowError(path, getattr(error, "strerror", None) or str(error)) from None
        self._held.append(fd)
        for name in (os.path.abspath(path), os.path.realpath(path)):
            self._given[_one_slash(name)] = fd

    def resolve(self, path: str) -> str:
        """The path, absolute and without ``.`` and ``..``, by its letters alone."""
        if not path:
            raise LinuxError(errno.ENOENT)
        return _one_slash(os.path.normpath(os.path.join(self.cwd, path)))

    def open(self, path: str, flags: int) -> OpenFile:
        """Open for reading; EROFS for any other wish, ENOENT for what the guest may not see."""
        try:
            with self._walk(path, follow=not flags & O_NOFOLLOW) as node:
                file = self._open(node)
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

    def stat(self, path: str, *, follow: bool = True) -> bytes:
        """Struct stat of what ``path`` names; without ``follow`` of a link itself, as lstat()."""
        with self._walk(path, follow=follow) as node:
            kind = node.kind
            if kind == stat.S_IFLNK:
                return _stat(kind | 0o777, _inode(node), len(os.fsencode(node.target)))
            if kind == stat.S_IFDIR:
                return _stat(kind | 0o555, _inode(node), PIPE_BUF)
            file = self._open(node)
        try:
            return file.stat()
        finally:
            self._discard(file)

    def readlink(self, path: str) -> str:
        """What the symbolic link at ``path`` says; EINVAL if it is none."""
        with self._walk(path, follow=False) as node:
            if node.kind != stat.S_IFLNK:
                raise LinuxError(errno.EINVAL)
            return node.target

    @staticmethod
    def _discard(file: OpenFile) -> None:
        if not file.users:
            file.close()

    def _open(self, node: _Node) -> OpenFile:
        if node.path in self._made_up:
            return DataFile(self._made_up[node.path]())
        if node.ours:
            return DataFile(
                self._program_data, mode=stat.S_IFREG | 0o555, inode=2, map_as=self._program
            )
        if node.fd is None:
            raise LinuxError(errno.ENOENT)
        kind = node.kind
        if kind == stat.S_IFLNK:
            raise LinuxError(errno.ELOOP)
        if kind != stat.S_IFREG:
            raise LinuxError(errno.EACCES)
        return HostFile(node.path, node.fd)

    # The walk (fs/namei.c, link_path_walk()).

    @contextmanager
    def _walk(self, path: str, *, follow: bool) -> Iterator[_Node]:
        """Where ``path`` leads, held open meanwhile; a link at its end is followed only if
        ``follow``.
        """
        if not path:
            raise LinuxError(errno.ENOENT)
        trail: list[_Node] = [self._root()]
        try:
            self._follow(os.path.join(self.cwd, path), follow or path.endswith("/"), trail)
            node = trail[-1]
            if path.endswith(("/", "/.")) and node.kind != stat.S_IFDIR:
                raise LinuxError(errno.ENOTDIR)
            yield node
        finally:
            for node in trail:
                node.close()

    def _follow(self, path: str, follow: bool, trail: list[_Node]) -> None:
        """Walk ``path`` from the root on; ``trail`` holds the directories passed and ends where it
        leads.
        """
        names = deque(path.split("/"))
        links = 0
        while names:
            name = names.popleft()
            if name in ("", "."):
                continue
            if name == "..":
                if len(trail) > 1:
                    trail.pop().close()
                continue
            node = self._child(trail[-1], name, followed=links > 0)
            trail.append(node)
            if node.kind != stat.S_IFLNK or not (follow or any(names)):
                continue
            links += 1
            if links > MAX_LINKS:
                raise LinuxError(errno.ELOOP)
            target = node.target
            trail.pop().close()
            if target.startswith("/"):
                while len(trail) > 1:
                    trail.pop().close()
            names.extendleft(reversed(target.split("/")))

    def _root(self) -> _Node:
        fd = self._given.get("/")
        return _Node("/", None if fd is None else os.dup(fd))

    def _child(self, parent: _Node, name: str, *, followed: bool) -> _Node:
        """The entry ``name`` of a directory: what is ours comes before what was given, and that
        before the host's.

        ENOENT if the guest may not see it, but EACCES if it was a link that led there.
        """
        if parent.ours:
            raise LinuxError(errno.ENOTDIR)
        path = f"{parent.path.rstrip('/')}/{name}"
        if path in self._made_up or path in self._program_paths:
            return _Node(path, ours=True)
        if path in self._given:
            return _Node(path, os.dup(self._given[path]))
        above = path in self._above
        if parent.fd is None:
            if above:
                return _Node(path)
            raise LinuxError(errno.EACCES if followed else errno.ENOENT)
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
        except OSError as error:
            if above:
                return _Node(path)
            raise LinuxError(error.errno or errno.EIO) from None
        node = _Node(path, fd)
        if above and node.kind != stat.S_IFDIR:
            node.close()
        return node


def _inode(node: _Node) -> int:
    return 1 if node.fd is None else os.fstat(node.fd).st_ino


def _one_slash(path: str) -> str:
    """A normal path without the second leading slash that POSIX leaves there."""
    return path[1:] if path.startswith("//") else path


def _directories_above(paths: Iterable[str]) -> frozenset[str]:
    """Every directory that one of the paths lies in."""
    above = set()
    for path in paths:
        while path not in ("/", ""):
            path = os.path.dirname(path)
            above.add(path)
    return frozenset(above)
