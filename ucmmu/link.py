# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervised child's end of the pipes to its parent; ucmmu/supervise.py says what goes through
them.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
LOOK = 0.25
"""Seconds between the figures that a child sends which was asked to stop and has not ended."""
HUSHED, RAW, STOP = b"!", b"r", b"s"
"""Orders: no progress is shown any more; the terminal is raw; end."""

Message = dict[str, Any]


class Link:
    """The child's end: reports progress and figures, and learns that it should stop."""

    def __init__(self, pipe: int, orders: int) -> None:
        self._pipe = pipe
        self._orders = orders
        self._sending = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._look: Callable[[], Message] | None = None
        self._has_figures = False
        self._quiet = threading.Event()
        self._raw = threading.Event()
        self._signals: int | None = None
        self.descriptors = {pipe, orders}
        """Ours, which a job may not close."""
        self.stopped = False
        """Whether the parent asked us to end."""
        self.hushed = threading.Event()
        """Set once no more progress should be shown."""

    def progress(self, message: Message) -> None:
        """Show the parent how far the job is."""
        self.send({"progress": message})

    def hush(self) -> None:
        """Have the parent take its progress line away for good; returns when it has."""
        if not self.hushed.is_set():
            self.hushed.set()
            self._listen()
            self.send({"hush": True})
            self._quiet.wait()

    def take_terminal(self) -> None:
        """Have the parent put the user's terminal into raw mode until we have ended; returns when
        it has.
        """
        if not self._raw.is_set():
            self._listen()
            self.send({"terminal": True})
            self._raw.wait()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, from another thread, when the run shall end; at once if it shall
        already.
        """
        self._callbacks.append(callback)
        self._listen()
        if self.stopped:
            callback()

    def on_look(self, look: Callable[[], Message]) -> None:
        """Call ``look``, from another thread, for the figures of a job that was asked to stop and
        goes on.
        """
        self._look = look
        self._listen()

    def figures(self, message: Message) -> None:
        """Send what the job will report but for what it still has to do; nobody is asked to look
        any more.
        """
        with self._sending:
            self._has_figures = True
            self._write({"figures": message})

    def send(self, message: Message) -> None:
        """Send one message, from any thread."""
        with self._sending:
            self._write(message)

    def _write(self, message: Message) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]

    def attend(self) -> None:
        """Keep stop signals for a thread that C code of the job cannot hold up. It starts, and
        follows orders too, when the job first asks for either: by then it may have given up rights,
        which a thread that runs already would keep.
        """
        self._signals, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.descriptors |= {self._signals, writer}
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in heeded():
            signal.signal(number, lambda _number, _frame: None)

    def _listen(self) -> None:
        """Start that thread, once."""
        signals, self._signals = self._signals, None
        if signals is not None:
            threading.Thread(target=self._wait, args=(signals,), daemon=True).start()

    def _wait(self, signals: int) -> None:
        while True:
            looking = self.stopped and not self._has_figures
            ready, _, _ = select.select([self._orders, signals], [], [], LOOK if looking else None)
            if signals in ready:
                for number in set(os.read(signals, 512)) & set(STOP_SIGNALS):
                    self.send({"signal": int(number)})
            if self._orders in ready and not self._follow(os.read(self._orders, 512)):
                return
            if self.stopped:
                self._send_look()

    def _follow(self, orders: bytes) -> bool:
        """Do what the parent says; false if there is none any more."""
        if HUSHED in orders:
            self._quiet.set()
        if RAW in orders:
            self._raw.set()
        if STOP in orders and not self.stopped:
            self.stopped = True
            for callback in list(self._callbacks):
                callback()
        return bool(orders)

    def _send_look(self) -> None:
        """Send the figures of now; the job is at work on them, so a look may fail, and the next one
        will not.
        """
        if self._look is None or self._has_figures:
            return
        with suppress(Exception):
            message = self._look()
            with self._sending:
                if not self._has_figures:
                    self._write({"figures": message})


def heeded() -> list[signal.Signals]:
    """The stop signals that were not ignored when we started."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
