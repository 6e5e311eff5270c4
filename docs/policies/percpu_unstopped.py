# SPDX-License-Identifier: GPL-2.0-or-later
"""WRONG: percpu_ref.py, but the counters are added up without a wait for the other CPUs.

A CPU that has looked at ``live`` and has yet to change its counter does so when the counters were
added up already. `ucmmu race` finds the order of steps (docs/policies.md).
"""

from __future__ import annotations

from percpu_ref import PerCpuRef


class Unstopped(PerCpuRef):
    """One interrupt to each CPU is saved."""

    def stop_counting(self) -> None:
        """They are as good as done, are they not?"""
