# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the host's files a run shows its guests: from the options to a View.

Without ``--root``: the program's directory, the working directory, what ``--read`` and
``--writable`` name, and of the system's directories what everybody may read. With it: that
directory as ``/``, and what ``--read`` and ``--writable`` name. All else is empty, or not there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from cpu.fs.view import Given, View
from ucmmu.environment import preload_files
from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import RunOptions
from ucmmu.surroundings import MACHINES_OWN, around, is_beneath
from ucmmu.text import printable

SYSTEM = (
    *("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"),
    *("/opt", "/etc"),
)
"""Directories of the host that every guest sees, read-only, as far as everybody may read them."""
FRESH = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Directories that a guest finds empty, and may write to."""


def view_of(
    options: RunOptions,
    program: Path | None,
    upper: str | None,
    environment: Mapping[str, str],
) -> View:
    """The tree that the options ask for.

    ``program`` is where the host has the program, None if it is looked for in ``--root``. ``upper``
    is the directory for what guests write, ``environment`` what the program gets. Raises Failure
    (USAGE) for a path that is not there, or cannot be given.
    """
    links: tuple[tuple[str, str], ...] = ()
    given: dict[str, Given] = {}
    if options.root is None:
        links = tuple(_system_links())
        given = {one.path: one for one in _system(links)}
    else:
        host = _directory("--root", options.root)
        given["/"] = Given("/", host)
    asked = [_asked("--read", path, links) for path in options.read]
    asked += [_asked("--writable", path, links, writable=True) for path in options.writable]
    asked += _preloaded(options, links, [one.path for ones in asked for one in ones])
    named = _under_all_names({one.path: one for ones in asked for one in ones})
    if options.root is None:
        here = _here()
        by_default = [] if here is None else [Given(here, here)]
        if program is not None:
            by_default += around(program, environment)
        for one in by_default:
            if not is_beneath(one.path, (*given, *named, *dict(links))):
                given[one.path] = one
    given |= named
    return View(
        given=tuple(given.values()),
        links=links,
        fresh=FRESH,
        home=_home(environment.get("HOME", "")),
        upper=upper,
        limit=options.disk_limit,
        files=options.max_files,
        cwd=_working_directory(options, given),
    )


def _system_links() -> Iterable[tuple[str, str]]:
    """The system's directories that are links into another: the path, and what the link says."""
    for path in SYSTEM:
        if os.path.islink(path) and is_beneath(os.path.realpath(path), SYSTEM):
            yield path, os.readlink(path)


def _system(links: Iterable[tuple[str, str]]) -> Iterable[Given]:
    linked = dict(links)
    for path in SYSTEM:
        if path not in linked and os.path.isdir(path):
            yield Given(path, os.path.realpath(path), public_only=True)


def _here() -> str | None:
    """The working directory, unless giving it would give everything, or what is made up."""
    try:
        path = os.path.realpath(os.getcwd())
    except OSError:
        return None
    return None if path == "/" or is_beneath(path, MACHINES_OWN) else path


def _home(home: str) -> str | None:
    home = os.path.normpath(home)
    if not home.startswith("/") or home == "/" or is_beneath(home, (*MACHINES_OWN, *SYSTEM)):
        return None
    return home


def _working_directory(options: RunOptions, given: Mapping[str, Given]) -> str:
    """Where the guest's relative paths start: where ours do, if it sees that place, else at the
    root; ``--cwd`` goes on from there.
    """
    here = _here()
    seen = here is not None and options.root is None and is_beneath(here, given)
    start = here if seen and here is not None else "/"
    return _one_slash(os.path.normpath(os.path.join(start, options.cwd or ".")))


def _asked(
    option: str, path: str, links: tuple[tuple[str, str], ...], *, writable: bool = False
) -> list[Given]:
    """What an option gives, under the name that the user wrote and where it leads."""
    host = _directory(option, path, writable=True) if writable else _readable(option, path)
    name = _one_slash(os.path.abspath(path))
    if is_beneath(name, [link for link, _ in links]):
        name = host
    return [Given(place, host, writable=writable) for place in dict.fromkeys((name, host))]


def _under_all_names(named: dict[str, Given]) -> dict[str, Given]:
    """With what lies in a writable directory seen under each name that the directory has."""
    found = dict(named)
    for directory in named.values():
        for one in named.values():
            if directory.writable and one.path.startswith(directory.host + "/"):
                path = directory.path + one.path[len(directory.host) :]
                found.setdefault(path, replace(one, path=path))
    return found


def _preloaded(
    options: RunOptions, links: tuple[tuple[str, str], ...], seen: list[str]
) -> list[list[Given]]:
    """The libraries of ``--preload`` that are not ``seen`` anyhow."""
    found = [_asked("--preload", path, links) for path in preload_files(options)]
    return [[one for one in ones if not is_beneath(one.path, seen)] for ones in found]


def _readable(option: str, path: str) -> str:
    """Where the file or directory lies. Raises Failure (USAGE)."""
    try:
        mode = os.stat(path).st_mode if path else 0
    except (OSError, ValueError) as error:
        _refuse(option, path, getattr(error, "strerror", None) or str(error))
    if not path:
        _refuse(option, path, "names no file")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        _refuse(option, path, "is neither a regular file nor a directory")
    host = os.path.realpath(path)
    _check_place(option, path, host)
    if not os.access(host, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        _refuse(option, path, "Permission denied")
    return host


def _directory(option: str, path: str, *, writable: bool = False) -> str:
    """Where the directory lies. Raises Failure (USAGE)."""
    host = _readable(option, path)
    if not os.path.isdir(host):
        _refuse(option, path, "is no directory")
    if writable and host == "/":
        _refuse(option, path, "is the host's whole tree: give a directory beneath it")
    if writable and not os.access(host, os.W_OK):
        _refuse(option, path, "cannot be written to")
    return host


def _check_place(option: str, path: str, host: str) -> None:
    """Refuse what lies where the machine makes everything up."""
    if is_beneath(host, MACHINES_OWN) and not is_beneath(host, ("/dev/shm",)):
        _refuse(option, path, "the machine has a /proc, /sys and /dev of its own")


def _refuse(option: str, path: str, why: str) -> NoReturn:
    raise Failure(ExitCode.USAGE, f"argument {option}: {printable(repr(path))}: {why}")


def _one_slash(path: str) -> str:
    """An absolute path with one slash before it: POSIX leaves two as they are."""
    return "/" + path.lstrip("/")
