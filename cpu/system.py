# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tasks of a machine share; it is defined beside them, in cpu.task."""

from __future__ import annotations

from cpu.task import FIRST_PID, PID_MAX, System

__all__ = ["FIRST_PID", "PID_MAX", "System"]
