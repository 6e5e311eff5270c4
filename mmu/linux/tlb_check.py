# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stale-translation checkers of all CPUs are told by the kernel (mmu.x86.check).

Each CPU has a checker of its own. A table that one CPU changes is every CPU's table, so all of them
hear on whose behalf it is changed; and a table that is freed may not be in reach of any of them.
"""

from __future__ import annotations

from typing import NamedTuple

from mmu._native import lib
from mmu.linux.state import Kernel
from mmu.x86.check import ChangedBy


class OnBehalf(NamedTuple):
    """For whom kernel code works (as in ChangedBy), and where the guest is meanwhile."""

    by: ChangedBy
    detail: int
    rip: int
    instruction: int | None


def tables_change_for(kernel: Kernel, who: OnBehalf | None) -> None:
    """From here on tables change on behalf of ``who``, on this CPU; None: nobody said so."""
    if who is None or who is kernel.tables_change_for:
        return
    kernel.tables_change_for = who
    number = kernel.this_cpu.id
    for cpu in kernel.cpus:
        if cpu.mmu.check is not None:
            cpu.mmu.check.enter(who.by, who.detail, who.rip, who.instruction, number)


def check_speculation_everywhere(kernel: Kernel) -> None:
    """Tables were freed: have every checker look whether its CPU may still walk through them."""
    for cpu in kernel.cpus:
        if cpu.mmu.c.check:
            lib.check_speculation(cpu.mmu.c)
