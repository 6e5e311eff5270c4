# SPDX-License-Identifier: GPL-2.0-or-later
"""What decides a cell's result, and the digest of it that names the result's file.

That is: the command line, the bytes of each file it names (program, its interpreter, a policy's
file, a geometry's, the program's arguments), the environment, directory and user of the guest, and
ucmmu itself: its version and the bytes of its code, native libraries included.  What a program
opens beyond that, a shared library or a file it finds by itself, is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from ucmmu.exit_codes import Failure
from ucmmu.options import find_program

FORMAT: Final = 1
"""Of the facts, and of the file of a result."""
_POLICY: Final = re.compile(r"(.+\.py):\w+")
_CODE: Final = ("*.py", "*.so", "*.toml", "*.tbl")
_DECIDE_NOTHING: Final = ("sweep", "reading", "testing")
"""Folders of ucmmu that no run uses."""
_PT_INTERP: Final = 3


def digest_of(value: Any) -> str:
    """The SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def code_digest() -> str:
    """The SHA-256 of ucmmu's version and of all code that may decide what a run does."""
    from importlib.metadata import PackageNotFoundError, version

    total = hashlib.sha256()
    with suppress(PackageNotFoundError):
        total.update(version("ucmmu").encode())
    base = Path(__file__).resolve().parents[2]
    for path in sorted(_code_files(base)):
        total.update(str(path.relative_to(base)).encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _code_files(base: Path) -> Iterator[Path]:
    unused = [base / "ucmmu" / folder for folder in _DECIDE_NOTHING]
    for package in ("mmu", "cpu", "ucmmu"):
        for pattern in _CODE:
            for path in (base / package).rglob(pattern):
                if not any(folder in path.parents for folder in unused):
                    yield path


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


def files_of(words: Iterable[str], program: str | None) -> dict[str, str]:
    """By name: the digests of the regular files that a command line names, and of the program with
    what loads it.  A name is a word, an option's value, or the file of FILE.py:NAME.
    """
    names = dict.fromkeys(name for word in words for name in _names_in(word))
    found = {name: file_digest(name) for name in names if _is_readable_file(name)}
    if program is not None:
        with suppress(Failure):
            path = str(find_program(program))
            found[program] = file_digest(path)
            for loader in _loaders(path):
                found[loader] = file_digest(loader)
    return found


def _names_in(word: str) -> Iterator[str]:
    value = word.partition("=")[2] if word.startswith("--") and "=" in word else word
    yield value
    match = _POLICY.fullmatch(value)
    if match is not None:
        yield match.group(1)


def _is_readable_file(name: str) -> bool:
    try:
        return os.path.isfile(name) and os.access(name, os.R_OK)
    except ValueError:
        return False


def _loaders(path: str) -> Iterator[str]:
    """The file that loads a program: its PT_INTERP, or the interpreter of a script."""
    with open(path, "rb") as file:
        head = file.read(4096)
        with suppress(struct.error, IndexError, OverflowError, UnicodeDecodeError):
            name = _script_interpreter(head) if head[:2] == b"#!" else _elf_interpreter(head)
            if name and _is_readable_file(name):
                yield name


def _script_interpreter(head: bytes) -> str:
    return head[2:].partition(b"\n")[0].split()[0].decode()


def _elf_interpreter(head: bytes) -> str | None:
    if head[:5] != b"\x7fELF\x02":
        return None
    (table,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for at in range(table, table + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", head, at)
        if kind == _PT_INTERP:
            return head[offset : offset + length].rstrip(b"\0").decode()
    return None


def facts_of(
    asked: Mapping[str, Any], *, files: Mapping[str, str], code: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """All that decides a result; ``asked`` is what the command line says, defaults included."""
    return {
        "format": FORMAT,
        "asked": dict(asked),
        "files": dict(files),
        "code": code,
        "environment": dict(environment),
        "cwd": os.getcwd(),
        "user": [os.getuid(), os.getgid(), *os.getgroups()],
    }
