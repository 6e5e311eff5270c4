# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the explorer finds in the races of textbooks what is there, and nothing else, and runs as
many schedules as the literature counts traces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.races.classics import (
    dekker,
    double_checked,
    filesystem,
    indexer,
    lastzero,
    litmus,
    peterson,
    readers,
    treiber,
)
from ucmmu.race.dpor import Dpor
from ucmmu.race.explore import Found, explore
from ucmmu.race.textbook import Fence, Load, Rmw, Store, Text, TextProgram

X1, Y1, RX, RY, MB = Store("x", 1), Store("y", 1), Load("x"), Load("y"), Fence()


def programs(text: Text, *, tso: bool = False) -> Callable[[], TextProgram]:
    return lambda: TextProgram(text, tso=tso)


def outcomes(text: Text, *, tso: bool) -> set[Any]:
    """The states that all orders end in."""
    exploration = Dpor(programs(text, tso=tso))
    states = set()
    while (told := exploration.next_run()) is not None:
        if told.trace is not None:
            states.add(told.run.program.state())
    return states


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *((readers(n), 2**n) for n in (1, 2, 5, 8)),
        *((lastzero(n), (n + 3) * 2 ** (n - 2)) for n in (2, 3, 5, 6)),
        *((indexer(n), count) for n, count in ((2, 1), (11, 1), (12, 8), (13, 64))),
        *((filesystem(n), count) for n, count in ((13, 1), (14, 2), (16, 8))),
    ],
)
def test_one_run_of_each_trace_as_published(text: Text, count: int) -> None:
    """readers, lastzero, indexer and filesystem of Flanagan and Godefroid 2005, Abdulla et al.
    2014: no run is redundant, and none is cut short by a sleep set.
    """
    exploration = Dpor(programs(text))
    traces, runs = set(), 0
    while (told := exploration.next_run()) is not None:
        runs += 1
        traces.add(told.trace)
    assert (runs, len(traces)) == (count, count)
    assert None not in traces


@pytest.mark.parametrize(
    ("name", "text", "outcome", "sc", "tso"),
    [
        ("SB", litmus([X1, RY], [Y1, RX]), (0, 0), False, True),
        ("SB+mfences", litmus([X1, MB, RY], [Y1, MB, RX]), (0, 0), False, False),
        ("SB+mfence", litmus([X1, MB, RY], [Y1, RX]), (0, 0), False, True),
        (
            "SB+xchg",
            litmus([Rmw("x", lambda _: 1), RY], [Rmw("y", lambda _: 1), RX]),
            (0, 0),
            False,
            False,
        ),
        ("MP", litmus([X1, Y1], [RY, RX]), (1, 0), False, False),
        ("LB", litmus([RX, Y1], [RY, X1]), (1, 1), False, False),
        ("IRIW", litmus([X1], [Y1], [RX, RY], [RY, RX]), (1, 0, 1, 0), False, False),
        (
            "2+2W",
            litmus([X1, Store("y", 2)], [Y1, Store("x", 2)], final="xy"),
            (1, 1),
            False,
            False,
        ),
        ("R", litmus([X1, Y1], [Store("y", 2), RX], final="y"), (0, 2), False, True),
        ("S", litmus([Store("x", 2), Y1], [RY, X1], final="x"), (1, 2), False, False),
        ("iwp2.4", litmus([X1, RX, RY], [Y1, RY, RX]), (1, 0, 1, 0), False, True),
        ("n5", litmus([X1, RX], [Store("x", 2), RX]), (2, 1), False, False),
        (
            "n6",
            litmus([X1, RX, RY], [Store("y", 2), Store("x", 2)], final="x"),
            (1, 0, 1),
            False,
            True,
        ),
    ],
)
def test_a_litmus_test_has_the_published_outcomes(
    name: str, text: Text, outcome: tuple[int, ...], sc: bool, tso: bool
) -> None:
    """x86-TSO: Sewell, Sarkar, Owens, Zappa Nardelli, Myreen, CACM 53 (2010)."""
    assert (outcome in outcomes(text, tso=False)) is sc, name
    assert (outcome in outcomes(text, tso=True)) is tso, name


def found(text: Text, *, tso: bool = False) -> Found:
    """Whatever comes of it; the fewest preemptions first."""
    result = explore(programs(text, tso=tso))
    assert result.complete or result.failure is not None
    return result


@pytest.mark.parametrize("algorithm", [dekker, peterson])
def test_mutual_exclusion_needs_a_fence_on_x86(algorithm: Callable[..., Text]) -> None:
    assert found(algorithm(fence=False)).failure is None
    assert found(algorithm(fence=True), tso=True).failure is None
    failure = found(algorithm(fence=False), tso=True).failure
    assert failure is not None and "not alone" in failure.text


def test_double_checked_locking() -> None:
    """Stores of x86 stay in order, so it is right there; published before it is made it is not,
    nor without the lock.
    """
    for tso in (False, True):
        assert found(double_checked(), tso=tso).failure is None
        half = found(double_checked(published_first=True), tso=tso).failure
        assert half is not None and "half made: field is 0" in half.text
        twice = found(double_checked(locked=False), tso=tso).failure
        assert twice is not None and "made 2 times" in twice.text


def test_aba() -> None:
    """One preemption is enough: between the loads of a pop and its compare-and-swap."""
    result = found(treiber(tagged=False))
    assert result.failure is not None and "twice, or lost" in result.failure.text
    assert result.bound == 0, "without a preemption nothing fails"
    assert found(treiber(tagged=True)).failure is None
