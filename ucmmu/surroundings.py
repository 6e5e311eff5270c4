# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a program lies, and what lies around it that it needs: its directory and its prefix."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cpu.fs.view import Given

MACHINES_OWN = ("/proc", "/sys", "/dev")
_OF_A_PREFIX = ("bin", "sbin", "libexec", "shims")
"""Names of directories beside which a program has its libraries."""
_MAX_LINKS = 40
_MAX_SCRIPTS = 4
_FIRST_LINE = 256


def around(program: Path, environment: Mapping[str, str]) -> list[Given]:
    """The directories of a program: as it was named, and where its links lead; then the prefixes of
    those that are called bin or the like, as far as everybody may read them. Likewise of the
    interpreter that a script names.

    A prefix is not given if it is the user's home, or holds it.
    """
    folders = dict.fromkeys(
        os.path.dirname(step)
        for file in _with_interpreters(str(program), environment)
        for step in _steps(file)
    )
    prefixes = dict.fromkeys(
        os.path.dirname(folder) for folder in folders if os.path.basename(folder) in _OF_A_PREFIX
    )
    home = os.path.realpath(environment.get("HOME") or "/")
    return [
        *(one for folder in folders for one in _given(folder)),
        *(
            one
            for prefix in prefixes
            if not is_beneath(home, [os.path.realpath(prefix)])
            for one in _given(prefix, public_only=True)
        ),
    ]


def _given(path: str, *, public_only: bool = False) -> Iterator[Given]:
    """A directory, under this name and its real one."""
    host = os.path.realpath(path)
    if host == "/" or is_beneath(host, MACHINES_OWN):
        return
    for name in dict.fromkeys((path, host)):
        yield Given(name, host, public_only=public_only)


def _steps(path: str) -> Iterator[str]:
    """The absolute path of a file, and those that its links lead to."""
    step = "/" + os.path.abspath(path).lstrip("/")
    for _ in range(_MAX_LINKS):
        yield step
        try:
            target = os.readlink(step)
        except OSError:
            return
        step = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(step)), target))


def _with_interpreters(path: str, environment: Mapping[str, str]) -> Iterator[str]:
    """A program, the interpreter that its first line names if it is a script, and so on."""
    for _ in range(_MAX_SCRIPTS):
        yield path
        try:
            with open(path, "rb") as file:
                line = file.readline(_FIRST_LINE)
        except OSError:
            return
        words = [os.fsdecode(word) for word in line[2:].split()] if line.startswith(b"#!") else []
        if not words:
            return
        found = _started_by_env(words[1:], environment) if _is_env(words[0]) else words[0]
        if found is None:
            return
        path = found


def _is_env(path: str) -> bool:
    return os.path.basename(path) == "env"


def _started_by_env(words: list[str], environment: Mapping[str, str]) -> str | None:
    """What env(1) would start."""
    for word in words:
        if not word.startswith("-") and "=" not in word:
            folders = environment.get("PATH", "").split(":")
            paths = [word] if "/" in word else [os.path.join(folder, word) for folder in folders]
            return next((path for path in paths if os.access(path, os.X_OK)), None)
    return None


def is_beneath(path: str, tops: Iterable[str]) -> bool:
    """Whether ``path`` is one of ``tops``, or lies beneath one."""
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)
