# SPDX-License-Identifier: GPL-2.0-or-later
"""What the end of a grace period waits for: that each CPU has been quiet, in it or from before.

What first made a CPU so is a cause of the end, which cannot be tried before it; what the CPU does
later has nothing to do with that end, though perhaps with the next: a CPU that stays idle is quiet
in that from its beginning. So the step that makes it so takes ("qs", cpu, number of the grace
period), and the end frees it.
"""

from __future__ import annotations

from mmu.linux.rcu import rcu_is_idle_cpu
from mmu.linux.state import Kernel
from ucmmu.race.objects import Object


class Quiet:
    """``cpus`` are those that the grace period waits for no more."""

    def __init__(self, kernel: Kernel) -> None:
        self.cpus: frozenset[int] = frozenset()
        self.begun = False
        """Whether the last step began a grace period."""
        self._kernel = kernel
        self._was: list[bool] = []
        self._qs_mask = 0
        self._gp = (0, False)

    def begin_step(self) -> None:
        """A step begins: note what RCU knows."""
        self._was = [rcu_is_idle_cpu(cpu) for cpu in self._kernel.cpus]
        self._qs_mask = int(self._kernel.c.rcu.qs_mask)
        self._gp = self._now()

    def _now(self) -> tuple[int, bool]:
        rcu = self._kernel.c.rcu
        return int(rcu.gp_seq), bool(rcu.gp_running)

    def end_step(self, *, ends: bool) -> tuple[set[Object], set[Object]]:
        """What the step takes and frees; ``ends``: it is the end of a grace period."""
        takes: set[Object] = set() if ends else self._became_quiet()
        now, frees = self._now(), set[Object]()
        self.begun = now[1] and now != self._gp
        if now[0] != self._gp[0]:
            frees.update(("qs", cpu.id, now[0]) for cpu in self._kernel.cpus)
        if now != self._gp:
            quiet = (cpu.id for cpu in self._kernel.cpus if rcu_is_idle_cpu(cpu))
            self.cpus = frozenset(quiet if now[1] else ())
        return takes, frees

    def _became_quiet(self) -> set[Object]:
        """Who was not quiet before the step, and is, or told that it was; and in which grace period
        that counts: the one that runs, or, if it was quiet in that before or none does, the next.
        """
        kernel, (ended, runs) = self._kernel, self._gp
        told = self._qs_mask & ~kernel.c.rcu.qs_mask
        takes, found = set[Object](), set[int]()
        for cpu in kernel.cpus:
            number, counted = cpu.id, cpu.id in self.cpus
            if self._was[number]:
                continue
            if rcu_is_idle_cpu(cpu) or (told >> number & 1 and not counted):
                takes.add(("qs", number, ended + 1 + (runs and counted)))
                found.add(number)
        if runs:
            self.cpus |= found
        return takes
