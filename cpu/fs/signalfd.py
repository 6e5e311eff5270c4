# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals read from a file: signalfd (fs/signalfd.c, v6.18).

A read takes signals of the task that reads, not of the one that made the file. They are blocked, as
a rule, else they act before.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_NONBLOCK, O_RDWR, OpenFile
from cpu.fs.poll import POLLIN, PollHead
from cpu.siginfo import Layout, SigInfo
from cpu.signal_delivery import dequeue_signal
from cpu.signals import sigmask
from mmu.errors import LinuxError
from mmu.units import U64

if TYPE_CHECKING:
    from cpu.signals import Sighand
    from cpu.task import System, Task

SIGNALFD_SIGINFO_SIZE: Final = 128
_HEAD: Final = struct.Struct("<Iii")
_PID, _UID, _FD, _TID, _BAND, _OVERRUN, _TRAPNO, _STATUS, _INT, _PTR, _UTIME, _STIME, _ADDR = (
    12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 64, 72,
)  # fmt: skip
_FIELDS: Final[dict[int, tuple[tuple[int, int, str], ...]]] = {
    # where it goes, where it is in the siginfo's fields, and its type
    Layout.KILL: ((_PID, 0, "<i"), (_UID, 4, "<I")),
    Layout.QUEUE: ((_PID, 0, "<i"), (_UID, 4, "<I"), (_INT, 8, "<i"), (_PTR, 8, "<Q")),
    Layout.TIMER: ((_TID, 0, "<i"), (_OVERRUN, 4, "<i"), (_INT, 8, "<i"), (_PTR, 8, "<Q")),
    Layout.FAULT: ((_ADDR, 0, "<Q"),),
    Layout.CHILD: (
        (_PID, 0, "<i"), (_UID, 4, "<I"), (_STATUS, 8, "<i"), (_UTIME, 16, "<q"),
        (_STIME, 24, "<q"),
    ),
    Layout.POLL: ((_BAND, 0, "<I"), (_FD, 8, "<i")),
}  # fmt: skip


def signalfd_siginfo(info: SigInfo) -> bytes:
    """struct signalfd_siginfo: SIGNALFD_SIGINFO_SIZE bytes (signalfd_copyinfo())."""
    told = bytearray(SIGNALFD_SIGINFO_SIZE)
    _HEAD.pack_into(told, 0, info.signo, info.errno, info.code)
    fields = info.fields.ljust(32, b"\0")
    for to, at, kind in _FIELDS[info.layout]:
        struct.pack_into(kind, told, to, *struct.unpack_from(kind, fields, at))
    return bytes(told)


class SignalFd(OpenFile):
    """What a read takes: the signals of ``mask``."""

    mode = 0o600
    inode = 13
    path = "anon_inode:[signalfd]"

    def __init__(self, system: System, mask: int, flags: int) -> None:
        super().__init__()
        self.mask = mask
        self.flags = O_RDWR | flags & O_NONBLOCK
        self.poll_head: PollHead = PollHead(system.scheduler, "a signalfd")
        self._system = system
        self._heard: list[Sighand] = []

    def _current(self) -> Task:
        """The task that reads or polls; it is heard of from now on."""
        task = self._system.scheduler.current
        assert task is not None
        found = self._system.tasks[task.pid]
        if found.sighand not in self._heard:
            self._heard.append(found.sighand)
            found.sighand.signalfds.append(self._hear)
        return found

    def _hear(self, signo: int) -> None:
        if sigmask(signo) & self.mask:
            self.poll_head.wake(POLLIN)

    def set_mask(self, mask: int) -> None:
        """Take these from now on."""
        self.mask = mask
        self.poll_head.wake(POLLIN)

    def read(self, count: int) -> bytes:
        """As many signals as wait and have room; EAGAIN if none waits, EINVAL: no room for one."""
        if count < SIGNALFD_SIGINFO_SIZE:
            raise LinuxError(errno.EINVAL)
        task, told = self._current(), b""
        while len(told) + SIGNALFD_SIGINFO_SIZE <= count:
            info = dequeue_signal(task, ~self.mask & U64)
            if info is None:
                break
            told += signalfd_siginfo(info)
        if not told:
            raise LinuxError(errno.EAGAIN)
        return told

    def write(self, data: bytes) -> int:
        """It cannot be written."""
        raise LinuxError(errno.EINVAL)

    def seek(self, offset: int, whence: int) -> int:
        """There is no position: it is 0."""
        return 0

    def poll(self) -> int:
        """Whether a signal of the mask waits for the task that asks."""
        task = self._current()
        waiting = task.pending.signal | task.process.shared_pending.signal
        return POLLIN if waiting & self.mask else 0

    def close(self) -> None:
        """It hears of no signal any more."""
        for sighand in self._heard:
            sighand.signalfds.remove(self._hear)
