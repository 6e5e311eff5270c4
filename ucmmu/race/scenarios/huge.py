# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of a huge page: a table is collapsed to one, deposited for it, and withdrawn as it is
split; or freed with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mmu.linux.gup_fast import gup_fast_pte
from mmu.linux.handle_mm_fault import peek_pte
from mmu.linux.khugepaged import ScanResult
from mmu.linux.pgtable import PMD_SIZE, entry_pfn, is_guard_pte_marker
from mmu.linux.policy import FreeLevels
from mmu.linux.smp import local_irqs_off
from mmu.units import PAGE_SHIFT
from ucmmu.race import operations as do
from ucmmu.race.scenario import BY_RCU, COUNTED, Actors, Scenario
from ucmmu.race.world import BASE, PAGE_SIZE, SLOT, Actor, RaceWorld

OTHER: Final = BASE + PAGE_SIZE
THIRD: Final = BASE + 2 * PAGE_SIZE
PROT_READ: Final = 1

Prepare = Callable[[RaceWorld], Actors]
Does = Callable[[RaceWorld], Actor]


def _written(world: RaceWorld) -> None:
    """Two pages are written, and CPU 1 has the translation of the first cached."""
    world.run_on(0)
    world.store(world.mm, BASE)
    world.store(world.mm, OTHER)
    world.run_on(1)
    world.read(BASE)()


def _huge(world: RaceWorld, cached_by: int) -> None:
    """They are part of a huge page, and that CPU has its translation cached."""
    _written(world)
    world.run_on(0)
    assert world.mm.collapse_huge_page(BASE) is ScanResult.SUCCEED
    world.run_on(cached_by)
    world.read(BASE)()


def of_huge(*acts: Does, cached_by: int = 1) -> Prepare:
    """Each CPU does something to a huge page."""

    def prepare(world: RaceWorld) -> Actors:
        _huge(world, cached_by)
        return {number: act(world) for number, act in enumerate(acts)}

    return prepare


def collapse_against(other: Does) -> Prepare:
    """CPU 0 collapses what CPU 1 comes to."""

    def prepare(world: RaceWorld) -> Actors:
        _written(world)
        return {0: do.collapse(world, BASE), 1: other(world)}

    return prepare


def byte_at(world: RaceWorld, addr: int) -> int:
    """What is in memory for an address of the world's mm, whichever way it is mapped."""
    frame = entry_pfn(peek_pte(world.mm, addr)) << PAGE_SHIFT
    return world.memory.read(frame + addr % PAGE_SIZE, 1)[0]


def store_to_page(world: RaceWorld) -> Actor:
    """A user writes a byte, which is there at the end, wherever the page is by then."""

    def check() -> None:
        assert byte_at(world, BASE) == 2, "the byte that was written is lost"

    def act() -> None:
        world.store(world.mm, BASE, 2)

    world.at_end.append(check)
    return act


def pin(world: RaceWorld) -> Actor:
    """A walk without a lock takes a page and keeps it: it stays the one that is mapped."""

    def take() -> object:
        with local_irqs_off(world.kernel):
            return gup_fast_pte(world.mm, BASE, True)

    def act() -> None:
        pfn = do.syscall(world, "vmsplice", take)()
        if not isinstance(pfn, int):
            return
        world.kernel.point("pinned")
        mapped = entry_pfn(peek_pte(world.mm, BASE))
        assert mapped in (0, pfn), "the pinned page is not the one that is mapped"
        world.memory.put_page(pfn)

    return act


def loads(world: RaceWorld) -> Actor:
    """A user reads the page, and again after a while."""
    return do.in_order(do.load(world, BASE), do.user(world), do.load(world, BASE))


def zap_page(world: RaceWorld) -> Actor:
    """One page goes: of a huge page, the split."""
    return do.zap(world, BASE)


def zap_other(world: RaceWorld) -> Actor:
    """Another page goes."""
    return do.zap(world, OTHER)


def zap_all(world: RaceWorld) -> Actor:
    """All 2 MiB go: of a huge page, whole."""
    return do.zap(world, BASE, PMD_SIZE)


def zap_all_of_it(world: RaceWorld) -> Actor:
    """The same, and nothing of it is left, though nobody faults."""

    def check() -> None:
        assert not world.mm.check_tables().anon_pages, "a page is left of what was zapped"

    world.at_end.append(check)
    return zap_all(world)


def munmap_all(world: RaceWorld) -> Actor:
    """All 2 MiB, and their VMA."""
    return do.munmap(world, BASE, PMD_SIZE)


def oom_reap(world: RaceWorld) -> Actor:
    """The OOM reaper zaps all there is."""
    return do.oom_reap(world)


