# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each defect of the published series shows on two CPUs in its historical variant, and under
the same schedule not in ours, in both designs of the count, direct and gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from mmu.errors import MmuError
from mmu.linux import anon, mmu_gather, pte_ref, rcu
from mmu.linux.free_tables import FreeTablesPolicy
from mmu.linux.locks import lock_table, unlock_table
from mmu.linux.pgtable import entry_pfn
from mmu.linux.policies import RefcountPmdlock
from mmu.linux.policy import FreeTables
from mmu.linux.tlbflush import enter_lazy_tlb
from tests.races import variants
from ucmmu.race.interleaving import Deadlock, Step
from ucmmu.race.world import BASE, PAGE_SIZE, SLOT, Actor, RaceWorld
from ucmmu.testing.variants import Patches, applied

RCU, PMDLOCK, SCAN = FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK, FreeTables.SCAN
OTHER = BASE + PAGE_SIZE

Scenario = Callable[[RaceWorld, str, bool], tuple[dict[int, Actor], Sequence[Step]]]


@dataclass(frozen=True)
class Defect:
    """One defect: the variants by design, what two CPUs do, and what is seen of it."""

    name: str
    patches: dict[FreeTables, Patches]
    scenario: Scenario
    seen: str
    """A pattern of what the variant fails with."""
    forms: tuple[str, ...] = ("direct", "gathered")
    cpus: int = 2


def fault_meets_free(*points: str) -> Scenario:
    """CPU 0 clears the table's only entry, and is stopped at the first of these points that it
    comes to; CPU 1 then faults beside it.
    """

    def scenario(world: RaceWorld, form: str, _: bool) -> Any:
        world.write(BASE)()
        stop = [(0, point) for point in points]
        return (
            {0: world.clear(BASE, form), 1: world.write(OTHER)},
            [*stop, (1, "ended"), (0, "ended")],
        )

    return scenario


