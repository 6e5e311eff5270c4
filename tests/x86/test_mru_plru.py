# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: under mru_plru the victim is in group (group used last + 1) mod groups of four ways, where
its tree points.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.x86.accesses import ENGINES, Permutations, pages_on
from tests.x86.arrays import one_set

MRU3_PLRU4 = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    [1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11, 9],
    [2, 0, 1, 5, 3, 4, 8, 6, 7, 11, 9, 10],
    [3, 1, 2, 0, 4, 5, 9, 7, 8, 6, 10, 11],
    [4, 2, 0, 1, 5, 3, 10, 8, 6, 7, 11, 9],
    [5, 0, 1, 2, 3, 4, 11, 6, 7, 8, 9, 10],
    [6, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11],
    [7, 2, 0, 4, 5, 3, 1, 8, 6, 10, 11, 9],
    [8, 0, 1, 5, 3, 4, 2, 6, 7, 11, 9, 10],
    [9, 1, 2, 0, 4, 5, 3, 7, 8, 6, 10, 11],
    [10, 2, 0, 1, 5, 3, 4, 8, 6, 7, 11, 9],
    [11, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
]
"""Permutation vectors as measured on Intel's second-level TLB (TLB;DR, USENIX Security 2022): 99.9
% agreement.
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_by_hand(engine: str) -> None:
    """Twelve ways. A set fills group by group, so pages 0, 3, 6, 9 share one group, 1, 4, 7, 10 the
    next.
    """
    with pages_on(one_set(12, "mru_plru"), engine) as pages:
        pages.read(*range(12))
        groups = [
            {page for way, page in pages.resident().items() if way // 4 == group}
            for group in range(3)
        ]
        assert sorted(map(sorted, groups)) == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
        assert (
            pages.read_and_tell(12) == 0
        )  # page 11 was last: its group's successor is that of page 0
        pages.read(2)  # a use of the third group: the first one is next, where page 3 is the oldest
        assert pages.read_and_tell(13) == 3
        pages.read(6)  # the first: the second is next, untouched so far
        assert pages.read_and_tell(14) == 1
        assert pages.read_and_tell(15) == 5  # the third, where a hit has spared page 2
        pages.read(
            4
        )  # the second: the third again, whose tree points back to page 2's half: 2 and 8
        assert pages.read_and_tell(16) == 8


@given(st.lists(st.integers(0, 15), max_size=80), st.sampled_from(ENGINES))
def test_against_measured_permutations(accesses: list[int], engine: str) -> None:
    measured = Permutations(MRU3_PLRU4, list(reversed(range(12))))
    with pages_on(one_set(12, "mru_plru"), engine) as pages:
        pages.read(*range(12))
        for page in accesses:
            assert pages.read_and_tell(page) == measured.read(page)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ways", [4, 8, 12, 24, 56])
def test_misses_alone_go_round(engine: str, ways: int) -> None:
    with pages_on(one_set(ways, "mru_plru"), engine) as pages:
        gone = [pages.read_and_tell(page) for page in range(2 * ways)]
    assert gone == [None] * ways + list(range(ways))


@given(st.lists(st.integers(0, 5), max_size=40), st.sampled_from(ENGINES))
def test_one_group_is_a_tree(accesses: list[int], engine: str) -> None:
    told = []
    for replacement in ("mru_plru", "tree_plru"):
        with pages_on(one_set(4, replacement), engine) as pages:
            told.append([pages.read_and_tell(page) for page in accesses])
    assert told[0] == told[1]


@given(
    st.sampled_from([8, 16, 56]),
    st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=60),
    st.sampled_from(ENGINES),
)
def test_the_group_used_last_is_spared(
    ways: int, accesses: list[tuple[bool, int]], engine: str
) -> None:
    """Whatever was read before: the victim is never in the group of the last use, but in the one
    after it.
    """
    with pages_on(one_set(ways, "mru_plru"), engine) as pages:
        pages.read(*range(ways))
        fresh = ways
        last = ways // 4 - 1 if pages.resident()[ways - 1] == ways - 1 else None
        for hit, page in accesses:
            places = pages.resident()
            if hit:
                way = page % ways
                pages.read(places[way])
                last = way // 4
                continue
            pages.read(fresh)
            way = next(way for way, held in pages.resident().items() if held == fresh)
            if last is not None:
                assert way // 4 == (last + 1) % (ways // 4)
            last, fresh = way // 4, fresh + 1
