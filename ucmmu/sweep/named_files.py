# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that a command line names, which decide what a cell does.

Options name files of this host: a geometry's, a policy's with the modules beside it.  What the
program is given (its arguments, variables, libraries to preload) names files as the guest sees
them: below ``--root``, and from ``--cwd`` on.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from cpu.elf import parse
from cpu.exec import BINPRM_BUF_SIZE, script_words
from mmu.errors import MmuError
from ucmmu.environment import PRELOAD
from ucmmu.options import RunOptions
from ucmmu.output import MAX_LINKS
from ucmmu.surroundings import is_beneath

_CLASS: Final = re.compile(r"(.+\.py):\w+")
_OURS: Final = ("cpu", "mmu", "ucmmu")
"""Packages whose files are in code_digest() anyhow."""
_MAX_LOADERS: Final = 5
"""A script's interpreter may be a script, as often as Linux lets it."""


def files_of(
    words: Sequence[str],
    options: RunOptions | None,
    program: Path | None,
    environment: Mapping[str, str],
) -> dict[str, str]:
    """By name: the digest of each regular file that a command line names. ``options`` are those of
    a run, which gives ``program``, as program_file() has it, this ``environment``.
    """
    guest_words = 0 if options is None else 1 + len(options.args)
    names = _names_in_all(words[: len(words) - guest_words])
    places = {name: name for name in names}
    places |= {path: path for name in names for path in _modules_beside(name)}
    if options is not None:
        tree = _GuestTree(options)
        given = [*options.args, *options.env, *re.split("[: ]", environment.get(PRELOAD, ""))]
        places |= dict(map(tree.place, _names_in_all(given)))
        places |= _program_places(tree, options, program)
    return {name: file_digest(path) for name, path in places.items() if _is_readable_file(path)}


def file_digest(path: str) -> str:
    """The SHA-256 of a file, read once as long as it does not change. Raises OSError."""
    status = os.stat(path)
    return _file_digest(path, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _file_digest(path: str, _inode: int, _size: int, _mtime: int) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def _names_in_all(words: Iterable[str]) -> dict[str, None]:
    """What may name a file: a word, what stands behind each ``=`` in it, the file of
    FILE.py:NAME.
    """
    return dict.fromkeys(name for word in words for name in _names_in(word))


def _names_in(word: str) -> Iterator[str]:
    value, equals = word, "="
    while equals:
        yield value
        match = _CLASS.fullmatch(value)
        if match is not None:
            yield match.group(1)
        _, equals, value = value.partition("=")


def _is_readable_file(name: str) -> bool:
    try:
        return os.path.isfile(name) and os.access(name, os.R_OK)
    except ValueError:
        return False


class _GuestTree:
    """Where this host has what a guest sees."""

    def __init__(self, options: RunOptions) -> None:
        self._root = options.root
        self._cwd = options.cwd
        self._read = [
            form(path) for path in options.read for form in (os.path.abspath, os.path.realpath)
        ]

    def place(self, name: str) -> tuple[str, str]:
        """The path that the guest's ``name`` has here, and where its links lead in ``--root``."""
        if self._root is None:
            path = name if self._cwd is None else os.path.join(self._cwd, name)
            return path, path
        path = "/" + os.path.join(self._cwd or "", name).lstrip("/")
        plain = os.path.normpath(path)
        if is_beneath(plain, self._read):
            return plain, plain
        return self._root.rstrip("/") + plain, _below(self._root, path)


def _below(root: str, path: str) -> str:
    """Where a path leads whose links, too, begin at ``root`` and do not leave it."""
    left, at, links = path.split("/")[::-1], [root], 0
    while left:
        part = left.pop()
        if part == "..":
            at = at[: max(1, len(at) - 1)]
        elif part not in ("", "."):
            target = _link(os.path.join(*at, part)) if links < MAX_LINKS else None
            if target is None:
                at.append(part)
                continue
            links += 1
            at = at[:1] if target.startswith("/") else at
            left.extend(reversed(target.split("/")))
    return os.path.join(*at)


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None


def _program_places(tree: _GuestTree, options: RunOptions, program: Path | None) -> dict[str, str]:
    """The program, by the word that names it unless it is in ``--root``, and what loads it."""
    if options.root is not None:
        name, path = tree.place(options.program)
    elif program is not None:
        name, path = options.program, str(program)
    else:
        return {}
    return {name: path, **_loaders(tree, path)}


def _loaders(tree: _GuestTree, path: str) -> dict[str, str]:
    """The files that load a program: its PT_INTERP, or a script's interpreter and what loads
    that.
    """
    found: dict[str, str] = {}
    for _ in range(_MAX_LOADERS):
        loader = _loader_in(path) if _is_readable_file(path) else None
        if loader is None:
            break
        name, path = tree.place(loader)
        found[name] = path
    return found


def _loader_in(path: str) -> str | None:
    status = os.stat(path)
    return _interpreter(path, status.st_ino, status.st_size, status.st_mtime_ns)


@cache
def _interpreter(path: str, _inode: int, _size: int, _mtime: int) -> str | None:
    """What a program says loads it; None: nothing, or it is no program."""
    data = Path(path).read_bytes()
    with suppress(MmuError):
        if data.startswith(b"#!"):
            return os.fsdecode(script_words(data[:BINPRM_BUF_SIZE])[0])
        return parse(data, path).interpreter
    return None


def _modules_beside(name: str) -> list[str]:
    """The files beside a policy's that it imports, and that those import: modules, and all of a
    package. What they say is read, not executed, so that it is the same whatever is loaded.
    """
    if not name.endswith(".py") or not _is_readable_file(name):
        return []
    first = Path(os.path.realpath(name))
    found: dict[Path, None] = {}
    left = [first]
    while left:
        for path in _imported(left.pop(), first.parent):
            if path not in found and path != first:
                found[path] = None
                left.append(path)
    return sorted(map(str, found))


def _imported(path: Path, beside: Path) -> Iterator[Path]:
    status = path.stat()
    for name in _imports(str(path), status.st_ino, status.st_size, status.st_mtime_ns):
        if name not in _OURS:
            yield from beside.glob(f"{name}.py")
            yield from beside.glob(f"{name}.*.so")
            yield from (beside / name).rglob("*.py")


@cache
def _imports(path: str, _inode: int, _size: int, _mtime: int) -> tuple[str, ...]:
    """The first names of the modules that a Python file may import; none of a file that is none."""
    if not path.endswith(".py"):
        return ()
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    full: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            full.append(node.module)
    return tuple(dict.fromkeys(name.partition(".")[0] for name in full))
