# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors that stand for processes (fs/pidfs.c, kernel/pid.c, v6.18).

One is readable for poll() when its process has ended, and stays with that process even when the
number is another's.
"""

from __future__ import annotations

import errno
import select
import stat

from cpu.fs.files import O_RDWR, OpenFile
from cpu.fs.poll import PollHead
from cpu.task import Process
from mmu.errors import LinuxError

PIDFD_NONBLOCK = 0x800


class PidFd(OpenFile):
    """A pidfd of ``process``; ``flags`` may have PIDFD_NONBLOCK."""

    mode = stat.S_IFREG | 0o700

    def __init__(self, process: Process, flags: int = 0) -> None:
        super().__init__()
        self.process = process
        self.flags = O_RDWR | flags
        self.path = "anon_inode:[pidfd]"
        if process.pidfd_poll is None:
            process.pidfd_poll = PollHead(process.system.scheduler, f"the end of {process}")
        self.poll_head = process.pidfd_poll

    @property
    def is_released(self) -> bool:
        """Whether the process has been waited for."""
        return self.process.system.process_of(self.process.pid) is not self.process

    def poll(self) -> int:
        """POLLIN when it has ended, POLLHUP too when it has been waited for."""
        if self.is_released:
            return select.POLLIN | select.POLLRDNORM | select.POLLHUP
        return select.POLLIN | select.POLLRDNORM if self.process.zombie else 0

    def read(self, count: int) -> bytes:
        """EINVAL: there is nothing to read."""
        raise LinuxError(errno.EINVAL)

    def fdinfo(self) -> str:
        """/proc/PID/fdinfo's lines."""
        return f"{super().fdinfo()}Pid:\t{-1 if self.is_released else self.process.pid}\n"


def pidfd_of(file: OpenFile) -> PidFd:
    """The file as a pidfd; EBADF if it is none."""
    if not isinstance(file, PidFd):
        raise LinuxError(errno.EBADF)
    return file
