# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the counts in each PTE table's events are one unbroken chain from 1 to 0, and what breaks
it is found, with the events' numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.errors import MmuError
from mmu.events import EVENT_ID, EVENTS, EventRing
from mmu.linux import anon, pte_ref, zap
from mmu.linux.policy import FreeTables
from mmu.trace.chains import Break, Chains, broken_chains
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World
from ucmmu.testing.rings import batch_of

ALLOC, FREE = EVENT_ID["pte_alloc"], EVENT_ID["pte_free"]
GET, PUT = EVENT_ID["pte_get"], EVENT_ID["pte_put"]
PFN = 0x55

Told = tuple[int, ...]


def breaks(*events: Told, whole: bool = True) -> list[Break]:
    """What is found in these events: kind and fields."""
    ring = EventRing(64)
    ring.enable()
    for kind, *fields in events:
        ring.emit(kind, *fields)
    return broken_chains(EVENTS, [batch_of(ring)], whole=whole)


LIFE: list[Told] = [
    (ALLOC, BASE, PFN),
    (GET, PFN, 1, 4),
    (GET, 7, 1, 2),
    (PUT, PFN, 4, 1),
    (PUT, PFN, 1, 0),
    (FREE, BASE, PFN),
]


def test_a_whole_life_is_a_chain() -> None:
    events = [(ALLOC, 0, 7), *LIFE, (PUT, 7, 2, 0), (FREE, 0, 7), *LIFE[:2], *LIFE[3:]]
    assert breaks(*events) == []


@pytest.mark.parametrize(
    ("events", "found"),
    [
        (
            [LIFE[0], (GET, PFN, 2, 3), (PUT, PFN, 3, 0), LIFE[5]],
            Break(PFN, "pte_get", 1, old=2, before=0, expected=1),
        ),
        ([(GET, PFN, 1, 2)], Break(PFN, "pte_get", 0, old=1, before=None, expected=None)),
        ([LIFE[0], (GET, PFN, 1, 2)], Break(PFN, "", None, old=None, before=1, expected=2)),
        (
            [LIFE[0], (GET, PFN, 1, 2), LIFE[5]],
            Break(PFN, "pte_free", 2, old=0, before=1, expected=2),
        ),
        (
            [LIFE[0], (GET, PFN, 1, 2), (EVENT_ID["mm_page_free"], PFN)],
            Break(PFN, "mm_page_free", 2, old=None, before=1, expected=2),
        ),
    ],
    ids=["an event is missing", "no table", "never freed", "freed at 2", "its frame is freed"],
)
def test_a_break_is_found(events: list[Told], found: Break) -> None:
    one, *_ = breaks(*events)
    assert one == found
    assert hex(PFN) in str(one) and "\n" not in str(one)


def test_a_life_may_be_cut_into_batches() -> None:
    ring = EventRing(64)
    ring.enable()
    chains = Chains(EVENTS)
    for kind, *fields in LIFE[:2] + LIFE[3:]:
        ring.emit(kind, *fields)
        chains.feed(batch_of(ring))
    assert (chains.breaks, chains.unfinished(), chains.tables) == ([], [], 1)
    assert chains.changes == 3


def work(world: World) -> None:
    """Fill and empty tables in several ways, and end."""
    world.map(pages=3 * 512)
    for page in (0, 1, 511, 512, 700):
        world.touch(BASE + page * PAGE_SIZE, write=page != 1)
    world.dontneed(BASE, 512)
    world.touch(BASE)
    world.mm.mprotect(BASE, 3 * 512 * PAGE_SIZE, 1)
    world.mm.munmap(BASE + 512 * PAGE_SIZE, 512 * PAGE_SIZE)
    world.exit()


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@pytest.mark.parametrize("engine", ["c", "python"])
def test_what_an_mm_does_is_a_chain(engine: str, policy: FreeTables) -> None:
    world = World(engine, policy)
    work(world)
    chains = Chains(EVENTS)
    chains.feed(batch_of(world.ring))
    assert chains.tables >= 2
    assert chains.is_counted == (policy in (FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK))
    if chains.is_counted:
        assert chains.breaks + chains.unfinished() == []


def lost_put(*_: object) -> None:
    """A visitor's reference that is never dropped (D10)."""


def miscounted(mm: object, table: int, nr: int) -> None:
    """An entry that is not counted: nobody is told either."""


@pytest.mark.parametrize(
    ("module", "name", "variant"),
    [(zap, "pte_put_tlb", lost_put), (anon, "pte_entries_set", miscounted)],
    ids=["a lost put", "an entry not counted"],
)
def test_a_historical_variant_breaks_it(
    module: object, name: str, variant: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World("python")
    monkeypatch.setattr(module, name, variant)
    with pytest.raises((MmuError, AssertionError)):
        work(world)
    assert broken_chains(EVENTS, [batch_of(world.ring)])


def test_two_putters_who_read_one_count_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A count that is no atomic: two changes begin where one did."""
    world = World("python")
    table = pte_ref.pte_alloc_get(world.mm, world.pmd(), BASE)[1]
    pte_ref.pte_get(world.mm, table)
    page = world.memory.page(table)
    old = page.pte_refcount
    pte_ref.pte_put(world.mm, table, BASE)
    page.pte_refcount = old
    pte_ref.pte_put(world.mm, table, BASE)
    (found,) = broken_chains(EVENTS, [batch_of(world.ring)], whole=False)
    assert (found.kind, found.old, found.expected) == ("pte_put", 2, 1)
