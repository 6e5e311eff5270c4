# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: under fifo the entry that came first goes, under random any, by a seeded sequence; hits
count in neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.x86.accesses import ENGINES, pages_on
from tests.x86.arrays import one_set
from ucmmu.testing.tables import VA


def xorshift64(seed: int) -> Iterator[int]:
    """Marsaglia, Xorshift RNGs (2003), the triple 13, 7, 17; each step on a list of 64 bits, lowest
    first.
    """
    bits = [seed >> i & 1 for i in range(64)]
    while True:
        for shift in (13, -7, 17):
            bits = [bits[i] ^ (bits[i - shift] if 0 <= i - shift < 64 else 0) for i in range(64)]
        yield sum(bit << i for i, bit in enumerate(bits))


def test_the_reference_sequence() -> None:
    """The first value of seed 1 by hand: 1, with 2^13; with 2^13 >> 7 = 2^6; with each << 17."""
    assert next(xorshift64(1)) == 1 ^ 1 << 13 ^ 1 << 6 ^ (1 ^ 1 << 13 ^ 1 << 6) << 17


@given(
    st.sampled_from([1, 2, 3, 8]),
    st.lists(st.integers(0, 9), max_size=60),
    st.sampled_from(ENGINES),
)
def test_fifo_against_a_queue(ways: int, accesses: list[int], engine: str) -> None:
    queue: deque[int] = deque()
    with pages_on(one_set(ways, "fifo"), engine) as pages:
        for page in accesses:
            gone = None
            if page not in queue:
                gone = queue.popleft() if len(queue) == ways else None
                queue.append(page)
            assert pages.read_and_tell(page) == gone


@given(
    st.sampled_from([2, 3, 8]),
    st.lists(st.integers(0, 9), max_size=60),
    st.integers(1, (1 << 64) - 1),
    st.sampled_from(ENGINES),
)
def test_random_follows_its_seed(ways: int, accesses: list[int], seed: int, engine: str) -> None:
    sequence = xorshift64(seed)
    places: dict[int, int] = {}
    with pages_on(one_set(ways, "random", seed=seed), engine) as pages:
        for page in accesses:
            if page not in places.values():
                way = len(places) if len(places) < ways else next(sequence) % ways
                places[way] = page
            pages.read(page)
            assert pages.resident() == places


@pytest.mark.parametrize("engine", ENGINES)
def test_random_reaches_every_way(engine: str) -> None:
    with pages_on(one_set(8, "random"), engine) as pages:
        pages.read(*range(8))
        ways = set()
        for page in range(8, 100):
            pages.read(page)
            ways |= {way for way, held in pages.resident().items() if held == page}
    assert ways == set(range(8))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("replacement", ["fifo", "random"])
def test_hits_do_not_count(engine: str, replacement: str) -> None:
    with pages_on(one_set(4, replacement), engine) as pages:
        pages.read(0, 1, 2)
        tlb = pages.mmu.c.tlb
        before = tlb.clock, tlb.random, [entry.used for entry in pages.mmu.entries()]
        pages.read(0, 1, 0, 2)
        assert (tlb.clock, tlb.random, [entry.used for entry in pages.mmu.entries()]) == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("replacement", ["fifo", "random"])
def test_an_empty_place_goes_first(engine: str, replacement: str) -> None:
    with pages_on(one_set(4, replacement), engine) as pages:
        pages.read(0, 1, 2, 3)
        pages.mmu.invlpg(VA + (2 << 12))
        drawn = pages.mmu.c.tlb.random
        assert pages.read_and_tell(4) is None
        assert pages.resident()[2] == 4
        assert pages.mmu.c.tlb.random == drawn
