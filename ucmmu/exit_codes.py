# SPDX-License-Identifier: GPL-2.0-or-later
"""ucmmu's own exit codes, and the one exception that carries them.

A guest's exit code is ucmmu's, 0 to 255, and 128 + n when signal n ended the guest, as in a shell.
What follows is ucmmu speaking for itself.  The numbers lie where programs seldom go (sysexits.h and
timeout(1)); where a guest may use them too, ``"ended"`` in the JSON tells who spoke.
"""

from __future__ import annotations

from enum import IntEnum

from ucmmu.text import printable


class ExitCode(IntEnum):
    """Why ucmmu itself ended a run, or never began one."""

    OK = 0
    USAGE = 64
    BAD_TRACE = 65
    NO_PROGRAM = 66
    NO_RAM = 69
    INTERNAL = 70
    ENGINE_DIED = 71
    NO_EXTRA = 72
    NO_OUTPUT = 73
    MEMORY_LIMIT = 75
    STALE = 76
    POLICY = 78
    TIMEOUT = 124


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "done; the guest, if one ran, exited with 0",
    ExitCode.USAGE: "bad option, argument or size",
    ExitCode.BAD_TRACE: "a trace cannot be read, or is none that this version knows",
    ExitCode.NO_PROGRAM: "PROGRAM cannot be found, read, or run (not a static x86-64 Linux ELF)",
    ExitCode.NO_RAM: "no such guest RAM (--ram): too little, too much, or more than the host gives",
    ExitCode.INTERNAL: "an error in ucmmu, or one of its own checks failed",
    ExitCode.ENGINE_DIED: "the process that runs the engine died of a signal",
    ExitCode.NO_EXTRA: "an optional package is missing; the line says how to install it",
    ExitCode.NO_OUTPUT: "the report, JSON or trace cannot be written: no reader, no room, no right",
    ExitCode.MEMORY_LIMIT: "the run used more host memory than --memory-limit",
    ExitCode.STALE: "--check-tlb: a stale translation was used, or may have been",
    ExitCode.POLICY: "a policy of your own (FILE.py:CLASS) cannot be loaded, or failed in the run",
    ExitCode.TIMEOUT: "the run took longer than --timeout",
}

SIGNALLED = 128
"""Added to a signal's number: the guest, or (SIGINT, SIGTERM, SIGHUP, SIGQUIT) the run, was ended
by it.
"""


class Failure(Exception):
    """Something that ends ucmmu with one line on stderr and an exit code."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = int(code)
        self.line = printable(" ".join(line.split()))


def help_text() -> str:
    """The exit codes as ``--help`` shows them, one a line."""
    lines = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANING.items() if code]
    return "\n".join(
        [
            "exit codes:",
            "    n  the guest's own; 128 + n: it, or the run, was ended by signal n",
            *lines,
        ]
    )
