# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of empty PMD and PUD tables that are freed too: ``--free-levels``.

The world's two slots of 2 MiB are all that its PMD table maps, and that all of its PUD table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mmu.linux.mman import MADV_GUARD_INSTALL
from mmu.linux.policy import FreeLevels
from ucmmu.race import operations as do
from ucmmu.race.scenario import COUNTED, Actors, Scenario
from ucmmu.race.world import BASE, PAGE_SIZE, SLOT, Actor, RaceWorld

OTHER: Final = BASE + PAGE_SIZE
SECOND: Final = BASE + SLOT
"""In another PTE table of the same PMD table."""
FAR: Final = BASE + (1 << 30)
"""In another PMD table of the same PUD table."""
PROT_READ: Final = 1

Prepare = Callable[[RaceWorld], Actors]


def _written(world: RaceWorld, *addrs: int) -> None:
    world.run_on(0)
    world.write(*addrs)()


def zap_against(*others: Callable[[RaceWorld], Actor]) -> Prepare:
    """CPU 0 clears all there is, so that each table is empty; the others do something there."""

    def prepare(world: RaceWorld) -> Actors:
        _written(world, BASE)
        return {0: do.zap(world, BASE), **{n + 1: other(world) for n, other in enumerate(others)}}

    return prepare


def guard_against(other: Callable[[RaceWorld], Actor]) -> Prepare:
    """The same without a gather: each table is flushed at once, under its lock."""

    def prepare(world: RaceWorld) -> Actors:
        world.run_on(0)
        world.mm.madvise(BASE, PAGE_SIZE, MADV_GUARD_INSTALL)
        return {0: do.guard_remove(world, BASE), 1: other(world)}

    return prepare


def two_zaps(world: RaceWorld) -> Actors:
    """Each clears the last entry of one PTE table; the PMD table goes with the second."""
    _written(world, BASE, SECOND)
    return {0: do.zap(world, BASE), 1: do.zap(world, SECOND)}


def munmap_fault(world: RaceWorld) -> Actors:
    """The tables of one slot are torn down while the other slot needs the same PMD table."""
    _written(world, BASE)
    return {0: do.munmap(world, BASE, SLOT), 1: do.fault(world, SECOND)}


def mremap_zap(world: RaceWorld) -> Actors:
    """A whole PTE table leaves its PMD table, which is empty then, for another."""
    _written(world, BASE)
    return {0: do.mremap(world, BASE, FAR), 1: do.zap(world, BASE)}


def mremap_fault(world: RaceWorld) -> Actors:
    """The same, and the PMD table that is left empty is needed again."""
    _written(world, BASE)
    return {0: do.mremap(world, BASE, FAR), 1: do.fault(world, SECOND)}


def faults(world: RaceWorld) -> Actors:
    """Two first touches, which both need all tables made."""
    return {0: do.fault(world, BASE), 1: do.fault(world, SECOND)}


def lazy_zap(world: RaceWorld) -> Actors:
    """A lazy CPU has upper entries cached that lead to the tables freed."""
    for cpu in (1, 0):
        world.run_on(cpu)
        world.write(BASE)()
    return {0: do.zap(world, BASE), 1: do.in_order(do.lazy(world), do.load(world, BASE))}


def _fault(addr: int) -> Callable[[RaceWorld], Actor]:
    return lambda world: do.fault(world, addr)


def _walk(world: RaceWorld) -> Actor:
    return do.walk(world, BASE)


def _gup(world: RaceWorld) -> Actor:
    return do.lockless_walk(world, BASE)


def _mprotect(world: RaceWorld) -> Actor:
    return do.mprotect(world, BASE, PROT_READ)


def _zap(world: RaceWorld) -> Actor:
    return do.zap(world, BASE)


_FAMILY: Final[tuple[tuple[str, tuple[str, ...], str, str, Prepare], ...]] = (
    (
        "fault-zap",
        ("zap", "fault"),
        "a fault comes to a PTE table, or a PMD table, at each gap of its being freed",
        "F8, F9, F20, D2",
        zap_against(_fault(OTHER)),
    ),
    (
        "install-zap",
        ("zap", "fault of another table"),
        "a PTE table is installed in a PMD table at each gap of its being freed",
        "F8, F9, D2",
        zap_against(_fault(SECOND)),
    ),
    (
        "fault-guard",
        ("guard remove", "fault"),
        "as fault-zap, each table flushed at once",
        "F8, D2, D4",
        guard_against(_fault(SECOND)),
    ),
    (
        "zap-zap",
        ("zap", "zap of another table"),
        "two PTE tables leave one PMD table: it is freed once, by who is last",
        "F8, F9",
        two_zaps,
    ),
    (
        "zap-zap-same",
        ("zap", "zap"),
        "two zaps of the same page: each table is freed once",
        "F8",
        zap_against(_zap),
    ),
    (
        "fault-fault",
        ("fault", "fault"),
        "both make all tables: the loser of each race frees its own",
        "F1, D1",
        faults,
    ),
    (
        "gup-zap",
        ("zap", "fast GUP"),
        "a walk without a lock goes on through tables that are freed",
        "F14",
        zap_against(_gup),
    ),
    (
        "walk-zap",
        ("zap", "pagemap"),
        "a visitor keeps what it looks at, and may be the last",
        "F4, F19",
        zap_against(_walk),
    ),
    (
        "mprotect-zap",
        ("zap", "mprotect"),
        "as walk-zap, with mmap_lock for writing and a gather of its own",
        "F4",
        zap_against(_mprotect),
    ),
    (
        "fork-zap",
        ("zap", "fork"),
        "the parent's tables go while the child's are made like them",
        "F7, F9",
        zap_against(do.fork),
    ),
    (
        "munmap-fault",
        ("munmap", "fault"),
        "free_pgtables() meets no table that is counted, and frees none twice",
        "F7, F8",
        munmap_fault,
    ),
    (
        "mremap-zap",
        ("mremap", "zap"),
        "a table that moves is an entry less of one PMD table and one more of another",
        "F9, D11",
        mremap_zap,
    ),
    (
        "mremap-fault",
        ("mremap", "fault"),
        "the PMD table that a move leaves empty is needed again",
        "F9, D2",
        mremap_fault,
    ),
    (
        "lazy-zap",
        ("zap", "lazy, load"),
        "a lazy CPU has upper entries cached that lead to what is freed",
        "F13, D3",
        lazy_zap,
    ),
)

SCENARIOS: Final = (
    *(
        Scenario(
            f"{levels.label}-{name}",
            operations,
            about,
            rules,
            prepare,
            policies=COUNTED,
            free_levels=levels,
        )
        for levels in (FreeLevels.PMD, FreeLevels.PUD)
        for name, operations, about, rules, prepare in _FAMILY
    ),
    Scenario(
        "pud-gup-zap-invlpgb",
        ("zap", "fast GUP"),
        "as pud-gup-zap, where no interrupt holds the walk's CPU back",
        "F14",
        zap_against(_gup),
        policies=COUNTED,
        invlpgb=True,
        free_levels=FreeLevels.PUD,
    ),
    Scenario(
        "pud-zap-fault-fault",
        ("zap", "fault", "fault of another table"),
        "two faults meet the same dying PMD and PUD table",
        "F8, D2",
        zap_against(_fault(OTHER), _fault(SECOND)),
        policies=COUNTED,
        free_levels=FreeLevels.PUD,
    ),
)
