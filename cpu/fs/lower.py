# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories of the host's that guests see: held open, and looked into one name at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from cpu.fs.openat2 import host_error, open_beneath
from mmu.errors import LinuxError

HELD: Final = 1024
"""Directories of the host's that are held open for the next look."""
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EINVAL)


class Descriptors:
    """The descriptors of the host's directories that were used last."""

    def __init__(self) -> None:
        self._held: OrderedDict[LowerDir, int] = OrderedDict()

    def get(self, directory: LowerDir) -> int:
        """An O_PATH descriptor of the directory, good until the next call."""
        missing: list[LowerDir] = []
        at = directory
        while (fd := self._held.get(at)) is None:
            assert at.parent is not None, "a root is always held"
            missing.append(at)
            at = at.parent
        for below in reversed(missing):
            fd = open_beneath(fd, below.name, os.O_PATH | os.O_DIRECTORY)
            self.hold(below, fd)
        return fd

    def hold(self, directory: LowerDir, fd: int) -> None:
        """Have the directory's descriptor, and let go of the one that was got first."""
        self._held[directory] = fd
        if len(self._held) > HELD:
            for old in self._held:
                if old.parent is not None:
                    os.close(self._held.pop(old))
                    break

    def close(self) -> None:
        """Give all back."""
        while self._held:
            os.close(self._held.popitem()[1])


class LowerDir:
    """A directory of the host's, found as ``name`` in ``parent``; a root is held open for good.

    ``public``: what in it not everybody may read does not exist.
    """

    __slots__ = ("descriptors", "name", "parent", "public")

    def __init__(
        self, descriptors: Descriptors, parent: LowerDir | None, name: str, *, public: bool
    ) -> None:
        self.descriptors = descriptors
        self.parent = parent
        self.name = name
        self.public = public

    @property
    def fd(self) -> int:
        """An O_PATH descriptor, good until another directory's is asked for."""
        return self.descriptors.get(self)

    def below(self, name: str) -> LowerDir:
        """The directory ``name`` in it."""
        return LowerDir(self.descriptors, self, name, public=self.public)

    def lstat(self, name: str) -> os.stat_result | None:
        """What the host says of an entry; None if there is none, or none that may be seen."""
        try:
            info = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise host_error(error) from None
        except LinuxError as error:
            if error.errno in _GONE:
                return None
            raise
        return None if self.public and is_private(info) else info

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the regular file ``name``, the caller's own."""
        fd = open_beneath(self.fd, name, flags | os.O_NONBLOCK | os.O_NOCTTY)
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or (self.public and is_private(info)):
            os.close(fd)
            raise LinuxError(errno.ENOENT)
        return fd

    def readlink(self, name: str) -> str:
        """What the link ``name`` says."""
        try:
            return os.readlink(name, dir_fd=self.fd)
        except OSError as error:
            raise host_error(error) from None

    def scan(self) -> Iterator[tuple[str, int, int]]:
        """Its entries: name, st_ino, S_IFMT bits; in the order of their names."""
        try:
            fd = open_beneath(self.fd, ".", os.O_RDONLY | os.O_DIRECTORY)
        except LinuxError as error:
            if error.errno in _GONE:
                return
            raise
        try:
            with os.scandir(fd) as found:
                entries = sorted((entry.name, entry.inode(), _kind(entry)) for entry in found)
        finally:
            os.close(fd)
        for name, inode, kind in entries:
            if not self.public or self.lstat(name) is not None:
                yield name, inode, kind


def is_private(info: os.stat_result) -> bool:
    """Whether it is something that not everybody may read."""
    return not stat.S_ISLNK(info.st_mode) and not info.st_mode & stat.S_IROTH


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    try:
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return stat.S_IFREG


def held_root(descriptors: Descriptors, path: str, *, public: bool) -> LowerDir:
    """The host's directory at ``path``, absolute and without links, held open. Raises OSError."""
    root = LowerDir(descriptors, None, path, public=public)
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
    descriptors.hold(root, os.open(path, flags))
    return root
