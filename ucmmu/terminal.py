# SPDX-License-Identifier: GPL-2.0-or-later
"""The rich console that all tables are printed on."""

from __future__ import annotations

from typing import IO, NoReturn

import rich.console

WIDTH = 120
"""Columns where there is no terminal to ask."""


class Console(rich.console.Console):
    """Plain where there is no terminal, never folding a line; a closed pipe is an error, not an exit."""

    def __init__(self, file: IO[str]) -> None:
        super().__init__(file=file, highlight=False, soft_wrap=True, width=None if file.isatty() else WIDTH)

    def on_broken_pipe(self) -> NoReturn:
        """Raise what rich would turn into exit code 1."""
        raise BrokenPipeError
