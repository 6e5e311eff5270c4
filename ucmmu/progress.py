# SPDX-License-Identifier: GPL-2.0-or-later
"""One line on the terminal while a long run goes on; nothing where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.status import Status

PATIENCE = 0.5
"""Seconds a run may take before it is worth a line."""


class Progress:
    """Shows a child's progress messages on stderr, if that is a terminal and ``wanted``.

    Each message has ``instructions`` (None if not counted), ``VmRSS`` and ``VmPTE`` (kB).
    """

    def __init__(self, title: str, *, wanted: bool = True) -> None:
        self._title = title
        self._wanted = wanted and sys.stderr.isatty()
        self._started = time.monotonic()
        self._status: Status | None = None

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
        if self._status is not None:
            self._status.stop()

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to show progress to."""
        return self._wanted

    def __call__(self, message: dict[str, Any] | None) -> None:
        """Take one progress message; None ends the showing."""
        if message is None:
            self._end()
            return
        if not self._wanted or time.monotonic() - self._started < PATIENCE:
            return
        text = f"{self._title}: {describe(message)}, {time.monotonic() - self._started:.0f} s"
        if self._status is None:
            self._status = self._start(text)
        else:
            self._status.update(text)

    def _start(self, text: str) -> Status:
        from rich.console import Console

        status = Console(file=sys.stderr, markup=False).status(text)
        status.start()
        return status


def describe(message: dict[str, Any]) -> str:
    """The figures of one message: ``12 M instructions, VmRSS 3,100 kB, VmPTE 240 kB``."""
    instructions = message.get("instructions")
    figures = [] if instructions is None else [f"{instructions / 1e6:,.0f} M instructions"]
    figures += [f"{key} {message[key]:,} kB" for key in ("VmRSS", "VmPTE") if key in message]
    return ", ".join(figures)
