# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rounds of a measurement count, on a host whose cores others use too.

A virtual CPU is a hyperthread. While the other one of its core works, for us or for a machine that
we know nothing of, everything here takes up to twice as long, and nothing that this machine's
kernel counts shows it (steal is 0: the CPU was not taken away). So each round is measured with a
probe before and after: additions, as many as a core can do at once. A round counts if the probe was
as fast as this host's cores are when they are left alone, and the thread had its CPU.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from benchmarks import peers
from benchmarks.priority import real_time

SLOWER = 1.15
"""How much slower than the fastest a core may be: between its clocks, under two hyperthreads."""
BUSY = 0.97
"""Of its time, what each thread must have had its CPU."""
FEWEST = 5
"""Calm rounds; with fewer the figure is noise."""
WIDEST = 0.15
"""Half the distance of the quartiles, of the median: with more the figure is noise."""
PROBES = 50


@dataclass(frozen=True)
class Round:
    """One round: its figures, and what it met."""

    figures: tuple[float, ...]
    probe: float
    """Of the slowest core, ns."""
    busy: float = 1.0


@dataclass(frozen=True)
class Spread:
    """A figure from many rounds."""

    median: float
    low: float
    high: float
    """The quartiles."""
    rounds: int
    """Those that count, ``of`` all."""
    of: int
    calm: bool = True
    """False: too few rounds were calm, and these are those that were least disturbed."""

    @property
    def share(self) -> float:
        """Half the distance of the quartiles, of the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0

    @property
    def noisy(self) -> bool:
        """Whether it is no fact."""
        return not self.calm or self.share > WIDEST

    def record(self) -> dict[str, Any]:
        """What a row of results says beside the median."""
        return {
            "spread": self.share,
            "rounds": self.rounds,
            "of": self.of,
            "noisy": self.noisy,
        }


def probe() -> float:
    """The core that this thread is on, ns."""
    return float(peers.load().lib.core_probe())


@functools.cache
def fastest_probe() -> float:
    """The probe on a core that is left alone, ns, from many on all CPUs."""
    before = os.sched_getaffinity(0)
    found: list[float] = []
    try:
        for _ in range(4):
            for cpu in before:
                os.sched_setaffinity(0, {cpu})
                with real_time():
                    found += [probe() for _ in range(PROBES)]
            time.sleep(0.1)
    finally:
        os.sched_setaffinity(0, before)
    return usual_fastest(found)


def usual_fastest(probes: Sequence[float]) -> float:
    """The fastest speed at which a quarter of the probes ran, 5 % up or down: a core is now and
    then faster for a moment, and that is no bar for the others.
    """
    ordered = sorted(probes)
    quarter = (len(ordered) + 3) // 4
    for at, fast in enumerate(ordered[: len(ordered) - quarter + 1]):
        if ordered[at + quarter - 1] <= 1.05 * fast:
            return fast
    return ordered[len(ordered) // 4]


def is_calm(each: Round, fastest: float) -> bool:
    """Whether nothing disturbed the round."""
    return each.busy >= BUSY and each.probe <= SLOWER * fastest


def gather(
    once: Callable[[], Iterable[Round]], wanted: int, patience: float
) -> tuple[list[Round], list[Round]]:
    """Call ``once()`` until ``wanted`` of its rounds are calm, or for ``patience`` seconds.

    Returns all rounds, then those that count.
    """
    fastest = fastest_probe()
    found: list[Round] = []
    end = time.monotonic() + patience
    calm: list[Round] = []
    while len(calm) < wanted and (not found or time.monotonic() < end):
        more = list(once())
        found += more
        calm += [each for each in more if is_calm(each, fastest)]
    return found, calm


def spreads(found: Sequence[Round], calm: Sequence[Round]) -> list[Spread]:
    """One for each figure of the rounds."""
    enough = len(calm) >= min(FEWEST, len(found))
    if not enough:
        by_speed = sorted(found, key=lambda each: (each.busy < BUSY, each.probe))
        calm = by_speed[: max(1, len(found) // 4)]
    return [
        _spread(column, len(found), enough and len(calm) >= FEWEST)
        for column in zip(*(each.figures for each in calm), strict=True)
    ]


def _spread(column: Sequence[float], of: int, calm: bool) -> Spread:
    if len(column) == 1:
        return Spread(column[0], column[0], column[0], 1, of, calm)
    low, middle, high = quantiles(column, n=4, method="inclusive")
    return Spread(middle, low, high, len(column), of, calm)


def measure(
    once: Callable[[], Iterable[Round]], wanted: int = 21, patience: float = 4.0
) -> list[Spread]:
    """gather(), and what it found."""
    return spreads(*gather(once, wanted, patience))
