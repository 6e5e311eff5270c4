# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of one table: it is filled, emptied and freed by several CPUs at once."""

from __future__ import annotations

from typing import Final

from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.mman import MADV_GUARD_INSTALL
from mmu.linux.pgtable import PMD_SIZE, is_guard_pte_marker
from mmu.linux.policy import FreeTables
from ucmmu.race import operations as do
from ucmmu.race.scenario import COUNTED, Actors, Scenario
from ucmmu.race.world import BASE, PAGE_SIZE, RaceWorld

OTHER: Final = BASE + PAGE_SIZE
THIRD: Final = BASE + 2 * PAGE_SIZE


def _written(world: RaceWorld, *addrs: int) -> None:
    """CPU 0 has written to each page."""
    world.run_on(0)
    world.write(*addrs)()


def _guarded(world: RaceWorld, addr: int) -> None:
    """A guard marker is all there is at addr."""
    world.run_on(0)
    world.mm.madvise(addr, PAGE_SIZE, MADV_GUARD_INSTALL)


def zap_fault(world: RaceWorld) -> Actors:
    """The last entry goes, another comes."""
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.fault(world, OTHER)}


def zap_fault_same(world: RaceWorld) -> Actors:
    """The entry that goes comes again."""
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.fault(world, BASE)}


def guard_fault(world: RaceWorld) -> Actors:
    """The last entry, a guard marker, goes without a gather."""
    _guarded(world, BASE)
    return {0: do.guard_remove(world, BASE), 1: do.fault(world, OTHER)}


def fault_fault(world: RaceWorld) -> Actors:
    """Two faults install the same table; those above it are there."""
    _written(world, BASE + PMD_SIZE)
    return first_faults(world)


def first_faults(world: RaceWorld) -> Actors:
    """Two faults make all tables of one address."""
    return {0: do.fault(world, BASE), 1: do.fault(world, OTHER)}


def fault_fault_fault(world: RaceWorld) -> Actors:
    """Three faults install the same table."""
    return {**fault_fault(world), 2: do.fault(world, THIRD)}


def zap_zap(world: RaceWorld) -> Actors:
    """Each takes one of the last two entries."""
    _written(world, BASE)
    world.run_on(1)
    world.write(OTHER)()
    return {0: do.zap(world, BASE), 1: do.zap(world, OTHER)}


def zap_zap_same(world: RaceWorld) -> Actors:
    """Both take the only entry."""
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.zap(world, BASE)}


def zap_guard(world: RaceWorld) -> Actors:
    """One of the last two entries goes by a gather, the other without."""
    _guarded(world, OTHER)
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.guard_remove(world, OTHER)}


def zap_zap_fault(world: RaceWorld) -> Actors:
    """Both entries go, and one comes."""
    return {**zap_zap(world), 2: do.fault(world, THIRD)}


def zap_zap_fault_fault(world: RaceWorld) -> Actors:
    """Both entries go, and two come."""
    return {**zap_zap_fault(world), 3: do.fault(world, THIRD + PAGE_SIZE)}


def zap_whole_fault(world: RaceWorld) -> Actors:
    """All 2 MiB are zapped in one call: what CONFIG_PT_RECLAIM frees for."""
    _written(world, BASE)
    return {0: do.zap(world, BASE, PMD_SIZE), 1: do.fault(world, OTHER)}


def zap_whole_zap_whole(world: RaceWorld) -> Actors:
    """The same twice."""
    _written(world, BASE, OTHER)
    return {0: do.zap(world, BASE, PMD_SIZE), 1: do.zap(world, BASE, PMD_SIZE)}


def zap_midway_fault(world: RaceWorld) -> Actors:
    """The gather is full in the midst of the table, the PTE lock is dropped, entries come back."""
    _written(world, *(BASE + page * PAGE_SIZE for page in range(4)))
    refill = do.in_order(lambda: world.starve(False), do.fault(world, BASE))
    return {0: do.zap_with_little_room(world, BASE, PMD_SIZE), 1: refill}


def zap_midway_zap(world: RaceWorld) -> Actors:
    """One zaps a table in stretches, the other another table in one go."""
    _written(world, *(BASE + page * PAGE_SIZE for page in range(4)), BASE + PMD_SIZE)
    return {
        0: do.zap_with_little_room(world, BASE, PMD_SIZE),
        1: do.zap(world, BASE + PMD_SIZE, PMD_SIZE),
    }


