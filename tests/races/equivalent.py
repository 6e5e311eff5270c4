# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a run is one that was explored, but for the order of steps that are independent.

Each run says which of its steps must come before which (ucmmu.race.happens). Two runs of the same
steps are equivalent if some order has both: if what one says together with what the other says has
no circle. Of each CPU the points that it came to must be the same, but for stops at a fence, which
a CPU makes only if its store buffer is not empty by then. Stores that drain as part of another step
are no steps.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from tests.races.test_access import _without_hints
from ucmmu.race.happens import Happens, Objects
from ucmmu.race.program import Actor, Kind, Step
from ucmmu.race.run import Run

_FENCE = "store_buffer"


@dataclass(frozen=True)
class Order:
    """The steps of a run, by position, and which of them happen before each, as bit masks."""

    steps: Sequence[Step]
    before: Sequence[int]

    @staticmethod
    def of(run: Run, enabled: Sequence[int]) -> Order:
        """Of a run; ``enabled`` are the actors that could go on before each step, as bit masks."""
        objects, happens = Objects(), Happens(run.actors)
        for step, able in zip(run.steps, enabled, strict=True):
            happens.add(run.index[step.actor], objects.masks(_without_hints(step)), able)
        return Order(tuple(run.steps), [event.before for event in happens.events])

    @property
    def did(self) -> Hashable:
        """What each actor did, as the points that it came to."""
        did: dict[Actor, list[str]] = {}
        for step in self.steps:
            if step.actor.kind is not Kind.DRAIN and not _is_fence(step):
                did.setdefault(step.actor, []).append(step.label)
        return frozenset((actor, *labels) for actor, labels in did.items())

    def is_equivalent(self, other: Order) -> bool:
        """Whether one order of steps, of which each ``did`` the same, is one of both."""
        numbers = _common_numbers(self.steps, other.steps)
        earlier: dict[int, set[int]] = {}
        for order, number in zip((self, other), numbers, strict=True):
            for place, name in number.items():
                before = order.before[place]
                earlier.setdefault(name, set()).update(
                    other_name for at, other_name in number.items() if before >> at & 1
                )
        done: set[int] = set()
        while left := earlier.keys() - done:
            able = {name for name in left if earlier[name] <= done}
            if not able:
                return False
            done |= able
        return True


def _is_fence(step: Step) -> bool:
    return step.actor.kind is Kind.CPU and step.label == _FENCE


def _by_actor(steps: Sequence[Step]) -> dict[Actor, list[int]]:
    places: dict[Actor, list[int]] = {}
    for place, step in enumerate(steps):
        places.setdefault(step.actor, []).append(place)
    return places


def _common_numbers(one: Sequence[Step], two: Sequence[Step]) -> tuple[dict[int, int], ...]:
    """A number for each step that both have, by its position in one and in the other."""
    numbers: tuple[dict[int, int], dict[int, int]] = ({}, {})
    mine, others = _by_actor(one), _by_actor(two)
    count = 0
    for actor in mine.keys() | others.keys():
        places = mine.get(actor, []), others.get(actor, [])
        if actor.kind is Kind.DRAIN and len(places[0]) != len(places[1]):
            continue
        for first, second in _pairs(one, two, *places):
            for number, place in zip(numbers, (first, second), strict=True):
                if place is not None:
                    number[place] = count
            count += 1
    return numbers


def _pairs(
    one: Sequence[Step], two: Sequence[Step], mine: Sequence[int], others: Sequence[int]
) -> Iterator[tuple[int | None, int | None]]:
    i = j = 0
    while i < len(mine) or j < len(others):
        first = one[mine[i]] if i < len(mine) else None
        second = two[others[j]] if j < len(others) else None
        if first is not None and second is not None and first.label == second.label:
            yield mine[i], others[j]
            i, j = i + 1, j + 1
        elif first is not None and _is_fence(first):
            yield mine[i], None
            i += 1
        else:
            assert second is not None and _is_fence(second)
            yield None, others[j]
            j += 1
