# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a long reading is, on the terminal, and where its user may interrupt it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ucmmu.progress import Progress

if TYPE_CHECKING:
    from mmu.trace.reader import TraceFile

INTERVAL: Final = 0.2
"""Seconds between two lines."""


@contextmanager
def shown(trace: TraceFile) -> Iterator[Callable[[int], None]]:
    """Show on stderr, if that is a terminal, how many events of the trace were passed: tell the
    number to what this yields, as often as you like.
    """
    with Progress(trace.path) as progress:
        last = 0.0

        def tell(events: int) -> None:
            nonlocal last
            now = time.monotonic()
            if progress.wanted and now - last >= INTERVAL:
                last = now
                share = f"{trace.fraction:.0%}, " if trace.fraction else ""
                progress.show(f"{share}{events / 1e6:,.1f} M events read")

        yield tell


@contextmanager
def interrupted_between() -> Iterator[Callable[[], None]]:
    """Let ^C strike only where what this yields is called: it raises KeyboardInterrupt if there was
    one. So a file is left whole.
    """
    struck = False

    def note(*_: object) -> None:
        nonlocal struck
        struck = True

    def check() -> None:
        if struck:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
