# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a trace goes while the guest runs."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cpu.fs.streams import write_or_stop

if TYPE_CHECKING:
    from typing_extensions import Buffer


class HostFile(io.RawIOBase):
    """A descriptor for a trace: what is written goes there at once, or InterruptedError if the run
    is to stop.
    """

    def __init__(self, fd: int, stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._fd = fd
        self._stopping = stopping

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Write all of it. Raises OSError."""
        rest = bytes(data)
        size = len(rest)
        while rest:
            written = write_or_stop(self._fd, rest, self._stopping)
            if written < len(rest) and self._stopping():
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            rest = rest[written:]
        return size
