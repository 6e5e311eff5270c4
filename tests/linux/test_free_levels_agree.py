# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the C and the Python engine agree on every state and event of an mm with free_levels too:
the operations of test_engines_agree.py, at addresses where three PTE tables lie in two PMD tables
and two PUD tables.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmu.linux.policy import FreeLevels, FreeTables
from mmu.units import PAGE_SIZE
from tests.linux import test_engines_agree as agree
from tests.linux.world import assert_same, both

START = 0x2000_0000_0000 - (2 << 20)
"""The last 2 MiB below an address where PMD and PUD table change."""
LEVELS = [
    (policy, levels)
    for policy in (FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK)
    for levels in (FreeLevels.PMD, FreeLevels.PUD)
]


def run(policy: FreeTables, levels: FreeLevels, operations: list[tuple[str, int, Any]]) -> None:
    """The operations on both engines, and the end of both."""
    c, python = both(policy, free_levels=levels)
    for world in (c, python):
        world.map(START, agree.SPAN)
    for what, page, argument in operations:
        assert agree.perform(c, what, page, argument) == agree.perform(
            python, what, page, argument
        ), what
        for world in (c, python):
            report = world.mm.check_tables()
            assert report.ok, f"after {what}: {report}"
    assert_same(c, python)
    for world in (c, python):
        world.mm.exit_mmap()
        world.quiesce()
        assert world.tables() == 0
    assert_same(c, python)


@pytest.mark.parametrize(("policy", "levels"), LEVELS, ids=lambda value: value.label)
def test_one_of_each(
    policy: FreeTables, levels: FreeLevels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that makes, empties and moves tables, in an order that does it all."""
    monkeypatch.setattr(agree, "BASE", START)
    edge = 512  # the page where the second PMD table begins
    run(
        policy,
        levels,
        [
            ("write", edge - 2, 4),
            ("fork", 0, 0),
            ("mprotect", edge - 1, (2, 1)),
            ("dontneed", edge, 2),
            ("fast fault", edge + 3, 6),
            ("madvise", edge, (3, agree.ADVICE[5])),
            ("madvise", edge, (513, agree.ADVICE[6])),
            ("mremap", 0, (513, 513)),
            ("no memory", edge, 0),
            ("no memory", edge, 1),
            ("no memory", edge, 2),
            ("map shared", edge, 3),
            ("to user", edge, 3 * PAGE_SIZE),
            ("munmap", edge + 1, 1),
            ("quiesce", 0, 0),
            ("dontneed", 0, agree.SPAN),
            ("write", 0, 1),
            ("munmap", 0, agree.SPAN),
        ],
    )


@pytest.mark.fuzz
@pytest.mark.parametrize(("policy", "levels"), LEVELS, ids=lambda value: value.label)
def test_random_operations(policy: FreeTables, levels: FreeLevels) -> None:
    @settings(max_examples=60, deadline=None)
    @given(operations=st.lists(agree.operation, max_size=25))
    def check(operations: list[tuple[str, int, Any]]) -> None:
        run(policy, levels, operations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agree, "BASE", START)
        check()


@pytest.mark.parametrize(("policy", "levels"), LEVELS[1:3], ids=lambda value: value.label)
def test_a_few_random_operations(policy: FreeTables, levels: FreeLevels) -> None:
    @settings(max_examples=6, deadline=None)
    @given(operations=st.lists(agree.operation, max_size=12))
    def check(operations: list[tuple[str, int, Any]]) -> None:
        run(policy, levels, operations)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agree, "BASE", START)
        check()
