# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: whether a CPU is lazy only that CPU says: one that leaves an mm while it ends is not made
lazy in the next, where flushes would then pass it by.
"""

from __future__ import annotations

import pytest

from mmu.linux.policy import FreeTables
from mmu.linux.tlbflush import enter_lazy_tlb, switch_mm
from ucmmu.race import operations as do
from ucmmu.race.explore import explore
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.world import BASE, RaceWorld


@pytest.mark.parametrize("tso", [False, True])
def test_a_cpu_that_switches_while_its_mm_ends_is_not_lazy(tso: bool) -> None:
    def make() -> KernelProgram:
        world = RaceWorld(FreeTables.REFCOUNT, watched=True)
        world.run_on(0)
        world.write(BASE)()
        child = world.mm.dup_mm()
        world.children.append(child)
        cpu = world.kernel.cpus[1]
        world.run_on(1)
        switch_mm(world.kernel, child)
        enter_lazy_tlb(world.kernel)
        world.run_on(0)

        def check() -> None:
            assert cpu.loaded_mm is world.mm
            assert not cpu.c.is_lazy, "flushes pass it by"

        world.at_end.append(check)
        acts = {0: do.exit_mm(world, child), 1: do.switch_to(world, world.mm)}
        return KernelProgram(world, acts, tso=tso)

    found = explore(make, bound=1)
    assert found.failure is None, found.failure
    assert found.complete or found.bound == 1
