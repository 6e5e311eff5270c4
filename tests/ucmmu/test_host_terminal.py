# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a guest has the user's terminal as a program has it natively: the same transcript, job
control included; afterwards the terminal is as it was, however the run ended.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

BUSYBOX = shutil.which("busybox")
UCMMU = (sys.executable, "-m", "ucmmu", "run", "--timeout", "60", "--env", "PS1=$ ")
needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="no busybox: apt-get install busybox")
PROMPT = rb"\$ (\x1b\[6n)?"


_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Terminal:
    """A terminal whose other side is a program: what the user sees, and types."""

    def __init__(self, master: int, slave: int, pid: int) -> None:
        self._master = master
        self.slave = slave
        self.pid = pid
        self.seen = b""
        self._place = 0

    def expect(self, pattern: bytes, seconds: float = 45) -> None:
        """Wait until what comes matches, from where it did last."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.seen[self._place :], re.DOTALL)
            if found:
                self._place += found.end()
                return
            if time.monotonic() > end or not self._pump():
                raise AssertionError(f"no {pattern!r} in {self.seen[self._place :]!r}")

    def _pump(self, seconds: float = 0.2) -> bool:
        """Take what has come; false if the program is over and nothing has."""
        over = not self.pid or bool(os.waitid(os.P_PID, self.pid, _ENDED))
        if select.select([self._master], [], [], 0 if over else seconds)[0]:
            with suppress(OSError):
                self.seen += os.read(self._master, 1 << 16)
            return True
        return not over

    def type(self, keys: bytes) -> None:
        """Press the keys."""
        os.write(self._master, keys)

    def ended(self) -> int:
        """Wait for the program's end: its exit code."""
        end = time.monotonic() + 45
        while time.monotonic() < end:
            if self._pump(0.05):
                continue
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it does not end: {self.seen[self._place :]!r}")


@contextmanager
def terminal(*command: str) -> Iterator[Terminal]:
    """Run a command on a terminal of its own."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 30, 90, 0, 0))
    pid = os.fork()
    if not pid:
        _login(slave)
        for name in ("COLUMNS", "LINES"):
            os.environ.pop(name, None)
        os.environ.update({"PS1": "$ ", "ENV": "", "TERM": "dumb"})
        # Not execv(): readline, in this process, has put LINES and COLUMNS into C's environment.
        os.execve(command[0], command, dict(os.environ))
    it = Terminal(master, slave, pid)
    try:
        yield it
    finally:
        if it.pid:
            os.kill(it.pid, signal.SIGKILL)
            os.waitpid(it.pid, 0)
        os.close(master)
        os.close(slave)


def _login(slave: int) -> None:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd)


def work(shell: Terminal) -> str:
    """A session with job control; what was seen, without what may differ."""
    steps: list[tuple[bytes, bytes]] = [
        (b"echo hello | tr a-z A-Z\r", rb"HELLO\r\n" + PROMPT),
        (b"tty\r", rb"/dev/pts/\d+\r\n" + PROMPT),
        (b"sleep 100\r", rb"sleep 100\r\n"),
        (b"\x1a", rb"Stopped.*" + PROMPT),
        (b"jobs\r", rb"Stopped.*" + PROMPT),
        (b"bg\r", rb"sleep 100\r\n" + PROMPT),
        (b"fg\r", rb"sleep 100\r\n"),
        (b"\x03", rb"\^C.*" + PROMPT),
        (b"echo $?\r", rb"130\r\n" + PROMPT),
        (b"cat\r", rb"cat\r\n"),
        (b"abc\x7fd\n", rb"abd\r\n"),
        (b"\x04", PROMPT),
        (b"exit 3\r", rb"exit 3\r\n"),
    ]
    shell.expect(PROMPT)
    for keys, answer in steps:
        if shell.seen.endswith((b"sleep 100\r\n", b"cat\r\n")):
            time.sleep(0.5)
        shell.type(keys)
        shell.expect(answer)
    assert shell.ended() == 3
    seen = re.split(rb"\S*busybox sh -i \(", shell.seen)[0]
    text = seen[re.search(PROMPT, seen).start() :].decode()  # type: ignore[union-attr]
    return re.sub(r"/dev/pts/\d+", "/dev/pts/N", text.replace("\x1b[6n", ""))


@needs_busybox
def test_a_shell_with_job_control_says_what_it_says_natively() -> None:
    assert BUSYBOX is not None
    with terminal(BUSYBOX, "sh", "-i") as native:
        expected = work(native)
    with terminal(*UCMMU, BUSYBOX, "sh", "-i") as guest:
        before = termios.tcgetattr(guest.slave)
        assert work(guest) == expected
        assert termios.tcgetattr(guest.slave) == before


@needs_busybox
def test_the_terminal_is_put_back_when_the_run_is_stopped() -> None:
    assert BUSYBOX is not None
    with terminal(*UCMMU, BUSYBOX, "sh", "-i") as guest:
        before = termios.tcgetattr(guest.slave)
        guest.expect(PROMPT)
        assert termios.tcgetattr(guest.slave) != before
        os.kill(guest.pid, signal.SIGTERM)
        guest.ended()
        assert termios.tcgetattr(guest.slave) == before


@needs_busybox
def test_three_times_the_escape_key_ends_a_guest_that_ignores_all() -> None:
    assert BUSYBOX is not None
    script = "trap '' INT QUIT TSTP TERM; echo ready; while :; do read x; done"
    with terminal(*UCMMU, BUSYBOX, "sh", "-c", script) as guest:
        guest.expect(rb"ready")
        time.sleep(0.5)
        guest.type(b"\x03\x1c\x1a")
        guest.expect(rb"\^Z")
        guest.type(b"\x1d\x1d\x1d")
        assert guest.ended() != 0


@needs_busybox
def test_a_key_stops_a_guest_that_computes() -> None:
    """^C, typed while nobody reads, reaches the foreground group within a moment."""
    assert BUSYBOX is not None
    script = "echo ready; read x; echo begun; while :; do :; done"
    with terminal(*UCMMU, BUSYBOX, "sh", "-c", script) as guest:
        guest.expect(rb"ready")
        guest.type(b"go\r")
        guest.expect(rb"begun")
        time.sleep(0.2)
        guest.type(b"\x03")
        assert guest.ended() == 130


@needs_busybox
def test_the_guest_hears_of_the_windows_size() -> None:
    assert BUSYBOX is not None
    script = "stty size; trap 'stty size; exit 5' WINCH; read x; while :; do sleep 0.05; done"
    with terminal(*UCMMU, BUSYBOX, "sh", "-c", script) as guest:
        guest.expect(rb"30 90\r\n")
        guest.type(b"x\r")
        guest.expect(rb"x\r\n")
        fcntl.ioctl(guest.slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
        guest.expect(rb"40 120\r\n")
        assert guest.ended() == 5


@needs_busybox
def test_time_passes_as_at_the_users() -> None:
    """A time-out that waits for a key waits."""
    assert BUSYBOX is not None
    script = "echo ready; read -t 60 x; echo got $x; read -t 1 y || echo late"
    with terminal(*UCMMU, BUSYBOX, "sh", "-c", script) as guest:
        guest.expect(rb"ready")
        time.sleep(0.3)
        began = time.monotonic()
        guest.type(b"it\r")
        guest.expect(rb"got it\r\n")
        guest.expect(rb"late\r\n")
        assert time.monotonic() - began > 0.95
        assert guest.ended() == 0
