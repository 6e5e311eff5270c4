# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of what CPUs have cached: flushes, lazy CPUs, walkers without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mmu.linux.mm import Mm
from mmu.linux.mman import MADV_GUARD_INSTALL
from mmu.linux.tlbflush import switch_mm
from ucmmu.race import operations as do
from ucmmu.race.scenario import COUNTED, Actors, Scenario
from ucmmu.race.world import BASE, PAGE_SIZE, Actor, RaceWorld

OTHER: Final = BASE + PAGE_SIZE
PROT_READ: Final = 1


def _known_to_both(world: RaceWorld) -> None:
    """The page is written, and both CPUs have its translation cached."""
    for cpu in (1, 0):
        world.run_on(cpu)
        world.write(BASE)()


def _loads(world: RaceWorld) -> Actor:
    """A user reads the page, and again after a while."""
    return do.in_order(do.load(world, BASE), do.user(world), do.load(world, BASE))


def lazy_zap(world: RaceWorld) -> Actors:
    """CPU 1 becomes lazy, and comes back; what it has cached must not lead to what was freed."""
    _known_to_both(world)
    return {0: do.zap(world, BASE), 1: do.in_order(do.lazy(world), do.load(world, BASE))}


def lazy_zap_fault(world: RaceWorld) -> Actors:
    """The same, and the table has an heir."""
    return {**lazy_zap(world), 2: do.fault(world, OTHER)}


def lazy_zap_page(world: RaceWorld) -> Actors:
    """The table keeps an entry: a lazy CPU is spared, and catches up when it comes back."""
    world.run_on(0)
    world.write(OTHER)()
    return {**lazy_zap(world), 1: do.in_order(do.lazy(world), _loads(world))}


def lazy_guard(world: RaceWorld) -> Actors:
    """CPU 1 is lazy while the table is freed without a gather, after its last page was zapped."""
    world.run_on(0)
    world.mm.madvise(OTHER, PAGE_SIZE, MADV_GUARD_INSTALL)
    _known_to_both(world)
    free = do.in_order(do.zap(world, BASE), do.guard_remove(world, OTHER))
    return {0: free, 1: do.in_order(do.lazy(world), do.load(world, BASE))}


def switch_zap(world: RaceWorld) -> Actors:
    """CPU 1 runs another process for a while, and comes back to the ASID it had."""
    _known_to_both(world)
    other = Mm(world.kernel)
    world.children.append(other)
    back = (do.switch_to(world, other), do.switch_to(world, world.mm))
    return {0: do.zap(world, BASE), 1: do.in_order(*back, do.load(world, BASE))}


def load_zap(world: RaceWorld) -> Actors:
    """A user on CPU 1 reads what CPU 0 zaps, before, during and after."""
    _known_to_both(world)
    return {0: do.zap(world, BASE), 1: _loads(world)}


def gup(op: Callable[[RaceWorld], object], with_guard: bool = False) -> Callable[..., Actors]:
    """A walk without a lock, against what frees the table."""

    def prepare(world: RaceWorld) -> Actors:
        world.run_on(0)
        if with_guard:
            world.mm.madvise(BASE, PAGE_SIZE, MADV_GUARD_INSTALL)
        else:
            world.write(BASE)()
        return {0: op(world), 1: do.lockless_walk(world, BASE)}  # type: ignore[dict-item]

    return prepare


def gup_slow(world: RaceWorld) -> Actors:
    """get_user_pages_fast() with its slow way, which faults the page in again."""
    world.run_on(0)
    world.write(BASE)()
    return {0: do.zap(world, BASE), 1: do.gup_fast(world, BASE)}


def mprotect_load(world: RaceWorld) -> Actors:
    """Rights are taken while a user on another CPU uses the page."""
    _known_to_both(world)
    return {
        0: do.mprotect(world, BASE, PROT_READ),
        1: _loads(world),
    }


def flush_zap(world: RaceWorld) -> Actors:
    """A flush of everything beside the zap's own."""
    _known_to_both(world)
    return {0: do.zap(world, BASE), 1: do.flush(world)}


