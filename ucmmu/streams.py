# SPDX-License-Identifier: GPL-2.0-or-later
"""How anything reaches stdout and stderr: whole and at once, or with one Failure that says why not.

Texts are written to the descriptors themselves.  So nothing waits in a buffer for the interpreter's
end, where a full disk could no longer be told.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import IO

from ucmmu.exit_codes import ExitCode, Failure

STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}
_PIECE = 512
"""Bytes that a pipe or terminal with room takes without waiting (POSIX's least PIPE_BUF)."""


class Unread(Failure):
    """Nobody took a text in the time that was given."""


def open_missing_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed, lest a file or pipe of ours takes its
    number.
    """
    with suppress(OSError):
        fd = os.open(os.devnull, os.O_RDWR)
        while fd <= STDERR:
            os.set_inheritable(fd, True)
            fd = os.open(os.devnull, os.O_RDWR)
        os.close(fd)


def is_closed(fd: int) -> bool:
    """Whether stdout or stderr was closed when the interpreter started."""
    return (sys.stdout if fd == STDOUT else sys.stderr) is None


def say(fd: int, text: str, *, patience: float | None = None) -> None:
    """Write ``text`` to stdout or stderr. Raises Failure (NO_OUTPUT), Unread if it is not taken in
    so many seconds.
    """
    stream = sys.stdout if fd == STDOUT else sys.stderr
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        write_all(fd, text.encode(encoding, "backslashreplace"), patience=patience)
    except TimeoutError:
        raise Unread(ExitCode.NO_OUTPUT, f"{_NAMES[fd]}: nobody reads it") from None
    except BrokenPipeError:
        line = f"{_NAMES[fd]} was closed before the report was written"
        raise Failure(ExitCode.NO_OUTPUT, line) from None
    except OSError as error:
        raise Failure(ExitCode.NO_OUTPUT, f"{_NAMES[fd]}: {error.strerror}") from None


def write_all(fd: int, data: bytes, *, patience: float | None = None) -> None:
    """Write all of ``data``. Raises OSError; TimeoutError if it is not taken in ``patience``
    seconds.
    """
    deadline = None if patience is None else time.monotonic() + patience
    rest = memoryview(data)
    while rest:
        if deadline is not None and not _has_room(fd, max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        try:
            rest = rest[os.write(fd, rest if deadline is None else rest[:_PIECE]) :]
        except BlockingIOError:
            _has_room(fd, 0.1)


def _has_room(fd: int, seconds: float) -> bool:
    room = select.poll()
    room.register(fd, select.POLLOUT)
    return bool(room.poll(seconds * 1000))


def glance(fd: int, text: str) -> None:
    """Write a little text if that can be done without waiting; it does not matter if not."""
    with suppress(OSError):
        if _has_room(fd, 0.0):
            os.write(fd, text.encode("utf-8", "backslashreplace")[:_PIECE])


def columns(fd: int) -> int:
    """How wide the terminal is that stdout or stderr is; 80 if it is none."""
    with suppress(OSError):
        return max(20, os.get_terminal_size(fd).columns or 80)
    return 80


def stream_of(fd: int) -> IO[str]:
    """The interpreter's own file for stdout or stderr: to ask for its encoding, and whether it is a
    terminal.
    """
    stream = sys.stdout if fd == STDOUT else sys.stderr
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    return stream


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """``with``, or a decorator: what code of the user's prints meanwhile goes to stderr; stdout is
    for results.
    """
    with redirect_stdout(sys.stderr):
        yield