def fork(world: RaceWorld) -> Actor:
    """A child gets the pages, one by one."""
    return do.fork(world)


def mremap(world: RaceWorld) -> Actor:
    """The pages move to the next slot."""
    return do.mremap(world, BASE, BASE + SLOT)


def guard_install(world: RaceWorld) -> Actor:
    """A marker comes in the place of one page, whoever faults meanwhile."""

    def check() -> None:
        assert is_guard_pte_marker(peek_pte(world.mm, OTHER)), "the marker is not there"

    world.at_end.append(check)
    return do.guard_install(world, OTHER)


def exit_mm(world: RaceWorld) -> Actor:
    """The process goes."""
    return do.exit_mm(world)


def lazy(world: RaceWorld) -> Actor:
    """A CPU that is lazy for a while."""
    return do.lazy(world)


def fault_same(world: RaceWorld) -> Actor:
    """A user writes to the first page."""
    return do.fault(world, BASE)


def fault_once(world: RaceWorld) -> Actor:
    """The same, and that is all."""
    return do.fault_once(world, BASE)


def fault_marked(world: RaceWorld) -> Actor:
    """A user writes to the page that a marker comes for."""
    return do.fault_once(world, OTHER)


def split(world: RaceWorld) -> Actor:
    """Somebody wants single pages."""
    return do.split(world, BASE)


def fault_other(world: RaceWorld) -> Actor:
    """A user writes to another page."""
    return do.fault(world, THIRD)


def gup(world: RaceWorld) -> Actor:
    """A walk without a lock to the first page."""
    return do.lockless_walk(world, BASE)


def walk(world: RaceWorld) -> Actor:
    """Somebody reads pagemap."""
    return do.walk(world, BASE)


def protect(world: RaceWorld) -> Actor:
    """Rights of the first page are taken."""
    return do.mprotect(world, BASE, PROT_READ)


def lazy_load(world: RaceWorld) -> Actor:
    """CPU 1 becomes lazy, and comes back."""
    return do.in_order(do.lazy(world), do.load(world, BASE))


def collapse(world: RaceWorld) -> Actor:
    """The same table is collapsed."""
    return do.collapse(world, BASE)


def visit(world: RaceWorld) -> Actor:
    """A visitor of the table."""
    return do.visit(world, BASE)


def rcu_reader(world: RaceWorld) -> Actor:
    """A reader of the old PMD locks the table."""
    return do.rcu_reader(world, BASE)


def collapse_and(zap: Does, other: Does) -> Prepare:
    """CPU 0 collapses, and zaps a page, so that the table is back in its PMD entry, or all, so that
    it is freed.
    """

    def prepare(world: RaceWorld) -> Actors:
        _written(world)
        return {0: do.in_order(do.collapse(world, BASE), zap(world)), 1: other(world)}

    return prepare


