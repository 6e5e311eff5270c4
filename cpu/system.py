# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tasks of a run share beside the mm's Kernel: time, chance, the order to stop, the notes.

Linux keeps the first two in global variables (timekeeper, the random pool). Here both are virtual,
so that a run depends on its program and seed alone.
"""

from __future__ import annotations

import random

from cpu.clock import SYSCALL_NS, VirtualClock
from cpu.notes import Notes
from cpu.vcpu import VCpu


class System:
    """The state around the tasks of one run on ``vcpu``; ``seed`` gives all its random numbers."""

    def __init__(self, vcpu: VCpu, *, seed: int = 0) -> None:
        self.vcpu = vcpu
        self.random = random.Random(seed)
        self.clock = VirtualClock(self._elapsed_ns)
        self.notes = Notes()
        self.nr_syscalls = 0
        """System calls made so far."""
        self.stopping = False
        """Whether the run is to end: whatever takes long asks it, and breaks off."""

    def stop(self) -> None:
        """Have the run end soon; safe from any thread and from signal handlers."""
        self.stopping = True
        self.vcpu.stop()

    def _elapsed_ns(self) -> int:
        count = self.vcpu.instructions
        return self.nr_syscalls * SYSCALL_NS if count is None else count
