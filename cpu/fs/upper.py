# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper layer: where what guests write goes.

The host has a directory with one file for the data of each regular file, named by number. Names,
rights, owners, times, links and directories are kept in memory, so that nothing that a guest does
to them is ever asked of the host; cpu.fs.keep makes a tree of it at the end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.fs.inode import Attributes
from cpu.fs.openat2 import host_error, open_beneath
from mmu.errors import LinuxError

if TYPE_CHECKING:
    from cpu.fs.inode import InodeTable
    from cpu.fs.node import Making

FIRST_UPPER: Final = 1 << 40
"""st_ino of the first file that a guest makes; more than any file of the host's is shown with."""
FIRST_OTHER: Final = 1 << 41
"""st_ino of the first file of the host's whose own number could be another's as well."""
_COPY: Final = 1 << 24


class UpperLayer:
    """The layer, in the host's directory at ``path``; None: there is none, and nothing can be
    written. At most ``files`` files and directories are in it. ``now`` is the guests' clock.
    """

    def __init__(
        self, inodes: InodeTable, path: str | None, files: int, now: Callable[[], int]
    ) -> None:
        self.inodes = inodes
        self.files = files
        self.now = now
        self.nr_files = 0
        self.fd = -1
        if path is not None:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._last_store = 0
        self._last_number = FIRST_UPPER - 1
        self._device: int | None = None
        self._others: dict[tuple[int, int], int] = {}

    @property
    def there(self) -> bool:
        """Whether there is one."""
        return self.fd >= 0

    def close(self) -> None:
        """Give the host's descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # Files and directories in it.

    def charge(self) -> None:
        """One more; ENOSPC if that is too many, EROFS if there is no layer."""
        if not self.there:
            raise LinuxError(errno.EROFS)
        if self.nr_files >= self.files:
            raise self.inodes.space.no_room("more files may be made (--max-files)")
        self.nr_files += 1

    def release(self) -> None:
        """One less."""
        self.nr_files -= 1

    def make(self, making: Making) -> Attributes:
        """What is to be said of something new, which is counted."""
        self.charge()
        now = self.now()
        return Attributes(
            self.new_number(), making.mode, making.uid, making.gid, now, now, now, now, making.rdev
        )

    def copy_of(self, info: os.stat_result) -> Attributes:
        """What is to be said of a file of the host's that a guest changes, which is counted."""
        self.charge()
        return Attributes(
            self.number_of(info.st_dev, info.st_ino),
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_atime_ns,
            info.st_mtime_ns,
            info.st_ctime_ns,
            info.st_ctime_ns,
            info.st_rdev,
        )

    def new_number(self) -> int:
        """st_ino for something new."""
        self._last_number += 1
        return self._last_number

    def number_of(self, device: int, inode: int) -> int:
        """St_ino that a file of the host's is shown with: its own, unless that could be another's:
        all have one st_dev.
        """
        if self._device is None:
            self._device = device
        if device == self._device and inode < FIRST_UPPER:
            return inode
        return self._others.setdefault((device, inode), FIRST_OTHER + len(self._others))

    # Their data.

    def new_store(self) -> tuple[int, int]:
        """An empty file of the host's for data: its number, and a descriptor, O_RDWR."""
        number = self._last_store + 1
        fd = open_beneath(self.fd, str(number), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        self._last_store = number
        return number, fd

    def open_store(self, number: int) -> int:
        """A descriptor of one, O_RDWR."""
        return open_beneath(self.fd, str(number), os.O_RDWR)

    def stat_store(self, number: int) -> os.stat_result:
        """What the host says of one."""
        try:
            return os.stat(str(number), dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            raise host_error(error) from None

    def unlink_store(self, number: int) -> None:
        """It is not needed any more; who has it open keeps it."""
        try:
            os.unlink(str(number), dir_fd=self.fd)
        except OSError as error:
            raise host_error(error) from None

    def copy(self, source: int) -> tuple[int, int]:
        """A copy of a host's file, as new_store() gives it; ENOSPC."""
        if os.fstat(source).st_blocks << 9 > self.inodes.space.room:
            raise self.inodes.space.no_room()
        number, fd = self.new_store()
        try:
            copy_data(source, fd)
        except OSError as error:
            os.close(fd)
            self.unlink_store(number)
            raise host_error(error) from None
        return number, fd


def copy_data(source: int, target: int) -> None:
    """Copy all bytes of one host's file to another, which is empty; holes stay. Raises OSError."""
    size, at = os.fstat(source).st_size, 0
    os.ftruncate(target, size)
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
            end = os.lseek(source, at, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            end = size
        while at < end:
            done = _copy_some(source, target, at, min(end - at, _COPY))
            if not done:
                return
            at += done


def _copy_some(source: int, target: int, at: int, size: int) -> int:
    try:
        return os.copy_file_range(source, target, size, at, at)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    data = os.pread(source, min(size, 1 << 20), at)
    return os.pwrite(target, data, at) if data else 0
