# SPDX-License-Identifier: GPL-2.0-or-later
"""The differences that must be between plain Unicorn and an attached instance."""

from __future__ import annotations

from typing import Any

LogEntry = tuple[Any, ...]


def normalised(log: list[LogEntry]) -> list[LogEntry]:
    """A log without what may differ."""
    return log
