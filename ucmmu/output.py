# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON that is either written whole or not at all, and where a user's word for a file leads."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.streams import STDOUT, is_closed, say, write_all
from ucmmu.text import printable

MAX_LINKS = 40
_TRACE = b"UCMMUTRC"
"""MAGIC of mmu.trace.format, without all that this imports."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def descriptor_named(path: str) -> int | None:
    """The descriptor of ours that ``path`` is a name of (``/dev/stdout``, ``/dev/fd/3``), if it is
    of one.

    Opening such a name would open the file behind it a second time, at its beginning.
    """
    ours = {f"/proc/{os.getpid()}/fd", f"/proc/{os.getpid()}/task/{os.getpid()}/fd"}
    for _ in range(MAX_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder or ".")
        if folder in ours:
            return int(name) if name.isdigit() else None
        try:
            path = os.path.join(folder, os.readlink(path))
        except (OSError, ValueError):
            return None
    return None


def same_place(one: str, other: str) -> bool:
    """Whether two targets are one regular file, or stdout."""
    fds = [STDOUT if target == "-" else descriptor_named(target) for target in (one, other)]
    if fds[0] is not None or fds[1] is not None:
        return fds[0] == fds[1]
    with suppress(OSError, ValueError):
        return os.path.samefile(one, other) and os.path.isfile(one)
    with suppress(OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)
    return False


def refuse_one_place(targets: Iterable[tuple[str, str | None]]) -> None:
    """Raise Failure (USAGE) if two targets, each with its option, are the same file or stdout."""
    given = [(option, target) for option, target in targets if target is not None]
    for (one, its), (other, target) in combinations(given, 2):
        if same_place(target, its):
            line = f"{one} and {other} cannot both have the same file or stdout"
            raise Failure(ExitCode.USAGE, line)


def refuse_a_program(option: str, target: str | None, program: Path | None) -> None:
    """Raise Failure (NO_OUTPUT) if ``target`` is an existing program: somebody forgot the option's
    FILE.
    """
    if target is None or target == "-":
        return
    with suppress(OSError, ValueError):
        if not stat.S_ISREG(os.stat(target).st_mode):
            return
        with open(target, "rb") as file:
            elf = file.read(4) == b"\x7fELF"
        if elf or (program is not None and os.path.samefile(target, program)):
            line = f"{option} {printable(target)}: is a program: give {option} a file of its own"
            raise Failure(ExitCode.NO_OUTPUT, line)


def check_target(option: str, target: str) -> None:
    """See, before the work is done, that write_whole() will be able to write there. Raises Failure
    (NO_OUTPUT), which names the option.
    """
    try:
        fd = STDOUT if target == "-" else descriptor_named(target)
        if fd is None:
            _try(target)
        elif fd == STDOUT and is_closed(STDOUT):
            raise OSError(errno.EBADF, "stdout is closed")
        elif fd != STDOUT:
            _must_be_writable(fd)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(
            ExitCode.NO_OUTPUT, f"{option} {printable(target)}: {text or error}"
        ) from None


def write_whole(option: str, target: str, data: bytes) -> None:
    """Write a file as JsonOutput does, or stdout for ``-``. Raises Failure (NO_OUTPUT), which names
    the option.
    """
    try:
        fd = STDOUT if target == "-" else descriptor_named(target)
        if fd is None:
            _write(target, data)
        elif fd == STDOUT and is_closed(STDOUT):
            raise OSError(errno.EBADF, "stdout is closed")
        else:
            write_all(fd, data)
    except (OSError, ValueError) as error:
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(
            ExitCode.NO_OUTPUT, f"{option} {printable(target)}: {text or error}"
        ) from None


class JsonOutput:
    """The target of ``--json``: a file, ``-`` for stdout, or None for nowhere.

    A link's target is written, with its own mode, owner and names.  A regular file is replaced by
    one written beside it, so a reader never sees half of it; where that would take something from
    it (other names, its owner, its attributes, a place in a directory that cannot be changed), it
    is written in place, room for all of it taken first, and put back as it was if that fails.
    Anything else that exists (a pipe, a device, a descriptor's name) is written directly.  The
    place is tried on entry, so a long run does not end in a report that cannot be written.  A trace
    is never written over.  Raises Failure (NO_OUTPUT).
    """

    def __init__(self, target: str | None) -> None:
        self.target = target
        self._fd = None if target is None or target == "-" else descriptor_named(target)

    @property
    def to_stdout(self) -> bool:
        """Whether stdout is ours, so that the guest's must go elsewhere."""
        return self.target == "-" or self._fd == STDOUT

    def __enter__(self) -> JsonOutput:
        try:
            if self.to_stdout:
                if is_closed(STDOUT):
                    raise OSError(errno.EBADF, "stdout is closed")
            elif self._fd is not None:
                _must_be_writable(self._fd)
            elif self.target is not None:
                _try(self.target)
        except (OSError, ValueError) as error:
            raise self._failure(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        pass

    def write(self, value: Any, *, patience: float | None = None) -> None:
        """Write ``value`` as JSON, indented, and put it in its place; see ``say()`` for
        ``patience`` on stdout.
        """
        if self.target is None:
            return
        text = json.dumps(value, indent=2) + "\n"
        if self.to_stdout:
            say(STDOUT, text, patience=patience)
            return
        try:
            if self._fd is not None:
                write_all(self._fd, text.encode())
            else:
                _write(self.target, text.encode())
        except (OSError, ValueError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> Failure:
        text = error.strerror if isinstance(error, OSError) else str(error)
        return Failure(
            ExitCode.NO_OUTPUT, f"--json {printable(self.target or '')}: {text or error}"
        )


def _must_be_writable(fd: int) -> None:
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "is open for reading only")


def _status(target: str) -> os.stat_result | None:
    """What ``target`` leads to, None if there is nothing yet. Raises OSError, ValueError."""
    try:
        return os.stat(target)
    except FileNotFoundError:
        if not target or target.endswith("/"):
            raise
        return None


def _try(target: str) -> None:
    """See whether the target can be written, and leave it as it is. Raises OSError, ValueError."""
    status = _status(target)
    if status is None:
        place = os.path.realpath(target)
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(place)
    elif stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    elif stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.ENXIO, "is a socket")
    elif stat.S_ISREG(status.st_mode):
        _refuse_a_trace(target)
        os.close(os.open(target, os.O_WRONLY | os.O_CLOEXEC))
    elif not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _refuse_a_trace(target: str) -> None:
    """Raise ValueError if the regular file is a trace: very likely the one that is read."""
    with suppress(OSError), open(target, "rb") as file:
        if file.read(len(_TRACE)) == _TRACE:
            raise ValueError("is a trace: give it a file of its own")


def _write(target: str, data: bytes) -> None:
    status = _status(target)
    if status is not None and not stat.S_ISREG(status.st_mode):
        fd = os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        return
    if status is not None:
        _refuse_a_trace(target)
    place = os.path.realpath(target)
    if status is None or status.st_nlink == 1:
        with suppress(_NotBeside):
            _write_beside(place, data, status)
            return
    _write_in_place(place, data)


class _NotBeside(Exception):
    """A new file cannot take the old one's place without harm."""


def _write_beside(place: str, data: bytes, old: os.stat_result | None) -> None:
    """Write a new file in the same directory and rename it. Raises OSError if there is no room,
    else _NotBeside.
    """
    beside = os.path.join(os.path.dirname(place), f".ucmmu-{os.urandom(8).hex()}.tmp")
    try:
        fd = os.open(
            beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if old else 0o666
        )
    except OSError as error:
        raise _no_room_or_not_beside(error) from None
    try:
        try:
            write_all(fd, data)
            if old is not None:
                _take_after(fd, place, old)
        finally:
            os.close(fd)
        os.replace(beside, place)
    except OSError as error:
        raise _no_room_or_not_beside(error) from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)


def _no_room_or_not_beside(error: OSError) -> Exception:
    return error if error.errno in _FULL else _NotBeside()


def _take_after(fd: int, place: str, old: os.stat_result) -> None:
    """Give the new file the old one's owner and mode. Raises OSError, _NotBeside."""
    if _attributes(place) - _attributes(fd):
        raise _NotBeside
    new = os.fstat(fd)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, stat.S_IMODE(old.st_mode))


def _attributes(file: str | int) -> set[str]:
    with suppress(OSError):
        return set(os.listxattr(file))
    return set()


def _write_in_place(place: str, data: bytes) -> None:
    """Write over an existing file, which is as before if that cannot be done. Raises OSError."""
    old = _contents(place)
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(fd).st_size
        try:
            _take_room(fd, len(data))
            write_all(fd, data)
            os.ftruncate(fd, len(data))
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, size)
                if old is not None:
                    os.pwrite(fd, old, 0)
            raise
    finally:
        os.close(fd)


def _contents(place: str) -> bytes | None:
    try:
        with open(place, "rb") as file:
            return file.read()
    except OSError:
        return None


def _take_room(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _FULL:
            raise