def zap_walk(world: RaceWorld) -> Actors:
    """A walker comes when the table is there, dying, or gone."""
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.walk(world, BASE)}


def zap_visit(world: RaceWorld) -> Actors:
    """A visitor holds the table while its last entry goes."""
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.visit(world, BASE)}


def zap_visit_fault(world: RaceWorld) -> Actors:
    """The table goes with a visitor's put before the zap has flushed; a fault installs its heir."""
    return {**zap_visit(world), 2: do.fault(world, OTHER)}


def zap_rcu_reader(world: RaceWorld) -> Actors:
    """A reader has the old value of the PMD, and takes the lock of the table it names."""
    _written(world, BASE)
    return {0: do.zap(world, BASE), 1: do.rcu_reader(world, BASE)}


def zap_whole_rcu_reader(world: RaceWorld) -> Actors:
    """The same, where all 2 MiB are zapped in one call."""
    _written(world, BASE)
    return {0: do.zap(world, BASE, PMD_SIZE), 1: do.rcu_reader(world, BASE)}


def guard_install_fault(world: RaceWorld) -> Actors:
    """A marker comes in the place of a page that is faulted in after the first zap of it, and after
    the second, so that there is a third and all begins again. The table has another page.
    """
    _written(world, BASE, OTHER)

    def check() -> None:
        assert is_guard_pte_marker(peek_pte(world.mm, BASE)), "the marker is not there"

    world.at_end.append(check)
    fault = do.fault_once(world, BASE)
    return {0: do.guard_install(world, BASE), 1: do.in_order(fault, fault)}


def zap_fault_oom(world: RaceWorld) -> Actors:
    """A fault finds no memory for its page, and must still put the table."""
    _written(world, BASE)

    def starved() -> object:
        world.starve(True)
        try:
            return do.fault(world, OTHER)()
        finally:
            world.starve(False)

    return {0: do.zap(world, BASE), 1: starved}


def zero_page_writes(world: RaceWorld) -> Actors:
    """Both write where the zero page was read: the entry changes, the count does not."""
    world.run_on(0)
    world.read(BASE)()
    return {0: do.fault(world, BASE), 1: do.fault(world, BASE)}


def lazyfree_fault(world: RaceWorld) -> Actors:
    """MADV_FREE changes an entry and no count."""
    _written(world, BASE)
    return {0: do.lazyfree(world, BASE), 1: do.fault(world, BASE, OTHER)}


def zap_reused(world: RaceWorld) -> Actors:
    """A table is freed and its frame is at once a table elsewhere; a fault has read its old PMD."""
    _written(world, BASE)
    elsewhere = do.in_order(do.zap(world, BASE), do.fault(world, BASE + PMD_SIZE))

    def check() -> None:
        assert not world.pte(OTHER + PMD_SIZE), "a page was mapped in another table"
        assert world.pte(OTHER), "the page is not where it was written to"

    world.at_end.append(check)
    return {0: elsewhere, 1: do.fault(world, OTHER)}


