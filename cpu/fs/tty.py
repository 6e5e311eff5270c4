# SPDX-License-Identifier: GPL-2.0-or-later
"""Terminals (drivers/tty/tty_io.c, v6.18).

::

    TtyFile     an open file: /dev/tty, /dev/pts/N, or 0, 1, 2 of the first process
      └── Tty       termios, window size, whose controlling terminal it is, foreground group
            ├── NTty        the line discipline
            └── driver      HostTty: the user's terminal     PtySlave: the master's other side
"""

from __future__ import annotations

import errno
import stat
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cpu.fs.files import O_ACCMODE, O_NONBLOCK, O_RDONLY, O_WRONLY, SETFL_MASK, OpenFile
from cpu.fs.n_tty import NTty
from cpu.fs.poll import POLLERR, POLLHUP, READABLE, WRITABLE, PollHead
from cpu.fs.termios import TOSTOP, Termios
from mmu.errors import LinuxError
from mmu.linux.sched import ERESTARTSYS

if TYPE_CHECKING:
    from mmu.linux.sched import Scheduler

SIGTTIN, SIGTTOU, SIGWINCH = 21, 22, 28
TENTH_NS: Final = 10**8
EVENTS: Final = READABLE | WRITABLE | POLLHUP | POLLERR
WINSIZE: Final = struct.Struct("<4H")


class JobControl:
    """What a terminal asks of processes; this one knows none."""

    def check_change(self, tty: Tty, signo: int) -> None:
        """The process that runs reads (SIGTTIN), writes, or sets (SIGTTOU): it must be in the
        foreground, if this is its controlling terminal. Raises EIO, ERESTARTSYS.
        """

    def owner(self) -> tuple[int, int]:
        """Whom a terminal belongs to that is made now: the user, and the group tty."""
        return (0, 5)

    def signal_pgrp(self, pgrp: int, signo: int) -> None:
        """Send to a process group, if there is one."""

    def hang_up(self, tty: Tty) -> None:
        """The terminal is gone: its session hears of it, and has none any more."""


class Tty:
    """A struct tty_struct. ``session`` is whose controlling terminal it is, ``pgrp`` who is in the
    foreground; 0: nobody. ``name`` is where it lies in /dev.
    """

    def __init__(self, scheduler: Scheduler, jobs: JobControl, index: int) -> None:
        self.jobs = jobs
        self.index = index
        self.name = f"/dev/pts/{index}"
        self.session = self.pgrp = 0
        self.winsize = bytes(WINSIZE.size)
        self.owner = jobs.owner()
        """Uid and gid of its file."""
        self.rights = 0o620
        self.exclusive = False
        self.hung_up = False
        self.openers = 0
        self.ldisc = NTty(Termios(), self.put, self._isig, self.drop_output)
        self.read_wait = PollHead(scheduler, "input from a terminal")
        self.write_wait = PollHead(scheduler, "room in a terminal")
        self.scheduler = scheduler

    @property
    def termios(self) -> Termios:
        """How it is set."""
        return self.ldisc.termios

    # The driver's part.

    def put(self, data: bytes) -> None:
        """Show bytes that were processed, all of them."""
        raise NotImplementedError

    def write_room(self) -> int:
        """Bytes that put() may be given now."""
        raise NotImplementedError

    def drop_output(self) -> None:
        """Forget what is on its way to be shown."""

    def nr_output(self) -> int:
        """Bytes on their way to be shown."""
        return 0

    def used(self) -> None:
        """Somebody takes it for input, or sets it."""

    def asked(self) -> None:
        """Somebody asks whether there is input, and does not wait for it."""

    def process(self, data: bytes) -> bytes:
        """What put() is to get for what is written."""
        return self.ldisc.process(data)

    def other_closed(self) -> bool:
        """Whether there is nobody at the other side (TTY_OTHER_CLOSED)."""
        return False

    def opened(self) -> None:
        """One more open file."""
        self.openers += 1

    def closed(self) -> None:
        """One open file less."""
        self.openers -= 1

    def resized(self, winsize: bytes) -> None:
        """It has another size: who is in the foreground hears of it (tty_do_resize())."""
        if winsize != self.winsize:
            self.winsize = winsize
            self.jobs.signal_pgrp(self.pgrp, SIGWINCH)

    # Input.

    def received(self, data: bytes) -> None:
        """Something was typed."""
        self.ldisc.receive(data)
        self.read_wait.wake(READABLE)
        self.write_wait.wake(WRITABLE)

    def _isig(self, signo: int) -> None:
        self.jobs.signal_pgrp(self.pgrp, signo)

    def set_termios(self, new: Termios) -> None:
        """tty_set_termios()."""
        self.used()
        self.ldisc.set_termios(new)
        self.wake()

    def start(self) -> None:
        """Output goes on."""
        self.ldisc.start()
        self.write_wait.wake(WRITABLE)

    def flush_input(self) -> None:
        """tcflush(TCIFLUSH)."""
        self.ldisc.flush_input()

    def wake(self, events: int = EVENTS) -> None:
        """Whoever waits looks again."""
        self.read_wait.wake(events)
        self.write_wait.wake(events)

    def hang_up(self) -> None:
        """Nobody can use it any more (__tty_hangup())."""
        if not self.hung_up:
            self.hung_up = True
            self.jobs.hang_up(self)
            self.session = self.pgrp = 0
            self.wake()


