# SPDX-License-Identifier: GPL-2.0-or-later
"""What a worker is sent to run one cell, and what it sends back; nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One cell, to be run anywhere as it would be here."""

    key: str
    words: tuple[str, ...]
    """What stands behind ``ucmmu``, but for ``--json``."""
    cwd: str
    environ: tuple[tuple[str, str], ...]
    """Variables of the user's that decide what the guest gets."""
    files: tuple[tuple[str, str], ...]
    """By name: the SHA-256 of each file that the command line names."""
    code: str
    """The SHA-256 of ucmmu's code."""
    seconds: float | None
    """After which the whole cell is killed, which its own time limit should have ended."""


@dataclass(frozen=True)
class Done:
    """How a cell ended."""

    key: str
    report: dict[str, Any] | None
    """The JSON that the command wrote; None if it did not come to that."""
    error: str | None
    """One line, if the cell failed: ucmmu ended it, or could not run it."""
    exit_code: int
    seconds: float
    """Wall clock."""
    host: str
    late: bool = False
    """Whether its worker ended it, after :attr:`Job.seconds`."""
