# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: fork and copy on write keep processes apart whatever another CPU does in between: under
every schedule with few preemptions.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmu.linux.mm import Mm
from mmu.linux.mman import MADV_REMOVE, MAP_ANONYMOUS, MAP_FIXED, MAP_SHARED
from mmu.linux.policy import FreeTables
from mmu.linux.tlbflush import switch_mm
from mmu.x86 import Access
from tests.linux.processes import check_processes
from ucmmu.race.interleaving import Interleaving, Step, explore
from ucmmu.race.world import BASE, SLOT, Actor, RaceWorld

SHARED = BASE + 4 * SLOT


class Forked(RaceWorld):
    """Two CPUs, an mm with one written page at BASE, and a child of it, if there is one."""

    child: Mm

    def __init__(self, policy: FreeTables = FreeTables.REFCOUNT, *, fork: bool = True) -> None:
        super().__init__(policy)
        self.mm.mmap(SHARED, 4096, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED)
        self.run_on(0)
        self.storing(self.mm, BASE, 1)()
        if fork:
            self.child = self.mm.dup_mm()

    def storing(self, mm: Mm, addr: int, byte: int) -> Actor:
        def act() -> None:
            self.memory.write(self.translate(mm, addr, Access.WRITE), bytes([byte]))

        return act

    def loading(self, mm: Mm, addr: int) -> Actor:
        return lambda: self.memory.read(self.translate(mm, addr, Access.READ), 1)[0]

    def value(self, mm: Mm, addr: int = BASE, cpu: int = 0) -> object:
        self.run_on(cpu)
        return self.loading(mm, addr)()

    def done(self, race: Interleaving) -> Interleaving:
        """What must be so at the end of each scenario."""
        self.kernel.check()
        check_processes(self.kernel)
        self.run_on(0)
        switch_mm(self.kernel, self.mm)
        if self.child.mm_users:
            self.child.exit_mmap()
        self.run_on(1)
        switch_mm(self.kernel, self.mm)
        self.legal_uses()
        self.run_on(0)
        self.mm.exit_mmap()
        self.quiesce()
        assert self.kernel.mms == []
        return race

    def legal_uses(self) -> None:
        """A CPU may use what it has cached until the flush that follows the change, which comes
        before fork() or the fault returns: of a page that nobody has freed.
        """
        for cpu in self.kernel.cpus:
            assert cpu.mmu.check is not None
            assert [use for use in cpu.mmu.check.uses() if use.freed] == [], f"CPU {cpu.id}"


POLICIES = [FreeTables.SCAN, FreeTables.REFCOUNT]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.label)
def test_a_thread_writes_while_the_process_forks(policy: FreeTables) -> None:
    """It may write to what the child gets until fork() returns, by the right its TLB still has;
    not after.
    """

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        world = Forked(policy, fork=False)
        world.run_on(1)
        world.storing(world.mm, BASE, 1)()

        def fork() -> None:
            world.child = world.mm.dup_mm()

        race = world.race({0: fork, 1: world.storing(world.mm, BASE, 2)}, schedule)
        seen = world.value(world.child)
        assert seen in (1, 2)
        for cpu in (0, 1):
            world.run_on(cpu)
            world.storing(world.mm, BASE, 7 + cpu)()
            assert world.value(world.child) == seen
            assert world.value(world.mm, cpu=cpu) == 7 + cpu
        return world.done(race)

    assert explore(scenario, preemptions=1) > 20


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.label)
def test_both_processes_write_to_the_page_they_share(policy: FreeTables) -> None:
    """Each has its own byte in the end; one may get the page itself, never both."""

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        world = Forked(policy)
        race = world.race(
            {0: world.storing(world.mm, BASE, 2), 1: world.storing(world.child, BASE, 3)}, schedule
        )
        assert (world.value(world.mm), world.value(world.child)) == (2, 3)
        return world.done(race)

    assert explore(scenario, preemptions=1) > 20


def test_a_thread_reads_while_another_has_the_page_copied() -> None:
    """wp_page_copy(): no CPU reads the old page once the new one can be written to."""

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        world = Forked()
        world.value(world.mm, cpu=1)
        reads: list[object] = []

        def reader() -> None:
            for _ in range(3):
                reads.append(world.loading(world.mm, BASE)())
                world.kernel.point("read")

        race = world.race({0: world.storing(world.mm, BASE, 2), 1: reader}, schedule)
        assert [*map(str, reads)] == sorted(map(str, reads))
        assert world.value(world.mm, cpu=1) == 2
        assert world.value(world.child) == 1
        return world.done(race)

    assert explore(scenario, preemptions=2) > 20


def test_the_child_exits_while_the_parent_writes() -> None:
    def scenario(schedule: Sequence[Step]) -> Interleaving:
        world = Forked()
        race = world.race({0: world.storing(world.mm, BASE, 2), 1: world.child.exit_mmap}, schedule)
        assert world.value(world.mm) == 2
        return world.done(race)

    assert explore(scenario, preemptions=1) > 20


def test_a_hole_is_punched_while_another_process_faults() -> None:
    """truncate_pagecache_range(): both see the same page in the end, the old one or a new one."""

    def scenario(schedule: Sequence[Step]) -> Interleaving:
        world = Forked()
        world.storing(world.child, SHARED, 5)()

        def punch() -> None:
            world.child.madvise(SHARED, 4096, MADV_REMOVE)

        race = world.race({0: world.storing(world.mm, SHARED + 1, 6), 1: punch}, schedule)
        page = [[world.value(mm, SHARED + n) for n in (0, 1)] for mm in (world.mm, world.child)]
        assert page[0] == page[1]
        assert page[0] in ([0, 0], [0, 6])
        return world.done(race)

    assert explore(scenario, preemptions=1) > 20