SCENARIOS: Final = (
    Scenario(
        "split-zap",
        ("zap a page", "zap a page"),
        "two zaps of one huge page split it: the deposited table is withdrawn once",
        "F2, F8",
        of_huge(zap_page, zap_other),
    ),
    Scenario(
        "split-fault",
        ("zap a page", "fault"),
        "a fault comes to a huge PMD that is being split: not present, then a table",
        "F2, F20, D9",
        of_huge(zap_page, fault_other),
    ),
    Scenario(
        "split-fault-same",
        ("zap a page", "fault"),
        "the page that the split is for is faulted in again",
        "F2, F13",
        of_huge(zap_page, fault_same),
    ),
    Scenario(
        "split-load",
        ("mprotect", "load, load"),
        "a user reads by the large translation until it is flushed, then by small ones",
        "F13, D4",
        of_huge(protect, loads),
    ),
    Scenario(
        "split-gup",
        ("zap a page", "fast GUP"),
        "a walk without a lock reads the PMD huge, not present, or a table",
        "F14",
        of_huge(zap_page, gup),
    ),
    Scenario(
        "split-lazy",
        ("zap a page", "lazy, load"),
        "a lazy CPU has the large translation, and comes back when there are small ones",
        "F13, D3",
        of_huge(zap_page, lazy_load),
    ),
    Scenario(
        "split-walk",
        ("zap a page", "pagemap"),
        "a walker finds the huge PMD or the table that follows it",
        "F4, F19",
        of_huge(zap_page, walk),
    ),
    Scenario(
        "split-zap-2M",
        ("zap 2 MiB", "split"),
        "a zap takes the huge PMD whole, or finds the table that has come of it",
        "F8, F11",
        of_huge(zap_all_of_it, split),
    ),
    Scenario(
        "huge-zap-zap",
        ("zap 2 MiB", "zap 2 MiB"),
        "two zaps of one huge page: its table is freed once",
        "F8",
        of_huge(zap_all, zap_all),
    ),
    Scenario(
        "huge-zap-fault",
        ("zap 2 MiB", "fault"),
        "a table comes where a CPU has the large translation cached",
        "F13, D4",
        of_huge(zap_all, fault_same, cached_by=0),
    ),
    Scenario(
        "huge-zap-gup",
        ("zap 2 MiB", "fast GUP"),
        "a walk without a lock takes a page of the huge page that goes",
        "F14",
        of_huge(zap_all, gup),
    ),
    Scenario(
        "huge-munmap-gup",
        ("munmap", "fast GUP"),
        "as huge-zap-gup, and free_pgtables() comes after it",
        "F7, F14",
        of_huge(munmap_all, gup),
    ),
    Scenario(
        "huge-oom-split",
        ("OOM reaper", "split"),
        "the reaper takes the huge PMD whole, or finds the table that has come of it",
        "F8",
        of_huge(oom_reap, split),
    ),
    Scenario(
        "huge-exit-lazy",
        ("process exit", "lazy"),
        "the deposited table goes with the mm, under a CPU that is lazy",
        "F7, D3",
        of_huge(exit_mm, lazy),
    ),
    Scenario(
        "huge-fork-gup",
        ("fork", "fast GUP"),
        "fork splits what a walk without a lock is in",
        "F2, F14",
        of_huge(fork, gup),
    ),
    Scenario(
        "huge-mremap-gup",
        ("mremap", "fast GUP"),
        "mremap splits it, and moves the table that comes of it",
        "F2, F14, D11",
        of_huge(mremap, gup),
    ),
    Scenario(
        "huge-guard-fault",
        ("guard install", "fault"),
        "the install splits it, zaps a page, and tries again if that is faulted in",
        "F2",
        of_huge(guard_install, fault_marked),
    ),
    Scenario(
        "collapse-store",
        ("collapse", "store"),
        "what a user writes by an old translation is not lost by the copy",
        "F13",
        collapse_against(store_to_page),
    ),
    Scenario(
        "collapse-fault",
        ("collapse", "fault"),
        "a fault of an entry that was none, before or after all are one",
        "F2, VMA lock",
        collapse_against(fault_other),
    ),
    Scenario(
        "collapse-zap",
        ("collapse", "zap a page"),
        "an entry goes before its table is collapsed, or the huge page is split: whose is the put?",
        "F2, F8, D11",
        collapse_against(zap_page),
    ),
    Scenario(
        "collapse-collapse",
        ("collapse", "collapse"),
        "one table is deposited once",
        "F2",
        collapse_against(collapse),
    ),
    Scenario(
        "collapse-visit",
        ("collapse", "visit"),
        "a visitor comes to the table before its collapse, or finds the PMD huge after it",
        "F4, D7",
        collapse_against(visit),
        COUNTED,
    ),
    Scenario(
        "collapse-gup",
        ("collapse", "fast GUP"),
        "a walk without a lock holds a page that is about to be copied, or is in the table",
        "F14",
        collapse_against(gup),
    ),
    Scenario(
        "collapse-pin",
        ("collapse", "fast GUP, kept"),
        "a page that somebody has a reference of stays the one that is mapped",
        "F14",
        collapse_against(pin),
    ),
    Scenario(
        "collapse-gup-invlpgb",
        ("collapse", "fast GUP"),
        "as collapse-gup where the flush is a broadcast and sends no IPI",
        "F14",
        collapse_against(gup),
        invlpgb=True,
    ),
    Scenario(
        "collapse-lazy",
        ("collapse", "lazy, load"),
        "a lazy CPU has paging-structure-cache entries of the table that stops being one",
        "F13, D3",
        collapse_against(lazy_load),
    ),
    Scenario(
        "deposit-rcu-reader",
        ("collapse, zap 2 MiB", "RCU reader"),
        "who has read the PMD before the collapse locks the table that was deposited, and is freed",
        "F14, D5",
        collapse_and(zap_all, rcu_reader),
        BY_RCU,
    ),
    Scenario(
        "deposit-gup",
        ("collapse, zap a page", "fast GUP"),
        "a walk that began before the collapse ends when the table is back in its PMD entry",
        "F14, ABA",
        collapse_and(zap_other, gup),
    ),
    Scenario(
        "pmd-huge-zap-fault",
        ("zap 2 MiB", "fault"),
        "the huge PMD was the last entry of its PMD table",
        "F8, F9, D2",
        of_huge(zap_all, fault_once, cached_by=0),
        COUNTED,
        free_levels=FreeLevels.PMD,
    ),
)
