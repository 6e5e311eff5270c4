# SPDX-License-Identifier: GPL-2.0-or-later
"""The rich console that all tables are made on."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import IO, NoReturn

import rich.console

from ucmmu.streams import stream_of

WIDTH = 120
"""Columns where there is no terminal to ask."""


class Console(rich.console.Console):
    """Plain where there is no terminal, never folding a line; a closed pipe is an error, not an
    exit.
    """

    def __init__(self, file: IO[str]) -> None:
        super().__init__(
            file=file, highlight=False, soft_wrap=True, width=None if file.isatty() else WIDTH
        )

    def on_broken_pipe(self) -> NoReturn:
        """Raise what rich would turn into exit code 1."""
        raise BrokenPipeError


class _Paper(io.StringIO):
    """What a stream would show, kept: it has the stream's encoding, and is a terminal if that is
    one.
    """

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()


def rendered(
    fd: int, tables: Iterable[rich.console.RenderableType], lines: Iterable[str] = ()
) -> str:
    """The text of tables, and of plain lines below them, as stdout or stderr shows it; nothing is
    written.
    """
    paper = _Paper(stream_of(fd))
    console = Console(paper)
    for table in tables:
        console.print(table)
    return paper.getvalue() + "".join(line + "\n" for line in lines)
