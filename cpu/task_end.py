# SPDX-License-Identifier: GPL-2.0-or-later
"""How a task ends: raised by whatever it did last, caught by the loop that runs it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cpu.signals import SignalReport


class TaskEnd(Exception):
    """Ends a task: raised by whatever the task did last, caught by the loop that runs it.

    ``exit_code`` is as a shell shows it, ``ended`` one of "exit", "signal" and "stopped";
    ``report`` tells of the signal, if one ended it. ``group``: the whole process ends.
    """

    def __init__(
        self,
        exit_code: int,
        ended: str,
        report: SignalReport | None = None,
        *,
        group: bool = True,
    ) -> None:
        super().__init__(ended)
        self.exit_code = exit_code
        self.ended = ended
        self.report = report
        self.group = group

    @property
    def status(self) -> int:
        """The word that wait4() gives of it."""
        if self.ended == "exit":
            return (self.exit_code & 0xFF) << 8
        return signal.SIGKILL if self.ended == "stopped" else self.exit_code - 128


def stopped() -> TaskEnd:
    """The end of a task whose run is stopped."""
    return TaskEnd(128 + signal.SIGINT, "stopped")
