# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that can be written, for tests without a host's."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from mmu.errors import LinuxError

PAGE = 4096


class Disk:
    """A file's bytes, and which pages were read and written. ``room`` is how many may be dirty."""

    writable = True

    def __init__(self, size: int) -> None:
        self.data = bytearray(bytes(range(251)) * (size // 251 + 1))[:size]
        self.read: list[int] = []
        self.written: list[int] = []
        self.room = 1 << 30
        self.broken = False

    def i_size(self) -> int:
        """Bytes."""
        return len(self.data)

    def readahead(self, pgoff: int, pages: Sequence[memoryview]) -> int:
        """Copy pages out."""
        if self.broken:
            raise LinuxError(errno.EIO)
        done = 0
        for number, page in enumerate(pages, pgoff):
            part = self.data[number * PAGE : (number + 1) * PAGE]
            page[: len(part)] = part
            done += len(part)
            self.read.append(number)
        return done

    def writepages(self, pgoff: int, pages: Sequence[memoryview]) -> None:
        """Copy pages in, up to the end."""
        if self.broken:
            raise LinuxError(errno.EIO)
        for number, page in enumerate(pages, pgoff):
            end = min((number + 1) * PAGE, len(self.data))
            self.data[number * PAGE : end] = page[: end - number * PAGE]
            self.written.append(number)

    def page_mkwrite(self, nr_dirty: int) -> None:
        """Full beyond ``room``."""
        if nr_dirty >= self.room:
            raise LinuxError(errno.ENOSPC)

    def punch_hole(self, offset: int, length: int) -> bool:
        """Zeros."""
        self.data[offset : offset + length] = bytes(length)
        return False
