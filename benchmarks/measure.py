# SPDX-License-Identifier: GPL-2.0-or-later
"""How two things are compared where the machine is shared and noisy.

Ours and the peer run in turn, again and again, each round in the other order, so that whatever
slows the machine slows both.  The figures are medians; the spread is that of the ratios of the
rounds. What cannot run here is recorded as skipped, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Figure = Callable[[], float]


class BenchmarkError(Exception):
    """A benchmark cannot be made here: one line says why."""


@dataclass(frozen=True)
class Result:
    """One comparison.  ``ours`` and ``peer`` are medians in ``unit``."""

    name: str
    ours: float
    peer: float
    unit: str
    goal: str
    """What the ratio should be: ``>= 0.6`` or ``<= 1.1``."""
    ratios: tuple[float, float]
    """The lowest and highest ratio of any round."""
    note: str
    """What exactly was measured."""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours / peer."""
        return self.ours / self.peer

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the goal."""
        relation, bound = self.goal.split()
        return self.ratio >= float(bound) if relation == ">=" else self.ratio <= float(bound)

    def record(self) -> dict[str, Any]:
        """The JSON object of this result."""
        return {
            "name": self.name,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio,
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "ratio_lowest": self.ratios[0],
            "ratio_highest": self.ratios[1],
            "note": self.note,
            **self.more,
        }


@dataclass(frozen=True)
class Skipped:
    """A comparison that this host cannot make, and why."""

    name: str
    reason: str

    def record(self) -> dict[str, Any]:
        """The JSON object that says so."""
        return {"name": self.name, "skipped": self.reason}


Outcome = Result | Skipped


def compare(
    name: str,
    ours: Figure,
    peer: Figure,
    *,
    unit: str,
    goal: str,
    note: str,
    rounds: int = 9,
    warm_up: bool = True,
) -> Result:
    """Measure ``ours()`` and ``peer()``, which return a figure in ``unit``, in ``rounds``
    alternated pairs.
    """
    if warm_up:
        ours(), peer()
    pairs = [_pair(ours, peer, turn) for turn in range(rounds)]
    ratios = [mine / theirs for mine, theirs in pairs]
    return Result(
        name=name,
        ours=median(mine for mine, _ in pairs),
        peer=median(theirs for _, theirs in pairs),
        unit=unit,
        goal=goal,
        ratios=(min(ratios), max(ratios)),
        note=note,
        more={"rounds": rounds},
    )


def _pair(ours: Figure, peer: Figure, turn: int) -> tuple[float, float]:
    if turn % 2 == 0:
        mine = ours()
        return mine, peer()
    theirs = peer()
    return ours(), theirs
