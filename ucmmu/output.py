# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON that is either written whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ucmmu.exit_codes import ExitCode, Failure


class JsonOutput:
    """The target of ``--json``: a file, ``-`` for stdout, or None for nowhere.

    A regular file is written beside its place and renamed, so a reader never sees half of it; the
    place is tried on entry, so a long run does not end in a report that cannot be written.  Anything
    else that exists (a pipe, ``/dev/null``) is written directly.  Raises Failure (NO_OUTPUT).
    """

    def __init__(self, target: str | None) -> None:
        self.target = target
        self._temporary: str | None = None

    @property
    def to_stdout(self) -> bool:
        """Whether stdout is ours, so that the guest's must go elsewhere."""
        return self.target == "-"

    def __enter__(self) -> JsonOutput:
        if self.target is None or self.to_stdout:
            return self
        path = Path(self.target)
        try:
            if path.is_dir():
                raise IsADirectoryError(0, "is a directory")
            if path.exists() and not path.is_file():
                return self
            handle, self._temporary = tempfile.mkstemp(".tmp", f".{path.name}.", path.parent)
            os.close(handle)
        except (OSError, ValueError) as error:
            raise self._failure(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary)

    def write(self, value: Any) -> None:
        """Write ``value`` as JSON, indented, and put it in its place."""
        if self.target is None:
            return
        text = json.dumps(value, indent=2) + "\n"
        try:
            if self.to_stdout:
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                self._write_file(self.target, text)
        except (OSError, ValueError) as error:
            raise self._failure(error) from None

    def _write_file(self, target: str, text: str) -> None:
        path = self._temporary or target
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
            if self._temporary is not None:
                os.fchmod(out.fileno(), 0o666 & ~_umask())
        if self._temporary is not None:
            os.replace(self._temporary, target)
            self._temporary = None

    def _failure(self, error: Exception) -> Failure:
        text = error.strerror if isinstance(error, OSError) else str(error)
        return Failure(ExitCode.NO_OUTPUT, f"--json {self.target}: {text or error}")


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
