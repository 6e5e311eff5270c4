# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: under tree_plru a binary tree over the ways names the victim; a use turns the nodes on its
path away.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.x86 import Access
from tests.x86.accesses import ENGINES, Permutations, pages_on
from tests.x86.arrays import array, geometry, one_set
from ucmmu.testing.tables import VA

PLRU4 = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 1, 0, 3], [3, 0, 1, 2]]
PLRU8 = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [1, 0, 3, 2, 5, 4, 7, 6],
    [2, 1, 0, 3, 6, 5, 4, 7],
    [3, 0, 1, 2, 7, 4, 5, 6],
    [4, 1, 2, 3, 0, 5, 6, 7],
    [5, 0, 3, 2, 1, 4, 7, 6],
    [6, 1, 0, 3, 2, 5, 4, 7],
    [7, 0, 1, 2, 3, 4, 5, 6],
]
"""Permutation vectors as measured on Intel's first-level TLBs (TLB;DR, USENIX Security 2022)."""


@dataclass
class Node:
    """A tree of objects instead of bits; ``older`` is the side whose last use is longer ago."""

    ways: range
    older: int = 0

    def __post_init__(self) -> None:
        half = len(self.ways) // 2
        self.sides = (Node(self.ways[:half]), Node(self.ways[half:])) if half else ()

    def use(self, way: int) -> None:
        for number, side in enumerate(self.sides):
            if way in side.ways:
                self.older = 1 - number
                side.use(way)

    def victim(self) -> int:
        return self.sides[self.older].victim() if self.sides else self.ways[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_by_hand(engine: str) -> None:
    """Four ways. Each step: the page read, and the page that goes."""
    steps = [
        (0, None),  # way 0: the tree's root now points right
        (1, None),  # way 2, the first of the right half
        (2, None),  # way 1
        (3, None),  # way 3
        (0, None),  # a hit: the victim is on the right, where page 1 is older than page 3
        (4, 1),
        (5, 2),  # the left half, where page 0 is younger than page 2
        (6, 3),
        (0, None),
        (7, 4),
        (8, 5),
    ]
    with pages_on(one_set(4, "tree_plru"), engine) as pages:
        for page, gone in steps:
            assert pages.read_and_tell(page) == gone, f"page {page}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ways", [1, 2, 4, 8, 16, 32, 64])
def test_misses_alone_go_round(engine: str, ways: int) -> None:
    """The next to go is the one entered longest ago, in a set that fills and then overflows without
    a hit.
    """
    with pages_on(one_set(ways, "tree_plru"), engine) as pages:
        gone = [pages.read_and_tell(page) for page in range(3 * ways)]
    assert gone == [None] * ways + list(range(2 * ways))


@given(
    st.sampled_from([1, 2, 4, 8, 16, 64]),
    st.lists(st.integers(0, 79), min_size=10, max_size=120),
    st.sampled_from(ENGINES),
)
def test_against_a_tree_of_objects(ways: int, accesses: list[int], engine: str) -> None:
    tree = Node(range(ways))
    places: dict[int, int] = {}
    with pages_on(one_set(ways, "tree_plru"), engine) as pages:
        for page in accesses:
            page %= ways + ways // 4 + 1
            way = next((way for way, held in places.items() if held == page), None)
            if way is None:
                way = tree.victim()
                if way in places and len(places) < ways:
                    way = min(set(range(ways)) - places.keys())
            places[way] = page
            tree.use(way)
            pages.read(page)
        assert pages.resident() == places


@given(
    st.sampled_from([PLRU4, PLRU8]),
    st.lists(st.integers(0, 11), max_size=60),
    st.sampled_from(ENGINES),
)
def test_against_measured_permutations(
    vectors: list[list[int]], accesses: list[int], engine: str
) -> None:
    ways = len(vectors)
    measured = Permutations(vectors, list(reversed(range(ways))))
    with pages_on(one_set(ways, "tree_plru"), engine) as pages:
        pages.read(*range(ways))
        for page in accesses:
            assert pages.read_and_tell(page) == measured.read(page)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_place_goes_before_the_victim(engine: str) -> None:
    """The tree points to page 0; page 3 was invalidated."""
    with pages_on(one_set(4, "tree_plru"), engine) as pages:
        pages.read(0, 1, 2, 3)
        pages.mmu.invlpg(VA + (3 << 12))
        assert pages.read_and_tell(4) is None
        assert pages.read_and_tell(5) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_each_set_has_its_own_tree(engine: str) -> None:
    with pages_on(geometry(array("only", "dtlb", 8, 4, replacement="tree_plru")), engine) as pages:
        pages.read(0, 2, 4, 6, 0)
        pages.read(1, 3, 5, 7)
        assert pages.read_and_tell(8) == 2
        assert pages.read_and_tell(9) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_repeated_use_changes_nothing(engine: str) -> None:
    with pages_on(one_set(4, "tree_plru"), engine) as pages:
        pages.read(0, 1)
        tlb = pages.mmu.c.tlb
        before = tlb.clock, tlb.set[0]
        for _ in range(3):
            pages.mmu.translate(VA + 4096, Access.READ)
        assert (tlb.clock, tlb.set[0]) == before
