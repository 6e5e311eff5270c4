# SPDX-License-Identifier: GPL-2.0-or-later
"""What decides a cell's result, and the digest of it that names the result's file.

That is: the command line, the bytes of each file it names (:mod:`ucmmu.sweep.named_files`), the
environment, directory and user of the guest, and ucmmu itself: its version and the bytes of its
code, native libraries included.  What a program opens beyond that, a shared library or a file it
finds by itself, is not in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

FORMAT: Final = 1
"""Of the facts, and of the file of a result."""
_CODE: Final = ("*.py", "*.so", "*.toml", "*.tbl")
_DECIDE_NOTHING: Final = ("sweep", "reading", "testing")
"""Folders of ucmmu that no run uses."""


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