def d1(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 0 installs a table; CPU 1 visits it as soon as it can be seen."""
    return {0: world.write(BASE), 1: world.write(OTHER)}, [(0, "published"), (1, "ended")]


def d2(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 0 is preempted once the count is 0, if it ever is before the lock; CPU 1 goes on."""
    world.write(BASE)()
    free, ended = world.clear(BASE, form), []

    def freer() -> None:
        free()
        ended.append(0)

    def faulter() -> None:
        dying = world.frame() and not world.count()
        world.write(OTHER)()
        assert not (dying and ended), "CPU 1 was kept waiting by CPU 0"

    return {0: freer, 1: faulter}, [(0, "free_pte_table"), *[1] * 300, (0, "ended")]


def d3(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 1 has cached the table, and is lazy with the mm as CPU 0 frees it."""
    world.run_on(1)
    world.write(BASE)()
    old = world.frame()
    enter_lazy_tlb(world.kernel)

    def look() -> None:
        assert not world.cached(1, old), "the lazy CPU knows a way through the freed table"

    return {0: world.clear(BASE, form), 1: look}, [(0, "ended"), (1, "ended")]


def d4(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 0 has cached a page and zaps it; the table goes, by CPU 0's gather or by a visitor on
    CPU 1, before CPU 0 flushes; CPU 2 installs its heir.
    """
    world.write(BASE)()
    old, pmd = world.frame(), world.pmd()
    assert world.cached(0, old)

    def visitor() -> None:
        if form == "direct":
            world.visit(BASE)()

    def heir() -> None:
        _, table = pte_ref.pte_alloc_get(world.mm, pmd, BASE)
        left = [world.cached(cpu, old) for cpu in (0, 1, 2)]
        pte_ref.pte_put(world.mm, table, BASE)
        assert not any(left), f"ways through the old table on CPUs: {left}"

    return (
        {0: world.dontneed(BASE), 1: visitor, 2: heir},
        [
            (1, "visiting"),
            (0, "tlb_flush_mmu"),
            (1, "pmd_cleared"),
            (2, "ended"),
            (1, "ended"),
            (0, "ended"),
        ],
    )


def d5(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 1 has the old value of the PMD, in an RCU read section, and takes the table's lock."""
    world.write(BASE)()
    pmd = world.pmd()

    def reader() -> None:
        rcu.rcu_read_lock(world.kernel)
        table = entry_pfn(world.memory.read_u64(pmd))
        world.kernel.point("reader")
        lock_table(world.mm, table)
        unlock_table(world.mm, table)
        rcu.rcu_read_unlock(world.kernel)

    return {0: world.clear(BASE, form), 1: reader}, [(1, "reader"), (0, "ended"), (1, "ended")]


def d6(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 1 looks the table up; CPU 0 frees it meanwhile."""
    world.write(BASE)()
    return (
        {0: world.clear(BASE, form), 1: world.write(OTHER)},
        [(1, "pte_try_get"), (0, "ended"), (1, "ended")],
    )


def d7(world: RaceWorld, form: str, historical: bool) -> Any:
    """A walker on CPU 1 comes when the count is 0, or the PMD none."""
    world.write(BASE)()
    pmd = world.pmd()
    walk = variants.d7_put_after_a_failed_get if historical else variants.walker
    point = "free_pte_table" if world.kernel.policy is RCU else "pmd_cleared"
    return (
        {0: world.clear(BASE, form), 1: lambda: walk(world.mm, pmd, BASE)},
        [(0, point), (1, "ended"), (0, "ended")],
    )


def d8(world: RaceWorld, form: str, historical: bool) -> Any:
    """Both CPUs write where the zero page was read."""
    world.read(BASE)()
    return {0: world.write(BASE), 1: world.write(BASE)}, []


def d10(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 0's fault finds no memory for its page; CPU 1 empties the table."""
    world.write(BASE)()

    def starved() -> None:
        world.starve(True)
        anon._handle_pte_fault(world.mm, world.vma(OTHER), OTHER, True)
        world.starve(False)

    return {0: starved, 1: world.clear(BASE, form)}, [(0, "ended"), (1, "ended")]


def d11(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 1 visits the table; CPU 0 moves it and puts another in its place."""
    world.write(BASE)()

    def mover() -> None:
        assert world.move_table(BASE, BASE + SLOT)()
        world.write(OTHER)()

    return {0: mover, 1: world.visit(BASE)}, [(1, "visiting"), (0, "ended"), (1, "ended")]


def d12(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 1 has set an entry, not counted yet; CPU 0 zaps all there is."""
    world.write(BASE)()
    return (
        {0: world.dontneed(BASE, 2 * PAGE_SIZE), 1: world.write(OTHER)},
        [(1, "pte_entries_set"), (0, "ended"), (1, "ended")],
    )


def scan_midway(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 0's gather is full in the midst of the table; CPU 1 refills it meanwhile."""
    world.write(*(BASE + page * PAGE_SIZE for page in range(4)))()
    world.starve(True)

    def refill() -> None:
        world.starve(False)
        world.write(BASE)()

    return (
        {0: world.dontneed(BASE, SLOT), 1: refill},
        [(0, "tlb_flush_mmu"), (1, "ended"), (0, "ended")],
    )


def scan_two(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 0 zaps a table in stretches, CPU 1 another one in one go."""
    world.write(BASE + SLOT, *(BASE + page * PAGE_SIZE for page in range(4)))()
    world.starve(True)
    return {0: world.dontneed(BASE, SLOT), 1: world.dontneed(BASE + SLOT, SLOT)}, []


def aba(world: RaceWorld, form: str, historical: bool) -> Any:
    """CPU 1 has read the PMD; CPU 0 has the table moved, or freed and used again, elsewhere."""
    world.write(BASE)()
    again = world.write(BASE + SLOT)

    def elsewhere() -> None:
        if world.kernel.policy is RCU:
            assert world.move_table(BASE, BASE + SLOT)()
        else:
            old = world.frame()
            world.clear(BASE, form)()
            page = world.memory.alloc_pages()  # what was freed last is handed out first
            again()
            world.memory.free_pages(page)
            assert world.frame(BASE + SLOT) == old, "the frame was not used again"

    def faulter() -> None:
        world.write(OTHER)()
        assert not world.pte(OTHER + SLOT), "a page was mapped in another table"

    return {0: elsewhere, 1: faulter}, [(1, "pte_try_get"), (0, "ended"), (1, "ended")]


def both(patches: Patches) -> dict[FreeTables, Patches]:
    """The same variant in both designs."""
    return {RCU: patches, PMDLOCK: patches}


_SPIN = {"pte_alloc_get": variants.d2_spins_on_zero}
DEFECTS = [
    Defect(
        "D1",
        both({pte_ref: {"pte_alloc_get": variants.d1_published_before_its_count}}),
        d1,
        "finds 2, the counter says 3|2 entries and counts 1",
        ("direct",),
    ),
    Defect(
        "D2",
        {
            RCU: {pte_ref: _SPIN},
            PMDLOCK: {
                pte_ref: _SPIN,
                RefcountPmdlock: {"put_last": variants.d2_zero_before_the_lock},
            },
        },
        d2,
        "kept waiting",
    ),
    Defect(
        "D3",
        both({mmu_gather: {"flush_tlb_mm_range": variants.d3_without_freed_tables}}),
        d3,
        "the lazy CPU knows a way",
    ),
    Defect(
        "D4 direct",
        both({FreeTablesPolicy: {"free_and_unlock": variants.d4_flushed_after_the_lock}}),
        d4,
        "ways through the old table",
        ("direct",),
        3,
    ),
    Defect(
        "D4 gathered",
        both({FreeTablesPolicy: {"flush_before_install": variants.d4_owed_flush_forgotten}}),
        d4,
        "ways through the old table",
        ("gathered",),
        3,
    ),
    Defect(
        "D5",
        {RCU: {FreeTablesPolicy: {"tlb_remove_tables": variants.d5_lock_freed_at_once}}},
        d5,
        "no CPU can go on",
    ),
    Defect(
        "D6",
        {
            RCU: {FreeTablesPolicy: {"pte_try_get": variants.d6_section_left_open}},
            PMDLOCK: {RefcountPmdlock: {"pte_try_get": variants.d6_lock_kept}},
        },
        d6,
        "LOCK_KEPT|no CPU can go on|LOCK_RECURSION|LOCK_ORDER",
    ),
    Defect("D7", both({}), d7, "PTE_REF_UNDERFLOW"),
    Defect(
        "D8",
        both({anon: {"_do_wp_page": variants.d8_counted_again}}),
        d8,
        "1 entries and counts 2 references",
        ("direct",),
    ),
    Defect(
        "D9, the count is 0",
        {RCU: {anon: {"_handle_pte_fault": variants.d9_sigbus}}},
        fault_meets_free("free_pte_table"),
        "a signal",
    ),
    Defect(
        "D9, the PMD is none",
        both({anon: {"_handle_pte_fault": variants.d9_sigbus}}),
        d6,
        "a signal",
    ),
    Defect("D10", both({anon: {"pte_put": variants.d10_put_lost}}), d10, "PTE_TABLE_LEAKED|counts"),
    Defect(
        "D11",
        both({pte_ref: {"pte_put": variants.d11_rereads_the_pmd}}),
        d11,
        "PTE_TABLE_NOT_EMPTY|counts",
        ("direct",),
    ),
    Defect(
        "D12",
        both({anon: {"pte_put": variants.d12_visitor_gone, "pte_entries_set": variants.nothing}}),
        d12,
        "PTE_REF",
        ("gathered",),
    ),
    Defect(
        "scan, entries refilled midway",
        {SCAN: {FreeTablesPolicy: {"try_to_free_pte": variants.scan_without_a_second_look}}},
        scan_midway,
        "finds 0, the counter says 1",
        ("gathered",),
    ),
    Defect(
        "scan, the PMD lock waited for inside the PTE lock",
        {
            SCAN: {
                FreeTablesPolicy: {"try_get_and_clear_pmd": variants.scan_waits_inside_the_pte_lock}
            }
        },
        scan_two,
        "LOCK_ORDER",
        ("gathered",),
    ),
    Defect(
        "ABA",
        {
            RCU: {FreeTablesPolicy: {"pte_try_get": variants.aba_not_looked_at_again}},
            PMDLOCK: {RefcountPmdlock: {"pte_try_get": variants.aba_not_looked_at_again}},
        },
        aba,
        "in another table",
        ("gathered",),
    ),
    Defect(
        "no atomic",
        both(
            {FreeTablesPolicy: {"table_get": variants.split_get, "table_put": variants.split_put}}
        ),
        lambda world, form, historical: (
            {0: world.write(BASE), 1: world.write(OTHER)},
            [(0, "count read"), (1, "ended"), (0, "ended")],
        ),
        "entries and counts",
        ("direct",),
    ),
]

CASES = [
    pytest.param(defect, policy, form, id=f"{defect.name}-{policy.label}-{form}")
    for defect in DEFECTS
    for policy in defect.patches
    for form in defect.forms
]


@pytest.mark.parametrize(("defect", "policy", "form"), CASES)
def test_the_variant_fails_and_ours_does_not(defect: Defect, policy: FreeTables, form: str) -> None:
    for historical in (True, False):
        world = RaceWorld(policy, defect.cpus)
        world.run_on(0)
        actors, schedule = defect.scenario(world, form, historical)
        with applied(defect.patches[policy]) if historical else nullcontext():
            if not historical:
                world.race(actors, schedule)
                world.settle()
                continue
            with pytest.raises((AssertionError, MmuError, Deadlock), match=defect.seen):
                world.race(actors, schedule)
                world.settle()
