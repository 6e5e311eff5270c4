# SPDX-License-Identifier: GPL-2.0-or-later
"""The upper layer of a run: a private directory of the host's that gets what guests write.

The parent makes it and takes it away, whatever becomes of the child. If the parent is killed too,
the next run does: a directory belongs to somebody as long as somebody holds the lock on it, which
ends with the last process that has it open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.text import printable

PREFIX = "ucmmu-upper-"
_LAYER = "layer"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TAKEN = 60.0
"""Seconds after which a directory that nobody has locked is nobody's: its maker locks it at
once.
"""


class Upper:
    """An upper layer: ``path`` is an empty directory in a private one (0700)."""

    def __init__(self, private: str) -> None:
        self._private = private
        self._lock = os.open(private, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = os.path.join(private, _LAYER)
        os.mkdir(self.path, 0o755)

    def keep(self, target: str) -> None:
        """Have the layer be the directory ``target``. Raises Failure (NO_OUTPUT)."""
        try:
            os.rename(self.path, target)
        except OSError as error:
            line = f"--keep {printable(target)}: {error.strerror}"
            raise Failure(ExitCode.NO_OUTPUT, line) from None

    def remove(self) -> None:
        """Take it away, with all that guests wrote."""
        remove_tree(self._private)
        os.close(self._lock)


@contextmanager
def upper_layer(keep: str | None) -> Iterator[Upper]:
    """An upper layer for one run; it is gone afterwards, unless it was kept.

    With ``keep``, the directory that it will be, it is made beside that. Raises Failure: USAGE if
    ``keep`` exists and is not empty, NO_OUTPUT if there is no place for the layer.
    """
    if keep is not None:
        _check_keep(keep)
    base = _place() if keep is None else _place_for(keep)
    _sweep(base)
    try:
        private = os.path.join(base, PREFIX + os.urandom(8).hex())
        os.mkdir(private, 0o700)
        upper = Upper(private)
    except OSError as error:
        what = "--keep" if keep is not None else "no place for what the guest writes:"
        line = f"{what} {printable(base)}: {error.strerror}"
        raise Failure(ExitCode.NO_OUTPUT, line) from None
    try:
        yield upper
    finally:
        upper.remove()


def _check_keep(keep: str) -> None:
    """Raises Failure (USAGE)."""
    why = None
    try:
        if not keep:
            why = "names no directory"
        elif os.path.lexists(keep) and (os.path.islink(keep) or os.listdir(keep)):
            why = "exists, and is no empty directory"
        elif not os.path.isdir(os.path.dirname(os.path.abspath(keep))):
            why = os.strerror(errno.ENOENT)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
    if why is not None:
        raise Failure(ExitCode.USAGE, f"argument --keep: {printable(repr(keep))}: {why}")


def _place() -> str:
    """The directory for temporary files with the most room: $TMPDIR if that is set."""
    asked = os.environ.get("TMPDIR")
    if asked and os.path.isdir(asked) and os.access(asked, os.W_OK | os.X_OK):
        return os.path.abspath(asked)
    places = [place for place in ("/var/tmp", "/tmp") if os.access(place, os.W_OK | os.X_OK)]
    return max(places, key=_room, default="/tmp")


def _place_for(keep: str) -> str:
    """A directory from where a layer can be moved to ``keep``: not one that a guest sees, if that
    can be.
    """
    beside, usual = os.path.dirname(os.path.abspath(keep)), _place()
    return usual if os.stat(usual).st_dev == os.stat(beside).st_dev else beside


def _room(place: str) -> int:
    """Bytes that an ordinary user may still write there."""
    try:
        info = os.statvfs(place)
    except OSError:
        return 0
    return info.f_bavail * info.f_frsize


def _sweep(base: str) -> None:
    """Take away the layers of ours that runs left which were killed."""
    with suppress(OSError):
        for entry in os.scandir(base):
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    fd = os.open(path, _DIRECTORY)
    try:
        info = os.fstat(fd)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) != 0o700:
            return
        if time.time() - info.st_mtime < _TAKEN:
            return
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(path)
    finally:
        os.close(fd)


def remove_tree(top: str) -> None:
    """Remove a directory and all beneath it, however deep, whatever modes a guest gave; links are
    not followed. What cannot be removed stays. Nobody else may be at work in it.
    """
    with suppress(OSError):
        fd = os.open(top, _DIRECTORY)
        try:
            fd = _empty(fd)
        finally:
            os.close(fd)
        os.rmdir(top)


def _empty(fd: int) -> int:
    """Remove what is in a directory, one descriptor at a time; returns the one that is open then,
    of the same directory.
    """
    path: list[str] = []
    left = [_remove_files(fd)]
    while left:
        if left[-1]:
            name = left[-1].pop()
            with suppress(OSError):
                inner = os.open(name, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
                path.append(name)
                left.append(_remove_files(fd))
            continue
        left.pop()
        if path:
            above = os.open("..", _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = above
            with suppress(OSError):
                os.rmdir(path.pop(), dir_fd=fd)
    return fd


def _remove_files(fd: int) -> list[str]:
    """Remove all but the directories of one; their names."""
    folders = []
    with suppress(OSError):
        os.fchmod(fd, 0o700)
        with os.scandir(fd) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.name, 0o700, dir_fd=fd)
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return folders
