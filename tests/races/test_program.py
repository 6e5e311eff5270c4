# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a schedule is one word that stands for exactly its steps; two steps are dependent if one
writes what the other touches.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucmmu.race.happens import Objects
from ucmmu.race.program import (
    EVERYTHING,
    Actor,
    Kind,
    StepAccess,
    format_schedule,
    parse_schedule,
)

ACTORS = st.builds(Actor, st.integers(0, 9), st.sampled_from(Kind))


@given(st.lists(ACTORS, max_size=30))
def test_a_schedule_and_its_text(schedule: list[Actor]) -> None:
    assert parse_schedule(format_schedule(schedule)) == tuple(schedule)


def test_a_text_and_its_schedule() -> None:
    zero, one = Actor(0), Actor(1)
    assert parse_schedule(" 0*3, 1,0d,1i*2,0g ") == (
        *(zero, zero, zero, one, Actor(0, Kind.DRAIN)),
        *(Actor(1, Kind.INTERRUPT), Actor(1, Kind.INTERRUPT), Actor(0, Kind.GRACE_PERIOD)),
    )
    assert format_schedule([zero, zero, one, Actor(0, Kind.DRAIN)]) == "0*2,1,0d"
    assert parse_schedule("") == ()


@pytest.mark.parametrize(
    "text", ["x", "0*", "0*0", "0*-1", "*3", "0x", "0*9999999", "0 1", "٣", "0,,1", "0,"]
)
def test_what_is_no_schedule_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"no actor|a number of steps"):
        parse_schedule(text)


SETS = st.frozensets(st.integers(0, 3), max_size=2)
ACCESSES = st.builds(StepAccess, SETS, SETS, SETS, SETS, SETS, SETS, st.booleans())


@given(ACCESSES, ACCESSES)
def test_masks_conflict_as_their_accesses_do(one: StepAccess, two: StepAccess) -> None:
    objects = Objects()
    conflict = objects.masks(one).conflict(objects.masks(two))
    assert bool(conflict) is one.conflicts_with(two) is two.conflicts_with(one)


def test_what_is_early_bars_no_step_from_being_put_first() -> None:
    """But the other one is not put before it."""
    x, y = frozenset({"x"}), frozenset({"y"})
    objects = Objects()
    store = objects.masks(StepAccess(writes=x))
    interrupt = objects.masks(StepAccess(reads=x, writes=y, early=x))
    assert not store.bars(interrupt) and interrupt.bars(store)
    assert objects.masks(StepAccess(writes=x | y)).bars(interrupt)


def test_what_conflicts() -> None:
    x = frozenset({"x"})
    reads, writes, adds = StepAccess(reads=x), StepAccess(writes=x), StepAccess(adds=x)
    takes, frees = StepAccess(waits=x, takes=x), StepAccess(frees=x)
    free = [(reads, reads), (adds, adds), (StepAccess(), writes)]
    for one, two in free:
        assert not one.conflicts_with(two)
    for one, two in [(reads, writes), (writes, writes), (adds, reads), (adds, writes)]:
        assert one.conflicts_with(two) and two.conflicts_with(one)
    assert takes.conflicts_with(frees) and takes.conflicts_with(takes)
    assert EVERYTHING.conflicts_with(StepAccess())
