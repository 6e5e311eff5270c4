# SPDX-License-Identifier: GPL-2.0-or-later
"""Named pipes (fifo_open(), fs/pipe.c, v6.18)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cpu.fs.files import O_ACCMODE, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY, OpenFile
from cpu.fs.pipes import Pipe, PipeEnd
from cpu.fs.poll import POLLHUP, READABLE, WRITABLE, PollHead
from mmu.errors import LinuxError
from mmu.linux.sched import ERESTARTSYS

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler


class Fifo:
    """What the openers of one FIFO share: its pipe while somebody has it, and how many ever opened
    it for reading and for writing.
    """

    def __init__(self, scheduler: Scheduler, inode: int) -> None:
        self.pipe = Pipe(scheduler, inode)
        self.users = 0
        self.r_counter = self.w_counter = 0
        self.partners = PollHead(scheduler, "the other side of a FIFO")


class FifoEnd(PipeEnd):
    """An open FIFO."""

    def __init__(self, fifo: Fifo, flags: int, forget: Callable[[], None]) -> None:
        super().__init__(fifo.pipe, flags)
        self._fifo = fifo
        self._forget = forget
        self._writers_before = fifo.w_counter
        fifo.users += 1

    def poll(self) -> int:
        """As of a pipe, but nobody has hung up before somebody was there (filp->f_pipe)."""
        events = super().poll()
        if self._fifo.w_counter == self._writers_before and self._reads and not self._writes:
            events &= ~POLLHUP
        return events

    def close(self) -> None:
        """With the last one what was not read is gone."""
        super().close()
        self._fifo.users -= 1
        if not self._fifo.users:
            self._forget()


class FifoNode(Protocol):
    """The node of a FIFO."""

    fifo: Fifo | None

    @property
    def number(self) -> int:
        """st_ino."""


def open_fifo(scheduler: Scheduler, node: FifoNode, flags: int) -> OpenFile:
    """Open the FIFO of a node.

    Who opens one side waits for the other. With O_NONBLOCK nobody waits: ENXIO for a writer without
    readers. Raises ERESTARTSYS if a signal came first.
    """
    fifo = node.fifo
    if fifo is None:
        fifo = node.fifo = Fifo(scheduler, node.number)

    def forget() -> None:
        node.fifo = None

    pipe, nonblock, access = fifo.pipe, flags & O_NONBLOCK, flags & O_ACCMODE
    if access == O_WRONLY and nonblock and not pipe.readers:
        if not fifo.users:
            forget()
        raise LinuxError(errno.ENXIO)
    end = FifoEnd(fifo, flags, forget)
    fifo.r_counter += access in (O_RDONLY, O_RDWR)
    fifo.w_counter += access in (O_WRONLY, O_RDWR)
    fifo.partners.wake(READABLE | WRITABLE)
    if nonblock or access not in (O_RDONLY, O_WRONLY):
        return end
    counter = "w_counter" if access == O_RDONLY else "r_counter"
    there = pipe.writers if access == O_RDONLY else pipe.readers
    if there:
        return end
    before = getattr(fifo, counter)

    def came() -> bool:
        return bool(getattr(fifo, counter) != before)

    if fifo.partners.wait(came, "somebody to open the other side of a FIFO"):
        end.close()
        raise LinuxError(ERESTARTSYS)
    return end
