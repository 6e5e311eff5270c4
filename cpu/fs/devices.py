# SPDX-License-Identifier: GPL-2.0-or-later
"""/dev/null, zero, full, random and urandom (drivers/char/mem.c, random.c)."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cpu.fs.files import O_ACCMODE, O_RDONLY, O_WRONLY, SETFL_MASK, OpenFile
from cpu.fs.pseudo_fs import Device, Directory, Inode, Link
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from random import Random


MEM_MAJOR = 1
"""The major number of /dev/null and its like (Documentation/admin-guide/devices.txt)."""


class DeviceFile(OpenFile):
    """An open device: ``source`` gives what is read, None: end of file at once; ``room`` says
    whether what is written is taken, and forgotten.
    """

    def __init__(
        self, flags: int, source: Callable[[int], bytes] | None, *, room: bool = True
    ) -> None:
        super().__init__()
        self.flags = flags & (O_ACCMODE | SETFL_MASK)
        self._source = source
        self._room = room

    def read(self, count: int) -> bytes:
        """The next bytes; there are always more."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)
        return b"" if self._source is None else self._source(count)

    def pread(self, count: int, offset: int) -> bytes:
        """The next bytes, for there is no position."""
        return self.read(count)

    def write(self, data: bytes) -> int:
        """Forget them; ENOSPC if there is no room."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EBADF)
        if not self._room:
            raise LinuxError(errno.ENOSPC)
        return len(data)

    def pwrite(self, data: bytes, offset: int) -> int:
        """As write()."""
        return self.write(data)

    def seek(self, offset: int, whence: int) -> int:
        """There is no position: it is 0."""
        return 0

    def reopen(self, flags: int) -> OpenFile:
        """Open it once more."""
        return _like(self, DeviceFile(flags, self._source, room=self._room))


class ZeroFile(DeviceFile):
    """/dev/zero, which a mapping of is anonymous memory."""

    def __init__(self, flags: int) -> None:
        super().__init__(flags, bytes)

    def reopen(self, flags: int) -> OpenFile:
        """Open it once more."""
        return _like(self, ZeroFile(flags))


def _like(file: OpenFile, other: OpenFile) -> OpenFile:
    other.path, other.inode, other.mode = file.path, file.inode, file.mode
    return other


def dev_files(random: Random, terminals: Mapping[str, Inode]) -> Directory:
    """/dev, with ``terminals``."""

    def of(minor: int, source: Callable[[int], bytes] | None, *, room: bool = True) -> Device:
        return Device(lambda flags: DeviceFile(flags, source, room=room), (MEM_MAJOR, minor))

    files: dict[str, Inode] = {
        "null": of(3, None),
        "zero": Device(ZeroFile, (MEM_MAJOR, 5)),
        "full": of(7, bytes, room=False),
        "random": of(8, random.randbytes),
        "urandom": of(9, random.randbytes),
        "fd": Link(lambda: "/proc/self/fd"),
        "stdin": Link(lambda: "/proc/self/fd/0"),
        "stdout": Link(lambda: "/proc/self/fd/1"),
        "stderr": Link(lambda: "/proc/self/fd/2"),
        **terminals,
    }
    directory = Directory(files)
    directory.mode = stat.S_IFDIR | 0o755
    return directory
