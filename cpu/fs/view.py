# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the host's files the guests of a machine see, and where their writes go."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from mmu.errors import MmuError


class ViewError(MmuError):
    """A host path that cannot be given to a guest: which, and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path!r}: {why}")


@dataclass(frozen=True)
class Given:
    """A file or directory of the host's that a guest sees, with all that lies beneath it.

    ``path`` is where the guest sees it: absolute, without ``.`` and ``..``. ``host`` is where it
    lies: absolute, no link, and none on the way. ``writable``: what the guest writes beneath it
    goes there, not to the upper layer. ``public_only``: files in it that not everybody may read (no
    S_IROTH) do not exist.
    """

    path: str
    host: str
    writable: bool = False
    public_only: bool = False


@dataclass(frozen=True)
class View:
    """The guests' tree before any guest wrote to it.

    ``given`` may lie in one another: the innermost counts. ``links`` are symbolic links that lie
    in directories nothing of which is given: the path, and what the link says. ``fresh`` are
    directories that are made, empty and as /tmp is (01777), where the tree has none; those above
    them too (0755). ``home`` is made likewise, as the guest's own (0755).

    ``upper`` is an empty directory of the host's that gets what guests write outside of writable
    ones; None: they cannot (EROFS). ``limit`` are the bytes that ``upper`` may hold, and ``files``
    the files and directories in it, beyond which is ENOSPC. ``cwd`` is the working directory of the
    first process.
    """

    given: tuple[Given, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ()
    home: str | None = None
    upper: str | None = None
    limit: int = 1 << 30
    files: int = 1 << 18
    cwd: str = "/"


def seen(path: str, *, writable: bool = False) -> tuple[Given, ...]:
    """The host's file or directory at ``path``, seen under its name and where that leads.

    Raises ViewError.
    """
    if not path:
        raise ViewError(path, "names no file")
    try:
        info = os.stat(path)
        if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
            raise ViewError(path, "is neither a regular file nor a directory")
        rights = os.R_OK | (os.X_OK if stat.S_ISDIR(info.st_mode) else 0)
        if not os.access(path, rights | (os.W_OK if writable else 0)):
            raise ViewError(path, "Permission denied")
        real = os.path.realpath(path, strict=True)
    except (OSError, ValueError) as error:
        raise ViewError(path, getattr(error, "strerror", None) or str(error)) from None
    names = dict.fromkeys(_one_slash(name) for name in (os.path.abspath(path), real))
    return tuple(Given(name, real, writable) for name in names)


def _one_slash(path: str) -> str:
    """A normal path without the second leading slash that POSIX leaves there."""
    return path[1:] if path.startswith("//") else path
