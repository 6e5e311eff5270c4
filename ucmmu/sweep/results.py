# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory of results: one file for each key, whole or not there, and who is at work on which.

A file holds a digest of itself: one that was damaged is as good as none.  A cell that is being run
is claimed by a lock on a file beside its result, which ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.output import write_whole
from ucmmu.sweep.key import FORMAT, digest_of
from ucmmu.text import printable

Record = dict[str, Any]
"""A result's file: key, facts, words, limits, report, error, exit_code, seconds, host."""

Version = tuple[int, int, int]
"""Inode, time of writing and size of a result's file: another file has another."""

_FIELDS: Final = frozenset(
    {"key", "facts", "words", "limits", "report", "error", "exit_code", "seconds", "host"}
)
_LEFT: Final = re.compile(r"\.ucmmu-[0-9a-f]{16}\.tmp|[0-9a-f]{64}\.claim")
_OLD: Final = 3600.0
"""Seconds after which half a file, or a claim that nobody holds, is nobody's."""


class Claim:
    """The right to run one cell, until release()."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path, self._fd = path, fd

    def release(self) -> None:
        """Let others run it, who look first whether it is done."""
        with suppress(OSError):
            self._path.unlink()
        os.close(self._fd)


class Results:
    """The results in ``directory``, which open() makes if it is not there."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        self.damaged: list[str] = []
        """Files that were there and held no result."""

    def open(self) -> None:
        """See that it can be written. Raises Failure (NO_OUTPUT)."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            probe = self.directory / f".ucmmu-{os.urandom(8).hex()}.tmp"
            probe.touch()
            probe.unlink()
            self._clean()
        except (OSError, ValueError) as error:
            raise self._failure(error) from None

    def _clean(self) -> None:
        """Take away what processes left that were killed."""
        old = time.time() - _OLD
        for entry in os.scandir(self.directory):
            with suppress(OSError):
                if _LEFT.fullmatch(entry.name) and entry.stat().st_mtime < old:
                    if entry.name.endswith(".claim"):
                        claim = self.claim(entry.name.removesuffix(".claim"))
                        if claim is not None:
                            claim.release()
                    else:
                        os.unlink(entry.path)

    def load(self, key: str) -> Record | None:
        """The result of ``key``; None if it is not there or damaged. Raises Failure (NO_OUTPUT)
        if the directory cannot be read.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure(error) from None
        record = _record_in(data, key)
        if record is None and path.name not in self.damaged:
            self.damaged.append(path.name)
        return record

    def version(self, key: str) -> Version | None:
        """Which file the result of ``key`` is; None if there is none."""
        try:
            status = self._path(key).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def save(self, record: Record) -> None:
        """Write a result; whoever reads sees the old one or all of it. Raises Failure
        (NO_OUTPUT).
        """
        whole = {"format": FORMAT, **record}
        text = json.dumps({**whole, "sha256": digest_of(whole)}, indent=1) + "\n"
        write_whole("--results", str(self._path(record["key"])), text.encode())

    def claim(self, key: str) -> Claim | None:
        """The right to run the cell ``key``; None if another process has it. Raises Failure
        (NO_OUTPUT).
        """
        path = self.directory / f"{key}.claim"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._failure(error) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return Claim(path, fd)

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.json"

    def _failure(self, error: Exception) -> Failure:
        why = error.strerror if isinstance(error, OSError) else str(error)
        line = f"--results {printable(str(self.directory))}: {why}"
        return Failure(ExitCode.NO_OUTPUT, line)


def _record_in(data: bytes, key: str) -> Record | None:
    """The result that a file holds, if it holds the one of ``key``, unchanged."""
    try:
        record = json.loads(data)
        given = record.pop("sha256")
        if digest_of(record) != given or record.pop("format") != FORMAT:
            return None
        return record if record.keys() == _FIELDS and record["key"] == key else None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
