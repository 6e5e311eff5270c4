# SPDX-License-Identifier: GPL-2.0-or-later
"""Open files of /proc and /sys whose bytes are made up on reading (fs/seq_file.c, v6.18)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from cpu.fs.files import (
    O_ACCMODE,
    O_RDONLY,
    O_WRONLY,
    SEEK_CUR,
    SEEK_SET,
    SETFL_MASK,
    OpenFile,
)
from mmu.errors import LinuxError

Text = Callable[[], "str | bytes | Iterator[str]"]
"""Makes up all of a file, or its parts one after the other as they are asked for."""
Store = Callable[[bytes], None]


class SeqFile(OpenFile):
    """``text`` makes its bytes up, anew at each read from its start; ``store`` takes what is
    written, in one call, or raises LinuxError. None: it cannot be written (EINVAL).
    """

    def __init__(self, text: Text, store: Store | None = None, flags: int = O_RDONLY) -> None:
        super().__init__()
        self.flags = flags & (O_ACCMODE | SETFL_MASK)
        self._text = text
        self._store = store
        self._data = bytearray()
        self._parts: Iterator[str | bytes] | None = None

    def pread(self, count: int, offset: int) -> bytes:
        """``count`` bytes from ``offset`` on, of what there was at the last read from the start."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)
        if not offset or self._parts is None:
            text = self._text()
            self._parts = iter([text]) if isinstance(text, str | bytes) else text
            self._data.clear()
        for part in self._parts if len(self._data) < offset + count else ():
            self._data += part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
            if len(self._data) >= offset + count:
                break
        return bytes(self._data[offset : offset + count])

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end."""
        data = self.pread(count, self.position)
        self.position += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Move back over what was read last."""
        self.position -= len(data)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position; EINVAL for SEEK_END, since there is no size (seq_lseek())."""
        base = {SEEK_SET: 0, SEEK_CUR: self.position}.get(whence)
        if base is None or not 0 <= base + offset < 1 << 63:
            raise LinuxError(errno.EINVAL)
        self.position = base + offset
        return self.position

    def write(self, data: bytes) -> int:
        """Give it to ``store``; the whole of it is taken."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EBADF)
        if self._store is None:
            raise LinuxError(errno.EINVAL)
        self._store(data)
        self.position += len(data)
        return len(data)

    def pwrite(self, data: bytes, offset: int) -> int:
        """As write(); the position stays."""
        position, done = self.position, self.write(data)
        self.position = position
        return done

    def truncate(self, size: int) -> None:
        """O_TRUNC changes nothing: it has no bytes of its own (proc_setattr())."""

    def reopen(self, flags: int) -> OpenFile:
        """Open it once more."""
        other = SeqFile(self._text, self._store, flags)
        other.path, other.inode, other.mode = self.path, self.inode, self.mode
        return other


def kstrto(data: bytes, *, base: int = 0, limit: int = 128) -> int:
    """kstrtoint(): the number that was written, signs and blanks around it allowed. EINVAL if it is
    none.
    """
    try:
        return int(data[:limit].strip(b" \t\n\0").decode("ascii"), base)
    except ValueError:
        raise LinuxError(errno.EINVAL) from None
