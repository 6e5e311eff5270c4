# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: unmapping frees the tables that map nothing of a neighbour, and those only
(free_pgd_range()).
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.linux.policy import FreeTables
from mmu.units import PAGE_SIZE
from tests.linux.world import World

SLOT = 0x3000_0000_0000
SIZES = {1: 1 << 21, 2: 1 << 30, 3: 1 << 39}
"""Bytes that one table maps: 1 a PTE table, 2 a PMD table, 3 a PUD table."""


def reach(addr: int, level: int) -> tuple[int, int]:
    size = SIZES[level]
    return addr & -size, (addr & -size) + size


def tables_of(pages: set[int], level: int) -> set[int]:
    return {reach(page, level)[0] for page in pages}


# Pages at the seams of tables of every level, and close to them.
places = st.builds(
    lambda level, index, offset: SLOT + SIZES[level] * index + offset * PAGE_SIZE,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(-2, 2),
)


@pytest.mark.parametrize("policy", list(FreeTables), ids=lambda policy: policy.label)
@pytest.mark.parametrize("engine", ["c", "python"])
@given(pages=st.sets(places, min_size=1, max_size=8), data=st.data())
def test_tables_follow_their_vmas(
    engine: str, policy: FreeTables, pages: set[int], data: st.DataObject
) -> None:
    """One-page VMAs, each touched, unmapped in any order: a table stays while a VMA that is left
    lies in its reach, and goes with the last one (an upper table that only a hole still needs is
    gone, as in Linux).
    """
    world = World(engine, policy, exact=False)
    for page in pages:
        world.map(page, 1)
        world.touch(page)
    left = set(pages)
    assert world.tables() == sum(len(tables_of(left, level)) for level in SIZES)
    for page in data.draw(st.permutations(sorted(pages))):
        world.mm.munmap(page, PAGE_SIZE)
        left.discard(page)
        assert world.tables() == sum(len(tables_of(left, level)) for level in SIZES)
    assert world.tables() == 0
    world.exit()


@pytest.mark.parametrize("engine", ["c", "python"])
def test_a_shared_table_stays_with_the_neighbour(engine: str) -> None:
    """Under never and scan the PTE table of a touched and unmapped half stays while the other half
    is mapped.
    """
    for policy in (FreeTables.NEVER, FreeTables.SCAN):
        world = World(engine, policy)
        world.map(SLOT, 256)
        world.mm.mmap(SLOT + 256 * PAGE_SIZE, 256 * PAGE_SIZE, 1, 0x32)
        world.touch(SLOT)
        world.mm.munmap(SLOT, 256 * PAGE_SIZE)
        assert world.tables() == 3
        world.mm.munmap(SLOT + 256 * PAGE_SIZE, 256 * PAGE_SIZE)
        assert world.tables() == 0
