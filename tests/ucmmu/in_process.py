# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands of ours run in this process: what they write, without a new interpreter for each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from ucmmu.cli import main


@contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Work in a directory (contextlib.chdir is of Python 3.11)."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def ucmmu(*words: str, cwd: Path) -> str:
    """What `ucmmu WORDS` writes to stdout, with an almost empty environment; it must end with 0."""
    environment = {"PATH": os.environ["PATH"]}
    with (
        tempfile.TemporaryFile() as out,
        inside(cwd),
        mock.patch.dict(os.environ, environment, clear=True),
    ):
        ours = os.dup(1)
        os.dup2(out.fileno(), 1)
        try:
            code = main(list(words))
        finally:
            os.dup2(ours, 1)
            os.close(ours)
        assert code == 0, words
        out.seek(0)
        return out.read().decode()
