# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a reader's text goes: stdout, a pager on it, or a file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final, Protocol

from ucmmu.exit_codes import SIGNALLED, ExitCode, Failure
from ucmmu.streams import STDOUT, is_closed
from ucmmu.text import printable

_PIECE: Final = 1 << 16
"""Bytes that are gathered before they are written to what is no terminal."""
DEFAULT_PAGER: Final = "less"


NO_READER: Final = SIGNALLED + signal.SIGPIPE
"""The exit code of a command that was Closed, as a shell shows it of other programs."""


class Closed(Exception):
    """Nobody reads any more: ``| head`` has what it wanted, or the pager was left."""


class Sink(Protocol):
    """A binary file that takes all it is given."""

    def write(self, data: bytes, /) -> object:
        """Write all of it. Raises OSError."""
        ...

    def flush(self) -> object:
        """Keep nothing back. Raises OSError."""
        ...


class Outlet:
    """A binary file that is written to, with one Failure (NO_OUTPUT) for what goes wrong; Closed if
    it is a pipe that nobody reads.
    """

    def __init__(self, file: Sink, name: str, *, at_once: bool = False) -> None:
        self.name = name
        self._file = file
        self._limit = 0 if at_once else _PIECE
        self._kept: list[bytes] = []
        self._size = 0
        self._written = 0

    @property
    def closed(self) -> bool:
        """Never: whoever opened it closes it."""
        return False

    def tell(self) -> int:
        """Bytes that were written."""
        return self._written

    def write(self, data: bytes) -> int:
        """Write the bytes, or keep them until there are more."""
        data = bytes(data)
        self._written += len(data)
        self._kept.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self.flush()
        return len(data)

    def text(self, text: str) -> None:
        """Write text."""
        self.write(text.encode("utf-8", "backslashreplace"))

    def lines(self, lines: Sequence[str]) -> None:
        """Write lines, each with its end."""
        self.text("".join(line + "\n" for line in lines))

    def flush(self) -> None:
        """Write what was kept."""
        data = b"".join(self._kept)
        self._kept.clear()
        self._size = 0
        try:
            self._file.write(data)
            self._file.flush()
        except BrokenPipeError:
            raise Closed from None
        except (OSError, ValueError) as error:
            raise failure(self.name, error) from None


def failure(name: str, error: Exception) -> Failure:
    """The one line for an output that cannot be written."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return Failure(ExitCode.NO_OUTPUT, f"{name}: {reason or error}")


@contextmanager
def outlet(target: str | None, *, source: str = "-", pager: bool = False) -> Iterator[Outlet]:
    """The output ``target``: a file that is written from its beginning, or stdout for None and
    ``-``, through a pager if that is a terminal and ``pager`` is set.

    ``source`` is the file that is read, which is not to be written over. Raises Failure
    (NO_OUTPUT); what was written until then stays.
    """
    if target is not None and target != "-":
        with _opened(target, source) as file:
            out = Outlet(file, f"-o {printable(target)}")
            yield out
            out.flush()
        return
    if is_closed(STDOUT):
        raise Failure(ExitCode.NO_OUTPUT, "stdout is closed")
    words = _pager_words() if pager and os.isatty(STDOUT) else None
    if words is not None:
        with _paged(words) as out:
            yield out
            out.flush()
        return
    with os.fdopen(os.dup(STDOUT), "wb", buffering=0) as file:
        out = Outlet(_Whole(file), "stdout", at_once=file.isatty())
        yield out
        out.flush()


def print_out(*texts: str) -> int:
    """Write texts to stdout; returns the exit code, NO_READER if it is a pipe that nobody reads.
    Raises Failure (NO_OUTPUT).
    """
    try:
        with outlet(None) as out:
            for text in texts:
                out.text(text)
    except Closed:
        return NO_READER
    return 0


class _Whole:
    """An unbuffered file whose write() writes all."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def flush(self) -> None:
        """Nothing is kept back."""

    def write(self, data: bytes) -> int:
        from ucmmu.streams import write_all

        write_all(self._file.fileno(), data)
        return len(data)


@contextmanager
def _opened(target: str, source: str) -> Iterator[Sink]:
    try:
        if source != "-" and os.path.exists(target) and os.path.samefile(target, source):
            raise ValueError("is the trace itself: give -o a file of its own")
        file = open(target, "wb", buffering=0)  # noqa: SIM115
    except (OSError, ValueError) as error:
        raise failure(f"-o {printable(target)}", error) from None
    with file:
        yield _Whole(file)


def _pager_words() -> list[str] | None:
    """The command that pages, None for none: $PAGER, or less; ``cat`` and an empty one are none."""
    command = os.environ.get("PAGER", DEFAULT_PAGER).strip()
    if command in ("", "cat") or os.environ.get("TERM") == "dumb":
        return None
    if command == DEFAULT_PAGER and shutil.which(command) is None:
        return None
    return ["/bin/sh", "-c", command]


@contextmanager
def _paged(words: Sequence[str]) -> Iterator[Outlet]:
    """An outlet into a pager, which is waited for; ^C is its business while it runs."""
    environment = {"LESS": "FRX", **os.environ}
    try:
        pager = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
    except OSError as error:
        raise failure("the pager", error) from None
    assert pager.stdin is not None
    try:
        yield Outlet(pager.stdin, "the pager", at_once=True)
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with suppress(OSError):
                pager.stdin.close()
            pager.wait()
        finally:
            signal.signal(signal.SIGINT, before)
            sys.stdout.flush()
