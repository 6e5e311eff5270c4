# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a failing schedule is made as short as can be, and still fails for the same reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.races.classics import treiber
from ucmmu.race.explore import Limits, explore_at_random
from ucmmu.race.minimal import cost, minimal
from ucmmu.race.program import parse_schedule
from ucmmu.race.run import Failure, replay
from ucmmu.race.textbook import Load, Memory, Store, Text, TextProgram, Thread


def adds() -> Thread:
    for _ in range(3):
        value = yield Load("x")
        yield Store("x", value + 1)


def idles() -> Thread:
    for _ in range(4):
        yield Load("y")


def no_update_lost(memory: Memory, results: Sequence[Any]) -> None:
    assert memory["x"] == 6, f"an update is lost: {memory['x']}"


def test_a_lost_update_takes_one_preemption() -> None:
    def make() -> TextProgram:
        return TextProgram(Text([adds, adds, idles], check=no_update_lost))

    for seed in range(4):
        failure = explore_at_random(make, seed=seed, limits=Limits(100)).failure
        assert failure is not None
        short = minimal(make, failure)
        assert short.reason == failure.reason
        assert cost(short.schedule) == (4, 16), "one CPU, the other, the first again, who idles"


def test_what_fails_otherwise_is_no_shorter_form() -> None:
    """The schedule does not fail any more: it is left alone."""

    def make() -> TextProgram:
        return TextProgram(treiber(tagged=True))

    run = replay(make, parse_schedule("0,1*3,0"))
    failure = Failure("AssertionError", "something", tuple(run.schedule), tuple(run.steps))
    run.close()
    assert minimal(make, failure) is failure


def test_no_more_replays_than_asked_for() -> None:
    made = [0]

    def make() -> TextProgram:
        made[0] += 1
        return TextProgram(Text([adds, adds, idles], check=no_update_lost))

    failure = explore_at_random(make, seed=1, limits=Limits(100)).failure
    assert failure is not None
    made[0] = 0
    minimal(make, failure, replays=5)
    assert made[0] == 5
