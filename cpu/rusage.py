# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process used: struct rusage (kernel/sys.c, v6.18)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_RUSAGE: Final = struct.Struct("<14q4q")
_SECOND: Final = 10**9


@dataclass
class Rusage:
    """Times in nanoseconds, ``maxrss`` in kB, the rest in numbers. Kernel code takes no time here,
    so all time is the user's.
    """

    utime: int = 0
    stime: int = 0
    maxrss: int = 0
    minflt: int = 0
    majflt: int = 0
    nvcsw: int = 0
    nivcsw: int = 0

    def add(self, other: Rusage) -> None:
        """Add another's; ``maxrss`` becomes the greater one."""
        self.utime += other.utime
        self.stime += other.stime
        self.maxrss = max(self.maxrss, other.maxrss)
        self.minflt += other.minflt
        self.majflt += other.majflt
        self.nvcsw += other.nvcsw
        self.nivcsw += other.nivcsw

    def pack(self) -> bytes:
        """struct rusage, 144 bytes."""
        return _RUSAGE.pack(
            *_timeval(self.utime),
            *_timeval(self.stime),
            self.maxrss,
            *(0, 0, 0),
            self.minflt,
            self.majflt,
            *(0, 0, 0, 0, 0),
            *(0,),
            self.nvcsw,
            self.nivcsw,
        )


@dataclass
class TaskIo:
    """task_io_accounting: bytes that read() and write() and their like moved, and those calls."""

    rchar: int = 0
    wchar: int = 0
    syscr: int = 0
    syscw: int = 0


def _timeval(nanoseconds: int) -> tuple[int, int]:
    return nanoseconds // _SECOND, nanoseconds % _SECOND // 1000