def flush_switch(world: RaceWorld) -> Actors:
    """CPU 1 loads the mm while CPU 0 begins a flush: one of them sees the other."""
    _known_to_both(world)
    world.run_on(1)
    other = Mm(world.kernel)
    world.children.append(other)
    switch_mm(world.kernel, other)
    return {
        0: do.zap(world, BASE),
        1: do.in_order(do.switch_to(world, world.mm), do.load(world, BASE)),
    }


def flush_switch_page(world: RaceWorld) -> Actors:
    """The table keeps an entry: the flush asks only those CPUs that have the mm loaded."""
    world.run_on(0)
    world.write(OTHER)()
    return flush_switch(world)


def zap(world: RaceWorld) -> object:
    """The gathered form."""
    return do.zap(world, BASE)


def guard(world: RaceWorld) -> object:
    """The direct form."""
    return do.guard_remove(world, BASE)


def munmap(world: RaceWorld) -> object:
    """All that is mapped goes."""
    return do.munmap(world, BASE, PAGE_SIZE)


SCENARIOS: Final = (
    Scenario(
        "lazy-zap",
        ("zap", "lazy, load"),
        "a lazy CPU keeps paging-structure-cache entries; freeing a table must reach it",
        "F13, D3",
        lazy_zap,
    ),
    Scenario(
        "lazy-guard",
        ("zap, guard remove", "lazy, load"),
        "as lazy-zap, freed without a gather",
        "F13, D3",
        lazy_guard,
    ),
    Scenario(
        "lazy-zap-fault",
        ("zap", "lazy, load", "fault"),
        "as lazy-zap, and a new table comes into the slot",
        "F13, D3, D4",
        lazy_zap_fault,
    ),
    Scenario(
        "lazy-zap-page",
        ("zap", "lazy, load, load"),
        "no table is freed: a lazy CPU is spared, and catches up with the flush as it comes back",
        "F13",
        lazy_zap_page,
    ),
    Scenario(
        "switch-zap",
        ("zap", "switch, load"),
        "a CPU that ran another process catches up with the flushes it missed",
        "F13",
        switch_zap,
    ),
    Scenario(
        "flush-switch",
        ("zap", "switch, load"),
        "a CPU loads the mm while a flush begins: either sees the other",
        "F13",
        flush_switch,
    ),
    Scenario(
        "flush-switch-page",
        ("zap", "switch, load"),
        "as flush-switch, and no table is freed: who has another mm loaded is not asked",
        "F13",
        flush_switch_page,
    ),
    Scenario(
        "load-zap",
        ("zap", "load, load"),
        "a user reads through cached translations until they are flushed, not after",
        "F13",
        load_zap,
    ),
    Scenario(
        "flush-zap",
        ("zap", "flush"),
        "a full flush beside the zap's own",
        "F13",
        flush_zap,
    ),
    Scenario(
        "mprotect-load",
        ("mprotect", "load, load"),
        "rights are taken from a page in use",
        "F2, F13",
        mprotect_load,
    ),
    Scenario(
        "gup-zap",
        ("zap", "fast GUP"),
        "a walker with interrupts off holds the frame of the table",
        "F14",
        gup(zap),
    ),
    Scenario(
        "gup-guard",
        ("guard remove", "fast GUP"),
        "as gup-zap, freed without a gather",
        "F14, F15",
        gup(guard, with_guard=True),
    ),
    Scenario(
        "gup-munmap",
        ("munmap", "fast GUP"),
        "as gup-zap, with the table's last VMA",
        "F9, F14",
        gup(munmap),
    ),
    Scenario(
        "gup-slow-zap",
        ("zap", "GUP"),
        "fast GUP fails and faults in what was zapped",
        "F14, F19",
        gup_slow,
    ),
    Scenario(
        "gup-zap-invlpgb",
        ("zap", "fast GUP"),
        "as gup-zap where the flush is a broadcast and sends no IPI",
        "F14",
        gup(zap),
        invlpgb=True,
    ),
    Scenario(
        "gup-guard-invlpgb",
        ("guard remove", "fast GUP"),
        "as gup-guard where the flush is a broadcast and sends no IPI",
        "F14, F15",
        gup(guard, with_guard=True),
        COUNTED,
        invlpgb=True,
    ),
    Scenario(
        "load-zap-invlpgb",
        ("zap", "load, load"),
        "as load-zap where the flush is a broadcast",
        "F13",
        load_zap,
        invlpgb=True,
    ),
)
