# SPDX-License-Identifier: GPL-2.0-or-later
"""The environment that a guest's program gets: a documented part of the user's, and what is asked
for (docs/programs.md).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from glob import glob
from typing import Final, NoReturn

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.options import RunOptions
from ucmmu.text import printable

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH where the user has none, and in a ``--root``."""
PASSED: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLUMNS", "LINES"),
    *("LANG", "LANGUAGE", "LC_*", "TZ"),
    *("LD_PRELOAD", "GLIBC_TUNABLES"),
    *("MALLOC_*", "MIMALLOC_*", "TCMALLOC_*"),
)
"""Variables of the user's that a guest gets unless ``--clear-env`` is given: names and patterns."""
PRELOAD: Final = "LD_PRELOAD"
LIBRARY_DIRECTORIES: Final = (
    "/usr/local/lib",
    "/usr/local/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
)
"""Where ``--preload`` looks for a name without a slash."""
_ELF_START: Final = b"\x7fELF\x02\x01"
_ET_DYN, _EM_X86_64 = b"\x03\x00", b"\x3e\x00"


def environment_of(options: RunOptions) -> dict[str, str]:
    """The variables that the first program gets, in their order. Raises Failure (USAGE)."""
    user = os.environ
    environment = {} if options.clear_env else passed(user)
    if not options.clear_env and (options.root is not None or "PATH" not in environment):
        environment["PATH"] = DEFAULT_PATH
    for asked in options.env:
        name, given, value = asked.partition("=")
        if not name:
            _refuse("--env", asked, "has no name: NAME=VALUE, or NAME of a variable of yours")
        if not given:
            if name not in user:
                _refuse("--env", asked, "is not set here: give NAME=VALUE")
            value = user[name]
        environment[name] = value
    if options.preload:
        before = [_library(name, options.root) for name in options.preload]
        after = [environment[PRELOAD]] if environment.get(PRELOAD) else []
        environment[PRELOAD] = ":".join([*before, *after])
    return environment


def passed(user: Mapping[str, str]) -> dict[str, str]:
    """Those of the user's variables that a guest gets without being asked for: :data:`PASSED`."""
    return {name: value for name, value in user.items() if is_passed(name)}


@cache
def is_passed(name: str) -> bool:
    """Whether a variable is one of :data:`PASSED`."""
    return any(fnmatchcase(name, pattern) for pattern in PASSED)


def preload_files(options: RunOptions) -> tuple[str, ...]:
    """The host's files that ``--preload`` names, which the guest is to see. Raises Failure."""
    if options.root is not None:
        return ()
    return tuple(_library(name, None) for name in options.preload)


def _library(name: str, root: str | None) -> str:
    """The path, as the guest sees it, of the library that ``--preload`` names: a path, the name of
    a file in the usual directories, or a name as gcc's -l takes it.
    """
    under = (root or "").rstrip("/")
    if "/" in name:
        path = name if root is not None else os.path.abspath(name)
        _check_library(name, under + path)
        return path
    patterns = (name, f"lib{name}.so", f"lib{name}.so.*") if name else ()
    places = (f"{under}{place}/{one}" for one in patterns for place in LIBRARY_DIRECTORIES)
    found = [path for place in places for path in sorted(glob(place), reverse=True)]
    if not found:
        where = ", ".join(LIBRARY_DIRECTORIES)
        _refuse("--preload", name, f"no such library in {where}: give its path")
    best = next((path for path in found if _is_library(path)), found[0])
    _check_library(name, best)
    return best.removeprefix(under)


def _check_library(name: str, path: str) -> None:
    try:
        good = _is_library(path)
    except (OSError, ValueError) as error:
        _refuse("--preload", name, getattr(error, "strerror", None) or str(error))
    if not good:
        _refuse("--preload", name, "is no shared library for x86-64")


def _is_library(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(20)
    return head[:6] == _ELF_START and head[16:18] == _ET_DYN and head[18:20] == _EM_X86_64


def _refuse(option: str, what: str, why: str) -> NoReturn:
    raise Failure(ExitCode.USAGE, f"argument {option}: {printable(repr(what))}: {why}")
