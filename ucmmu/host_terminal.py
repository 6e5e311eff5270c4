# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's terminal while a guest has it: in raw mode, so that the guest's own line discipline
sees each byte as it is typed, ^C and ^Z too; as it was before, afterwards.
"""

from __future__ import annotations

import os
import termios
from contextlib import suppress
from typing import Any

IFLAG, OFLAG, CFLAG, LFLAG, CC = 0, 1, 2, 3, 6


class HostTerminal:
    """The terminal among stdin, stdout and stderr, if there is one."""

    def __init__(self) -> None:
        self._fd = next((fd for fd in range(3) if os.isatty(fd)), None)
        self._before: list[Any] | None = None

    def enter_raw(self) -> None:
        """Put it into raw mode, once."""
        if self._fd is None or self._before is not None:
            return
        with suppress(termios.error):
            self._before = termios.tcgetattr(self._fd)
            termios.tcsetattr(self._fd, termios.TCSADRAIN, _raw(self._before))

    def leave_raw(self) -> None:
        """Put it back as it was."""
        before, self._before = self._before, None
        if self._fd is not None and before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, before)


def _raw(mode: list[Any]) -> list[Any]:
    """As cfmakeraw(): bytes as they come, one at a time."""
    raw = [*mode[:CC], list(mode[CC])]
    raw[IFLAG] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    raw[OFLAG] &= ~termios.OPOST
    raw[LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[CFLAG] = raw[CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[CC][termios.VMIN], raw[CC][termios.VTIME] = 1, 0
    return raw