SCENARIOS: Final = (
    Scenario(
        "fault-zap",
        ("zap", "fault"),
        "the last entry of a table goes while another comes: at each gap of the free",
        "F8, F20, D2, D9",
        zap_fault,
    ),
    Scenario(
        "fault-zap-same",
        ("zap", "fault"),
        "the entry that is zapped is faulted in again",
        "F8, F13, D4",
        zap_fault_same,
    ),
    Scenario(
        "fault-guard",
        ("guard remove", "fault"),
        "as fault-zap, freed without a gather",
        "F8, F15, D2, D4",
        guard_fault,
    ),
    Scenario(
        "fault-fault",
        ("fault", "fault"),
        "two faults install one table: the count is set before it can be seen",
        "F1, F2, D1, D12",
        fault_fault,
    ),
    Scenario(
        "fault-fault-fault",
        ("fault", "fault", "fault"),
        "three faults install one table",
        "F1, D1",
        fault_fault_fault,
    ),
    Scenario(
        "fault-fault-tables",
        ("fault", "fault"),
        "two first faults make all tables; above a PTE table every policy makes them so",
        "F1",
        first_faults,
        policies=(FreeTables.NEVER,),
    ),
    Scenario(
        "zap-zap",
        ("zap", "zap"),
        "two zaps take the last two entries: one of them frees the table, once",
        "F8, F13",
        zap_zap,
    ),
    Scenario(
        "zap-zap-same",
        ("zap", "zap"),
        "two zaps of the only entry: double free",
        "F8, D7",
        zap_zap_same,
    ),
    Scenario(
        "zap-guard",
        ("zap", "guard remove"),
        "one of the last two entries goes by a gather, the other without",
        "F13, F15, D4",
        zap_guard,
    ),
    Scenario(
        "zap-zap-fault",
        ("zap", "zap", "fault"),
        "two zaps and a fault on one table",
        "F4, F8, F10",
        zap_zap_fault,
    ),
    Scenario(
        "zap-zap-fault-fault",
        ("zap", "zap", "fault", "fault"),
        "two zaps and two faults on one table",
        "F4, F8, F10",
        zap_zap_fault_fault,
    ),
    Scenario(
        "fault-zap-2M",
        ("zap 2 MiB", "fault"),
        "the zap that CONFIG_PT_RECLAIM frees for, against a fault",
        "F8, F11",
        zap_whole_fault,
    ),
    Scenario(
        "zap-zap-2M",
        ("zap 2 MiB", "zap 2 MiB"),
        "two such zaps of one table",
        "F8, F11",
        zap_whole_zap_whole,
    ),
    Scenario(
        "zap-midway-fault",
        ("zap 2 MiB", "fault"),
        "the PTE lock is dropped midway, and what was cleared comes back",
        "F11, merged scan",
        zap_midway_fault,
    ),
    Scenario(
        "zap-midway-zap",
        ("zap 2 MiB", "zap 2 MiB"),
        "the same against a zap of the next table: the order of the locks",
        "merged scan",
        zap_midway_zap,
    ),
    Scenario(
        "zap-walk",
        ("zap", "walk"),
        "a walker finds the table, its count at 0, or nothing: no unpaired put",
        "F18, F19, D6, D7",
        zap_walk,
    ),
    Scenario(
        "zap-visit",
        ("zap", "visit"),
        "a visitor puts the last reference",
        "F4, F13, D7",
        zap_visit,
        COUNTED,
    ),
    Scenario(
        "zap-visit-fault",
        ("zap", "visit", "fault"),
        "a visitor frees the table before the zap has flushed, and a fault installs its heir",
        "F13, D4",
        zap_visit_fault,
        COUNTED,
    ),
    Scenario(
        "zap-rcu-reader",
        ("zap", "RCU reader"),
        "who has read the PMD before it was cleared locks the old table",
        "F14, D5",
        zap_rcu_reader,
        (COUNTED[0],),
    ),
    Scenario(
        "zap-2M-rcu-reader",
        ("zap 2 MiB", "RCU reader"),
        "as zap-rcu-reader, where the table may be taken out under the PTE lock",
        "F11, F14, D5",
        zap_whole_rcu_reader,
        (FreeTables.SCAN, FreeTables.REFCOUNT),
    ),
    Scenario(
        "guard-install-fault",
        ("guard install", "fault, fault"),
        "a page comes back each time that the install has zapped it; it begins again",
        "F2, F8",
        guard_install_fault,
    ),
    Scenario(
        "zap-fault-oom",
        ("zap", "fault"),
        "a fault that finds no memory puts what it got",
        "D10",
        zap_fault_oom,
    ),
    Scenario(
        "zero-page-writes",
        ("fault", "fault"),
        "two writes where the zero page is: an entry that was set is not counted again",
        "F2, D8",
        zero_page_writes,
    ),
    Scenario(
        "lazyfree-fault",
        ("MADV_FREE", "fault"),
        "an entry is changed, no count",
        "F2",
        lazyfree_fault,
    ),
    Scenario(
        "zap-reuse-fault",
        ("zap, fault elsewhere", "fault"),
        "the freed frame is a table elsewhere at once: ABA by reuse",
        "ABA, F14",
        zap_reused,
        reuse=True,
    ),
)
