# SPDX-License-Identifier: GPL-2.0-or-later
"""WRONG: percpu_ref.py, but the counters are added up without a barrier after this CPU's own.

Of two CPUs that drop the last two references each may see its own addition and not yet the other's:
neither comes to 0, and the table stays. Only with store buffers: `ucmmu race --model tso`.
"""

from __future__ import annotations

from percpu_ref import PerCpuRef


class Unfenced(PerCpuRef):
    """A full barrier at each put is saved."""

    def let_all_see(self) -> None:
        """They will, soon enough?"""
