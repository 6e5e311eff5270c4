# SPDX-License-Identifier: GPL-2.0-or-later
"""The rich console that all tables are made on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, NoReturn

import rich.console

from ucmmu.streams import stream_of

WIDTH = 120
"""Columns where there is no terminal to ask."""


class Console(rich.console.Console):
    """Plain where there is no terminal, never folding a line; a closed pipe is an error, not an exit."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file=file, highlight=False, soft_wrap=True, width=None if file.isatty() else WIDTH)

    def on_broken_pipe(self) -> NoReturn:
        """Raise what rich would turn into exit code 1."""
        raise BrokenPipeError


def rendered(fd: int, table: rich.console.RenderableType, lines: Iterable[str] = ()) -> str:
    """The text of a table, and of plain lines below it, as stdout or stderr shows it; nothing is written."""
    console = Console(stream_of(fd))
    with console.capture() as captured:
        console.print(table)
    return captured.get() + "".join(line + "\n" for line in lines)
