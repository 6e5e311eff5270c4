# SPDX-License-Identifier: GPL-2.0-or-later
"""One line on the terminal while a long run goes on; nothing where there is no terminal."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any

from ucmmu.streams import STDERR, columns, glance
from ucmmu.text import printable, shortened

PATIENCE = 0.5
"""Seconds a run may take before it is worth a line."""
_CLEAR = "\r\x1b[2K"
_MAX_TITLE = 40


class Progress:
    """Shows a child's progress messages on stderr, if that is a terminal and ``wanted``.

    Each message has ``instructions`` (None if not counted), ``VmRSS`` and ``VmPTE`` (kB).  A
    terminal that takes nothing (^S, hung up) is not waited for.
    """

    def __init__(self, title: str, *, wanted: bool = True) -> None:
        self._title = shortened(printable(title), _MAX_TITLE)
        self._wanted = wanted and os.isatty(STDERR) and os.environ.get("TERM") != "dumb"
        self._started = time.monotonic()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._wanted = False
        self.clear()

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to show progress to."""
        return self._wanted

    def __call__(self, message: dict[str, Any] | None) -> None:
        """Take one progress message; None ends the showing."""
        if message is None:
            self._end()
            return
        self.show(describe(message))

    def show(self, figures: str) -> None:
        """Show how far it is, in words."""
        seconds = time.monotonic() - self._started
        if not self._wanted or seconds < PATIENCE:
            return
        text = f"{self._title}: {figures}, {seconds:.0f} s"
        self._shown = True
        glance(STDERR, _CLEAR + shortened(text, columns(STDERR) - 1))

    def clear(self) -> None:
        """Take the line away until the next: something else is written now."""
        if self._shown:
            self._shown = False
            glance(STDERR, _CLEAR)


def describe(message: dict[str, Any]) -> str:
    """The figures of one message: ``12 M instructions, VmRSS 3,100 kB, VmPTE 240 kB``."""
    instructions = message.get("instructions")
    figures = [] if instructions is None else [f"{instructions / 1e6:,.0f} M instructions"]
    figures += [f"{key} {message[key]:,} kB" for key in ("VmRSS", "VmPTE") if key in message]
    return ", ".join(figures)