class TtyFile(OpenFile):
    """An open terminal."""

    mode = stat.S_IFCHR | 0o620
    can_poll = True

    def __init__(self, tty: Tty, flags: int) -> None:
        super().__init__()
        self.tty = tty
        self.flags = flags & (O_ACCMODE | SETFL_MASK)
        self.path = tty.name
        self.inode = tty.index + 3
        self._timed_out = False
        self._waits = False
        tty.opened()

    # Reading.

    def read(self, count: int) -> bytes:
        """A line, or what VMIN and VTIME want (n_tty_read())."""
        if self.flags & O_ACCMODE == O_WRONLY:
            raise LinuxError(errno.EBADF)
        tty = self.tty
        if tty.hung_up:
            if self._waits and tty.other_closed():
                raise LinuxError(errno.EIO)
            return b""
        tty.used()
        tty.jobs.check_change(tty, SIGTTIN)
        if tty.ldisc.available(self._least(count)) or self._timed_out:
            data = tty.ldisc.read(count)
            self.after_read()
            return data
        if tty.other_closed():
            raise LinuxError(errno.EIO)
        if not tty.ldisc.canonical and tty.ldisc.min_time == (0, 0):
            return b""
        raise LinuxError(errno.EAGAIN)

    def after_read(self) -> None:
        """There is room again for what is typed."""

    def _least(self, count: int) -> int:
        """Bytes that end a read that waits."""
        least, _ = self.tty.ldisc.min_time
        if self.flags & O_NONBLOCK or not least:
            return 1
        return max(1, min(least, count))

    def wait(self, events: int, ready: Callable[[], bool], what: str) -> int:
        """Sleep until ``ready()``; reading without ICANON ends after VTIME."""
        tty = self.tty
        if not events & READABLE:
            return tty.write_wait.wait(ready, what)
        self._waits = True
        try:
            return self._wait_for_input(ready, what)
        finally:
            self._waits = False

    def _wait_for_input(self, ready: Callable[[], bool], what: str) -> int:
        tty = self.tty
        least, tenths = tty.ldisc.min_time
        if tty.ldisc.canonical or not tenths:
            return tty.read_wait.wait(ready, what)
        if least:
            result = tty.read_wait.wait(lambda: ready() or tty.ldisc.available(), what)
            if result:
                return result
        before = -1
        while not ready():
            if before == tty.ldisc.nr_readable():
                return self._time_out(ready)
            before = tty.ldisc.nr_readable()
            result = tty.read_wait.wait(
                lambda: ready() or tty.ldisc.nr_readable() != before,  # noqa: B023
                what,
                tenths * TENTH_NS,
            )
            if result == -errno.ETIME:
                return self._time_out(ready)
            if result:
                return result
        return 0

    def _time_out(self, ready: Callable[[], bool]) -> int:
        self._timed_out = True
        try:
            ready()
        finally:
            self._timed_out = False
        return 0

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        self.tty.ldisc.unread(data)

    # Writing.

    def write(self, data: bytes) -> int:
        """As much as there is room for (n_tty_write())."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise LinuxError(errno.EBADF)
        tty = self.tty
        if tty.hung_up:
            raise LinuxError(errno.EIO)
        if tty.termios.lflag & TOSTOP:
            tty.jobs.check_change(tty, SIGTTOU)
        room = 0 if tty.ldisc.stopped else tty.write_room()
        if tty.other_closed():
            raise LinuxError(errno.EIO)
        part = data[:room]
        if data and not part:
            raise LinuxError(errno.EAGAIN)
        tty.put(tty.process(part))
        return len(part)

    def poll(self) -> int:
        """n_tty_poll()."""
        tty = self.tty
        if tty.hung_up:
            return EVENTS
        least, tenths = tty.ldisc.min_time
        tty.asked()
        events = 0
        if tty.ldisc.available(least if least and not tenths else 1):
            events |= READABLE
        if tty.other_closed():
            events |= POLLHUP
        if not tty.ldisc.stopped and tty.write_room():
            events |= WRITABLE
        return events

    def listen(self, listener: Callable[[int], None]) -> Callable[[], None]:
        """Have ``listener`` hear of input and of room."""
        self.tty.used()
        ends = [head.listen(listener) for head in (self.tty.read_wait, self.tty.write_wait)]

        def end() -> None:
            for one in ends:
                one()

        return end

    def nr_readable(self) -> int:
        """ioctl(TIOCINQ)."""
        if self.tty.hung_up:
            raise LinuxError(errno.EIO)
        return self.tty.ldisc.nr_readable()

    def reopen(self, flags: int) -> OpenFile:
        """Open it once more."""
        return type(self)(self.tty, flags)

    def close(self) -> None:
        """One less has it open."""
        self.tty.closed()


def interrupted() -> LinuxError:
    """What a process in the background gets: it stops, and the call is made again."""
    return LinuxError(ERESTARTSYS)
