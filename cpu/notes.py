# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user should know of a run besides its figures: unknown system calls, limits met, signals.

However often something happens, it is told once, and of a flood only the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cpu._engine import lib
from cpu.syscalls.numbers import syscall_name

MAX_UNKNOWN: Final = 256
"""Different unknown system calls that are listed; of more only the number is told."""
MAX_NOTES: Final = 64
"""Lines about a run that are kept."""
LIMIT_NOTES: Final[dict[int, str]] = {
    lib.LIMIT_X87_PRECISION: (
        "the program has x87 instructions that are computed to about 53 of their 64 bits here"
        " (FSIN, FCOS, FPTAN, FPATAN, F2XM1, FYL2X): results may differ from a processor's"
    ),
    lib.LIMIT_MXCSR: (
        "the program reads or writes MXCSR, whose exception flags are never set here"
        " (fetestexcept() may find nothing) and whose FZ, flush to zero, does nothing"
    ),
}
"""What is said of each limit of Unicorn's that a guest's code has met; docs/engine_limits.md has
all.
"""


@dataclass(frozen=True)
class UnknownSyscall:
    """A system call that got ENOSYS because there is none of that number here."""

    nr: int
    name: str
    rip: int
    """Of the SYSCALL instruction."""
    count: int

    def __str__(self) -> str:
        """One line."""
        return (
            f"unknown system call {self.nr} ({self.name}) at RIP {self.rip:#x}: answered ENOSYS,"
            f" {self.count} times"
        )


class Notes:
    """The notes on one run, gathered while it goes on."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._unknown: dict[tuple[int, int], int] = {}
        self._unlisted = 0

    def add(self, line: str) -> None:
        """Keep a line, once however often it is added; at most MAX_NOTES are kept."""
        if line not in self._lines and len(self._lines) < MAX_NOTES:
            self._lines.append(line)

    def add_unknown_syscall(self, nr: int, rip: int) -> None:
        """Count an unknown call made by the SYSCALL instruction at rip."""
        key = nr, rip
        if key not in self._unknown and len(self._unknown) >= MAX_UNKNOWN:
            self._unlisted += 1
        else:
            self._unknown[key] = self._unknown.get(key, 0) + 1

    def unknown_syscalls(self) -> list[UnknownSyscall]:
        """Return the calls that got ENOSYS, by number and place, in the order of the first of
        each.
        """
        return [
            UnknownSyscall(nr, syscall_name(nr), rip, count)
            for (nr, rip), count in list(self._unknown.items())
        ]

    def lines(self, limits: int) -> list[str]:
        """Return all lines; ``limits`` has a LIMIT_* bit for each limit of Unicorn's that was
        met.
        """
        lines = [*self._lines, *(note for bit, note in LIMIT_NOTES.items() if limits & bit)]
        if self._unlisted:
            lines.append(
                f"{self._unlisted} more unknown system calls, of other numbers or places:"
                " answered ENOSYS"
            )
        return lines
