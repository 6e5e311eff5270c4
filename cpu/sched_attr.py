# SPDX-License-Identifier: GPL-2.0-or-later
"""A task's scheduling attributes (include/uapi/linux/sched/types.h, v6.18).

They are kept and told back; the schedule is round robin whatever they say. A user without rights
gets no real-time policy, so nothing else would follow from most of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE = 0, 1, 2, 3, 5, 6
SCHED_RESET_ON_FORK: Final = 0x40000000


def base_slice_ns(cpus: int) -> int:
    """sysctl_sched_base_slice: nanoseconds of a slice of the fair class."""
    return 700_000 * (1 + min(cpus, 8).bit_length() - 1)


@dataclass
class SchedAttr:
    """``policy`` is SCHED_*, ``nice`` from -20 to 19; ``slice_ns`` is what was asked for, or 0."""

    policy: int = SCHED_NORMAL
    nice: int = 0
    reset_on_fork: bool = False
    slice_ns: int = 0

    def fork(self) -> SchedAttr:
        """A child's (sched_fork()): what the parent's say, or the default ones."""
        if self.reset_on_fork:
            return SchedAttr(nice=max(self.nice, 0))
        return SchedAttr(self.policy, self.nice, False, self.slice_ns)
