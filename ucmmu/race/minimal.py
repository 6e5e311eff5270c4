# SPDX-License-Identifier: GPL-2.0-or-later
"""Making a failing schedule short: the fewest changes of actor, then the fewest steps, that fail in
the same way.

By delta debugging (Zeller, Hildebrandt, TSE 2002) over blocks, the steps that an actor takes one
after the other: one is left out, joined with another of its actor, or cut. A step that an actor
cannot take is passed over, and what is left open is done actor after actor, so most changes still
make a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from ucmmu.race.program import Actor, MakeProgram
from ucmmu.race.run import Failure, replay

_Block = tuple[Actor, int]


def cost(schedule: Sequence[Actor]) -> tuple[int, int]:
    """What is made small: changes of actor, and steps."""
    return sum(1 for _ in groupby(schedule)), len(schedule)


def minimal(
    make: MakeProgram, failure: Failure, *, replays: int = 300, max_steps: int = 10_000
) -> Failure:
    """The same failure (Failure.reason) by a schedule that no single change makes shorter, or the
    shortest found in so many replays. If the failure does not come again it is returned as it is.
    """
    best, left = failure, replays
    improved = True
    while improved and left > 0:
        improved = False
        for schedule in _shorter(best.schedule):
            if left <= 0:
                break
            left -= 1
            found = _failure(make, schedule, max_steps)
            same = found is not None and found.reason == failure.reason
            if found is not None and same and cost(found.schedule) < cost(best.schedule):
                best, improved = found, True
                break
    return best


def _failure(make: MakeProgram, schedule: Sequence[Actor], max_steps: int) -> Failure | None:
    run = replay(make, schedule, strict=False, max_steps=max_steps)
    run.close()
    return run.failure


def _shorter(schedule: Sequence[Actor]) -> Iterator[list[Actor]]:
    """Schedules to try, those that may save most first."""
    blocks = [(actor, sum(1 for _ in same)) for actor, same in groupby(schedule)]
    for keep in (len(blocks) // 4, len(blocks) // 2):
        if 0 < keep < len(blocks):
            yield _flat(blocks[:keep])
    for number in range(len(blocks) - 1, -1, -1):
        yield _flat(blocks[:number] + blocks[number + 1 :])
    for number in range(len(blocks)):
        for other in _neighbours(blocks, number):
            yield _flat(_moved(blocks, number, other))
    for number, (actor, count) in enumerate(blocks):
        for less in (count // 2, count - 1):
            if 0 < less < count:
                yield _flat([*blocks[:number], (actor, less), *blocks[number + 1 :]])


def _neighbours(blocks: Sequence[_Block], number: int) -> Iterator[int]:
    """The next blocks of the same actor, after and before."""
    actor = blocks[number][0]
    for places in (range(number + 1, len(blocks)), range(number - 1, -1, -1)):
        yield from [place for place in places if blocks[place][0] == actor][:1]


def _moved(blocks: Sequence[_Block], number: int, other: int) -> list[_Block]:
    """The block joined with another one of its actor, at that one's place."""
    actor, count = blocks[number]
    joined = [*blocks]
    joined[other] = (actor, count + blocks[other][1])
    del joined[number]
    return joined


def _flat(blocks: Sequence[_Block]) -> list[Actor]:
    return [actor for actor, count in blocks for _ in range(count)]
