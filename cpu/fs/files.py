# SPDX-License-Identifier: GPL-2.0-or-later
"""Open file descriptions, and the table of descriptors that stand for them (fs/file.c,
include/linux/fs.h, v6.18).

Reading and writing never wait: what cannot be done now raises EAGAIN, and the system call
(cpu.syscalls.io) waits where the descriptor says so. Whoever changes what poll() of a file says
wakes its PollHead.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cpu.fs.kstat import Kstat
from cpu.fs.poll import DEFAULT_POLLMASK
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.locks import FileLockContext
    from cpu.fs.poll import Listener, PollHead
    from mmu.linux.filemap import MappedFile

RLIMIT_NOFILE = 1024
PIPE_BUF = 4096

O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE = 0x0, 0x1, 0x2, 0x3
O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_APPEND = 0x40, 0x80, 0x100, 0x200, 0x400
O_NONBLOCK, O_DSYNC, FASYNC, O_DIRECT, O_LARGEFILE = 0x800, 0x1000, 0x2000, 0x4000, 0x8000
O_DIRECTORY, O_NOFOLLOW, O_NOATIME, O_CLOEXEC, O_PATH = 0x10000, 0x20000, 0x40000, 0x80000, 0x200000
SETFL_MASK = O_APPEND | O_NONBLOCK | FASYNC | O_DIRECT | O_NOATIME
"""What fcntl(F_SETFL) can change."""
SEEK_SET, SEEK_CUR, SEEK_END = 0, 1, 2


class Dirent(NamedTuple):
    """An entry of a directory: its name, inode and S_IFMT bits."""

    name: str
    inode: int
    kind: int


class Place(Protocol):
    """A name in the tree: a Dentry (cpu.fs.node)."""

    def getattr(self) -> Kstat:
        """What stat() says of what it stands for."""

    def shown_path(self) -> str:
        """Its path now, as /proc shows it."""


class OpenFile:
    """An open file description, struct file: what dup() and fork() share. This base is a file that
    can do nothing.
    """

    mode = 0
    """st_mode."""
    flags = os.O_RDONLY
    """What F_GETFL says: O_ACCMODE bits and the status flags."""
    inode = 0
    path = ""
    """What /proc/PID/fd shows."""
    position = 0
    """Of what has one."""
    dentry: Place | None = None
    """The name that it was opened by, if it has one."""
    uid: int | None = None
    gid: int | None = None
    """Who owns what has no name: who first got a descriptor of it."""
    sigpipe = True
    """Whether who writes where nobody reads gets SIGPIPE with EPIPE."""
    poll_head: PollHead | None = None
    """Where its readers and writers wait; None: it is always ready."""

    owner = (1, 0)
    """Who is to hear of it: F_OWNER_* and a number, 0: nobody (fcntl(F_SETOWN))."""
    signum = 0
    """By which signal, 0: SIGIO."""
    rw_hint = 0
    """How long what is written will live: fcntl(F_SET_RW_HINT)."""

    def __init__(self) -> None:
        self.users = 0
        self._locks: FileLockContext | None = None
        self.on_release: list[Callable[[], None]] = []
        """Called when its last descriptor goes: sets of epoll that it is in."""

    @property
    def size(self) -> int:
        """Bytes, 0 where that means nothing."""
        return 0

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at end of file. Raises EAGAIN if there is none yet."""
        raise LinuxError(errno.EBADF)

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on; the position stays."""
        raise LinuxError(errno.ESPIPE)

    def unread(self, data: bytes) -> None:
        """Take back what was read last and found no place."""

    def write(self, data: bytes) -> int:
        """Write ``data``, or as much of it as there is room for; returns its length. Raises EAGAIN
        if there is no room, EPIPE if nobody can read.
        """
        raise LinuxError(errno.EBADF)

    def pwrite(self, data: bytes, offset: int) -> int:
        """Write at ``offset``; the position stays."""
        raise LinuxError(errno.ESPIPE)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; returns it."""
        raise LinuxError(errno.ESPIPE)

    def truncate(self, size: int) -> None:
        """Make it ``size`` bytes long."""
        raise LinuxError(errno.EINVAL)

    def fallocate(self, mode: int, offset: int, length: int) -> None:
        """Have memory for a range, or give it back."""
        raise LinuxError(errno.ENODEV)

    def entries(self) -> Iterator[Dirent]:
        """What a directory holds, from the position on; each one taken moves it."""
        raise LinuxError(errno.ENOTDIR)

    def mapped(self) -> MappedFile:
        """The file as mmap() wants it."""
        raise LinuxError(errno.ENODEV)

    def contents(self) -> bytes:
        """All of a regular file, for exec()."""
        raise LinuxError(errno.EACCES)

    def poll(self) -> int:
        """What is so now, POLLIN and its like."""
        return DEFAULT_POLLMASK

    @property
    def can_poll(self) -> bool:
        """Whether epoll takes it: a file that is always ready it refuses."""
        return self.poll_head is not None

    def wait(self, events: int, ready: Callable[[], bool], what: str) -> int:
        """Sleep, interruptibly, until ``ready()``, which some of ``events`` may make so; 0 or
        -ERESTARTSYS.
        """
        assert self.poll_head is not None, "a file that is always ready raised EAGAIN"
        return self.poll_head.wait(ready, what)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` hear when poll() may have changed; returns what ends it."""
        return _nothing if self.poll_head is None else self.poll_head.listen(listener)

    def nr_readable(self) -> int:
        """ioctl(FIONREAD): bytes that can be read now."""
        raise LinuxError(errno.ENOTTY)

    @property
    def locks(self) -> FileLockContext | None:
        """Locks of what was opened; None: none was taken through this open file, which is no
        regular one.
        """
        return self._locks

    def keep_locks(self, context: FileLockContext) -> None:
        """Locks of what was opened are there from now on."""
        self._locks = context
        self.on_release.append(lambda: context.release(self))

    def fsync(self) -> None:
        """Have what was written where it lasts; EINVAL if there is no such place."""
        raise LinuxError(errno.EINVAL)

    def deny_write_access(self) -> None:
        """It is being executed: nobody may open it for writing. ETXTBSY if somebody has."""

    def allow_write_access(self) -> None:
        """It is being executed no more."""

    def flush(self, table: FileTable) -> None:
        """A descriptor of it in ``table`` is closed: POSIX locks of the table go (filp_flush())."""
        locks = self.locks
        if locks is not None:
            locks.release(table)

    def reopen(self, flags: int) -> OpenFile:
        """Open what it stands for once more, through its link in /proc."""
        raise LinuxError(errno.ENXIO)

    def fdinfo(self) -> str:
        """/proc/PID/fdinfo/N."""
        return f"pos:\t{self.position}\nflags:\t0{self.flags:o}\nmnt_id:\t1\nino:\t{self.inode}\n"

    def set_flags(self, flags: int) -> None:
        """fcntl(F_SETFL)."""
        self.flags = self.flags & ~SETFL_MASK | flags & SETFL_MASK

    def close(self) -> None:
        """The last descriptor is gone."""

    def put(self) -> None:
        """One user less; with the last one it is closed (fput())."""
        self.users -= 1
        if not self.users:
            for release in list(self.on_release):
                release()
            self.close()

    def getattr(self) -> Kstat:
        """What stat() says: of what has a name, what its node says."""
        if self.dentry is not None:
            return self.dentry.getattr()
        return Kstat(
            mode=self.mode,
            ino=self.inode,
            uid=self.uid or 0,
            gid=self.gid or 0,
            size=self.size,
            blocks=-(-self.size // 512),
        )

    def stat(self) -> bytes:
        """Struct stat, 144 bytes."""
        return self.getattr().pack()

    def shown_path(self) -> str:
        """What /proc/PID/fd and maps show: where its name is now."""
        return self.path if self.dentry is None else self.dentry.shown_path()


def _nothing() -> None:
    pass


@dataclass
class Descriptor:
    """What a number in the table stands for."""

    file: OpenFile
    cloexec: bool = False


class FileTable:
    """A files_struct: descriptors by number, below what ``nofile`` says just then: the soft
    RLIMIT_NOFILE. ``users`` are the tasks that have it.
    """

    def __init__(self, nofile: Callable[[], int] = lambda: RLIMIT_NOFILE) -> None:
        self._table: dict[int, Descriptor] = {}
        self.owner: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """fsuid and fsgid of who runs."""
        self.held: Callable[[], dict[OpenFile, None] | None] = lambda: None
        """Where the system call under way has its files; None: there is none."""
        self.nofile = nofile
        self.users = 1

    def __iter__(self) -> Iterator[int]:
        """The numbers in use, in their order."""
        return iter(sorted(self._table))

    def get(self, fd: int) -> OpenFile:
        """The open file; EBADF if there is none. It stays open to the end of the system call that
        asks, whoever closes ``fd`` (fdget()).
        """
        file = self.descriptor(fd).file
        if self.users > 1:
            held = self.held()
            if held is not None and file not in held:
                file.users += 1
                held[file] = None
        return file

    def not_path(self, fd: int) -> OpenFile:
        """The open file; EBADF if there is none, or one opened with O_PATH (fdget())."""
        file = self.get(fd)
        if file.flags & O_PATH:
            raise LinuxError(errno.EBADF)
        return file

    def descriptor(self, fd: int) -> Descriptor:
        """The table's entry; EBADF if there is none."""
        entry = self._table.get(fd)
        if entry is None:
            raise LinuxError(errno.EBADF)
        return entry

    def install(self, file: OpenFile, *, lowest: int = 0, cloexec: bool = False) -> int:
        """Give ``file`` the lowest free number from ``lowest`` on; EMFILE if all are taken."""
        limit = self.nofile()
        if not 0 <= lowest < limit:
            raise LinuxError(errno.EINVAL)
        fd = next((n for n in range(lowest, limit) if n not in self._table), None)
        if fd is None:
            if not file.users:
                file.close()
            raise LinuxError(errno.EMFILE)
        self._put_at(fd, file, cloexec)
        return fd

    def install_pair(self, one: OpenFile, other: OpenFile, *, cloexec: bool) -> tuple[int, int]:
        """Give both a number, or none; EMFILE."""
        try:
            first = self.install(one, cloexec=cloexec)
        except LinuxError:
            other.close()
            raise
        try:
            return first, self.install(other, cloexec=cloexec)
        except LinuxError:
            self.close(first)
            raise

    def replace(self, fd: int, file: OpenFile, *, cloexec: bool = False) -> int:
        """dup2(): make ``fd`` stand for ``file``, closing what it stood for."""
        if not 0 <= fd < self.nofile():
            raise LinuxError(errno.EBADF)
        file.users += 1
        with suppress(LinuxError):
            self.close(fd)
        file.users -= 1
        self._put_at(fd, file, cloexec)
        return fd

    def close(self, fd: int) -> None:
        """Forget the number, and the file with its last one."""
        file = self.descriptor(fd).file
        del self._table[fd]
        file.flush(self)
        file.put()

    def close_all(self) -> None:
        """Forget every number."""
        for fd in list(self):
            self.close(fd)

    def close_on_exec(self) -> None:
        """Close what FD_CLOEXEC marks (do_close_on_exec()); the table is the task's own."""
        for fd in list(self):
            if self._table[fd].cloexec:
                self.close(fd)

    def share(self) -> FileTable:
        """One more task that has this table (CLONE_FILES)."""
        self.users += 1
        return self

    def copy(self, nofile: Callable[[], int] | None = None) -> FileTable:
        """The same open files under the same numbers in a table of its own (dup_fd())."""
        other = FileTable(self.nofile if nofile is None else nofile)
        other.owner = self.owner
        other.held = self.held
        for fd in self:
            entry = self._table[fd]
            other._put_at(fd, entry.file, entry.cloexec)
        return other

    def put(self) -> None:
        """One task less; with the last one every number is closed (exit_files())."""
        self.users -= 1
        if not self.users:
            self.close_all()

    def _put_at(self, fd: int, file: OpenFile, cloexec: bool) -> None:
        file.users += 1
        if file.uid is None and file.dentry is None:
            file.uid, file.gid = self.owner()
        self._table[fd] = Descriptor(file, cloexec)
