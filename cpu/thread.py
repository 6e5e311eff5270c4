# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scheduler works on: a thread as it sees one, and one CPU's part of it (struct rq)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from greenlet import greenlet

    from cpu.context import Context
    from cpu.vcpu import VCpu
    from mmu.linux.mm import Mm
    from mmu.linux.state import Cpu

NEVER: Final = 1 << 62
"""A number of instructions that no CPU executes."""


class State(Enum):
    """task_struct's state, by the letter that /proc shows."""

    RUNNING = "R"
    """Runs, or waits for a CPU."""
    INTERRUPTIBLE = "S"
    UNINTERRUPTIBLE = "D"
    STOPPED = "T"
    DEAD = "Z"


class Thread:
    """What the scheduler knows of a task: its kernel stack, its registers, where it may run.

    ``mm`` is the address space that it runs in. ``context`` has its registers while no CPU has;
    ``cpus_allowed`` is a mask of CPU numbers. ``rq`` is the CPU it runs on, or ran on last.
    ``waits_for`` says in words what it sleeps for.
    """

    def __init__(self, mm: Mm | None, context: Context | None = None) -> None:
        self.mm = mm
        self.context = context
        self.cpus_allowed = -1
        self.rq: Rq | None = None
        self.state = State.RUNNING
        self.waits_for = ""
        self.greenlet: greenlet | None = None
        self.instructions = 0
        """Executed up to its last switch."""
        self.nvcsw = 0
        """Context switches because it slept."""
        self.nivcsw = 0
        """Context switches at the end of a slice."""

    pid: int = 0
    group: object = None
    """What its instructions are also counted for: its process."""
    exited_mm = False
    """It has let go of its address space: no other is loaded for it."""

    def charge(self, instructions: int) -> None:
        """It has executed so many more."""
        self.instructions += instructions

    def resumed(self) -> None:
        """It goes on, after others may have run."""

    def main(self) -> None:
        """What it does, from its first instruction to its end."""
        raise NotImplementedError

    def signal_pending(self) -> bool:
        """Whether a signal waits that ends an interruptible sleep."""
        return False

    def work_pending(self) -> bool:
        """Whether kernel code of its own comes before guest code goes on."""
        return False

    def fatal_signal_pending(self) -> bool:
        """Whether it is to end."""
        return False


class Rq:
    """struct rq: one CPU's part of the scheduler."""

    def __init__(self, cpu: Cpu, vcpu: VCpu) -> None:
        self.cpu = cpu
        self.vcpu = vcpu
        self.shared = vcpu.shared
        """What the vCPU counts."""
        self.count = vcpu.count
        """Its instructions, as a view of one number."""
        self.curr: Thread | None = None
        """Whose turn it is here; None: idle."""
        self.loaded: Thread | None = None
        """Whose registers the vCPU has."""
        self.queue: deque[Thread] = deque()
        self.spins: Callable[[], bool] | None = None
        """What the kernel code on it spins for."""
        self.spins_for = ""
        self.slice_end = 0
        """The vCPU's instruction count at which the slice ends."""
        self.due = NEVER
        """That at which its task has something to do."""
        self.look = NEVER
        """That from which it wants to look at what may change."""
        self.goes_on: Thread | None = None
        """The task that is in guest code, and in no other: see Scheduler._go_on()."""
        self.began = 0
        """The vCPU's count when ``loaded`` was charged last."""
        self.ahead_ns = 0
        """The CPU's time less its instructions: how long it was idle."""

    def __repr__(self) -> str:
        return f"<Rq {self.cpu.id}: {self.curr}, {len(self.queue)} more>"

    @property
    def in_guest(self) -> bool:
        """Whether its task stands in guest code."""
        return self.curr is not None and self.curr.state is State.RUNNING and self.spins is None

    @property
    def nr_running(self) -> int:
        """Tasks that run here or wait for their turn."""
        return len(self.queue) + (self.curr is not None)
