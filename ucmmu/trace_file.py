# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a trace goes while the guest runs."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable

from cpu.fs.streams import write_or_stop


class TraceFile:
    """A descriptor for a trace: what is written goes there at once, or InterruptedError if the run
    is to stop.
    """

    def __init__(self, fd: int, stopping: Callable[[], bool]) -> None:
        self._fd = fd
        self._stopping = stopping

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them all in one piece."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Nothing is kept back."""

    def write(self, text: str) -> int:
        """Write all of it. Raises OSError."""
        data = text.encode("utf-8", "backslashreplace")
        while data:
            written = write_or_stop(self._fd, data, self._stopping)
            if written < len(data) and self._stopping():
                raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))
            data = data[written:]
        return len(text)
