# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tasks of a machine share beside the mm's Kernel: time, chance, PIDs, the order to stop.

Linux keeps these in global variables (timekeeper, the random pool, the PID namespace). Here all are
virtual, so that a run depends on its programs, its options and its seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from cpu.clock import VirtualClock
from cpu.notes import Notes
from cpu.scheduler import Scheduler
from mmu.linux.sched import ERESTARTSYS, Sleep, WaitQueue

if TYPE_CHECKING:
    from cpu.task import Process, Task
    from mmu.linux.state import Kernel

FIRST_PID = 1000
PID_MAX = 32768
"""kernel.pid_max: numbers above it are not given, and come again from FIRST_PID on."""


class System:
    """The state around the tasks of a machine; ``seed`` gives all its random numbers.

    ``tasks`` are those that have a PID, zombies included, by it.
    """

    def __init__(self, kernel: Kernel, scheduler: Scheduler, *, seed: int = 0) -> None:
        self.kernel = kernel
        self.scheduler = scheduler
        self.random = random.Random(seed)
        self.clock = VirtualClock(scheduler.now_ns)
        self.notes = Notes()
        self.tasks: dict[int, Task] = {}
        self.processes: list[Process] = []
        """Every process that ever was, in the order of their making."""
        self.problems: list[str] = []
        """Checks that failed at the end of a process."""
        self.before_teardown: Callable[[Process], None] = lambda process: None
        """Hears of each process that ends, with its result, before its address space goes."""
        self._last_pid = FIRST_PID - 1
        self._sleepers = WaitQueue("sleep")

    @property
    def nr_syscalls(self) -> int:
        """System calls made so far, by all."""
        return self.scheduler.nr_syscalls

    @property
    def stopping(self) -> bool:
        """Whether the run is to end: whatever takes long asks it, and breaks off."""
        return self.scheduler.stopping

    def stop(self) -> None:
        """Have the run end soon; safe from any thread and from signal handlers."""
        self.scheduler.stop()

    def alloc_pid(self) -> int:
        """The next number that no task has (alloc_pid())."""
        pid = self._last_pid
        while True:
            pid = pid + 1 if pid + 1 < PID_MAX else FIRST_PID
            if pid not in self.tasks:
                self._last_pid = pid
                return pid

    def sleep(self, nanoseconds: int | None, what: str) -> int:
        """Let the running task sleep that long, None: for ever; 0, or -ERESTARTSYS if a signal came
        first.
        """
        result = self.scheduler.wait_event(
            self._sleepers, _never, what, sleep=Sleep.INTERRUPTIBLE, timeout_ns=nanoseconds
        )
        return result if result == -ERESTARTSYS else 0


def _never() -> bool:
    return False
