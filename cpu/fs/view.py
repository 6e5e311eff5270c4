# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the host's files the guests of a machine see, and where their writes go."""

from __future__ import annotations

from dataclasses import dataclass


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
    files: int = 1 << 20
    cwd: str = "/"
