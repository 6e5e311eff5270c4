# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's terminal, as the guest's.

Until a guest uses it for input, what is written to it goes there as it is, and ^C is our user's:
it ends the run. From the first read, select() or change of its modes on the guest has it: whoever
runs us puts it into raw mode, each byte comes here as it is typed, and goes through a line
discipline of ours.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cpu.fs.streams import write_or_stop
from cpu.fs.termios import TERMIOS_SIZE, Termios
from cpu.fs.tty import WINSIZE, JobControl, Tty
from cpu.host_watch import host_ready

if TYPE_CHECKING:
    from cpu.scheduler import Scheduler

TCGETS: Final = 0x5401
ESCAPE: Final = 0x1D
"""^]: three of them within a second, and nothing else, end the run whatever the guest does."""
ESCAPES: Final = 3


class HostTty(Tty):
    """The terminal behind the host's descriptor ``fd``."""

    def __init__(self, scheduler: Scheduler, jobs: JobControl, fd: int) -> None:
        super().__init__(scheduler, jobs, 0)
        self._host = scheduler
        self._fd = fd
        self.before_output: Callable[[], None] = _nothing
        """Called before something is shown."""
        self.before_use: Callable[[], None] = _nothing
        """Called once, before it is used for input: the terminal is raw when it returns."""
        self._in_use = False
        self._escapes: list[float] = []
        self._pipe: tuple[int, int] | None = None
        self.winsize = self._host_winsize()
        self.ldisc.set_termios(self._host_termios())
        self._unwatch = _nothing

    def follow_size(self) -> None:
        """From here on hear of SIGWINCH; in the main thread only."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        self._pipe = (reader, writer)
        signal.signal(signal.SIGWINCH, lambda *_: _poke(writer))
        self._host.watch_host(reader, select.POLLIN, self._look, background=True)

    def _look(self) -> None:
        assert self._pipe is not None
        with suppress(OSError):
            os.read(self._pipe[0], 4096)
        self.resized(self._host_winsize())

    def _host_termios(self) -> Termios:
        """How the user has set it."""
        buffer = bytearray(TERMIOS_SIZE)
        try:
            fcntl.ioctl(self._fd, TCGETS, buffer)
        except OSError:
            return Termios()
        return Termios.of(bytes(buffer))

    def _host_winsize(self) -> bytes:
        buffer = bytearray(WINSIZE.size)
        with suppress(OSError):
            fcntl.ioctl(self._fd, termios.TIOCGWINSZ, buffer)
        return bytes(buffer)

    def _pull(self) -> None:
        """Something was typed."""
        if not host_ready(self._fd, select.POLLIN):
            return
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            data = b""
        if not data:
            self._unwatch()
            self._unwatch = _nothing
            self.hang_up()
            return
        if self._is_escape(data):
            self._host.stop()
            return
        self.received(data)

    def _is_escape(self, data: bytes) -> bool:
        if data.strip(bytes((ESCAPE,))):
            self._escapes.clear()
            return False
        now = time.monotonic()
        self._escapes = [at for at in self._escapes if at > now - 1] + [now] * len(data)
        return len(self._escapes) >= ESCAPES

    def process(self, data: bytes) -> bytes:
        """Until it is raw the terminal does that itself."""
        return super().process(data) if self._in_use else data

    def put(self, data: bytes) -> None:
        """Show it; the whole machine waits for a terminal that is slow."""
        self.before_output()
        with suppress(OSError):
            write_or_stop(self._fd, data, lambda: self._host.stopping)

    def write_room(self) -> int:
        """It always waits until all is shown."""
        return 65536

    def used(self) -> None:
        """The guest has it from here on, and time passes as at the user's."""
        if not self._in_use:
            self.before_output()
            self.before_use()
            self._in_use = self._host.real_time = True
            self._unwatch = self._host.watch_host(
                self._fd, select.POLLIN, self._pull, background=True
            )
            self._pull()

    def asked(self) -> None:
        """Somebody asks whether there is input."""
        if not self._in_use and host_ready(self._fd, select.POLLIN):
            self.used()


def _poke(fd: int) -> None:
    with suppress(OSError):
        os.write(fd, b"\0")


def _nothing() -> None:
    pass
