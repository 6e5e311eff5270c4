# SPDX-License-Identifier: GPL-2.0-or-later
"""Random sequences by the million, each from a seed of its own, and what to tell of one that parts
the engines.

A sequence starts from the same state of its world and compares every answer at once, all the state
now and then. One that fails is replayed with a comparison after each operation, which names the
first wrong one; then operations are left out as long as what remains still fails.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from mmu.x86 import Geometry
from tests.x86.twins import BASES, Mismatch, Op, Twins, pages, script

EVERY = 40
"""Operations between two comparisons of all the state."""
SHRINK_SECONDS = 20.0


@dataclass(frozen=True)
class Tally:
    """What was done: sequences, and operations in them (a sweep counts one a page)."""

    sequences: int
    operations: int


class Hunt:
    """Sequences of least to most operations over one world, from number 0 of a seed on."""

    def __init__(
        self,
        seed: int,
        geometry: str | Geometry = "tiny",
        levels: int = 4,
        *,
        least: int = 30,
        most: int = 140,
    ) -> None:
        name = repr(geometry) if isinstance(geometry, str) else "TORTURE"
        self._text = f"Hunt({seed}, {name}, {levels}, least={least}, most={most})"
        self._seed = seed
        self._choice = script(least, most)
        self._twins = [Twins(base, geometry, levels) for base in BASES]

    def close(self) -> None:
        for twins in self._twins:
            twins.close()

    def sequence(self, number: int) -> list[Op]:
        """The operations of one sequence."""
        drawn: list[Op] = self._choice.draw(Random(self._seed << 32 | number).random)
        return drawn

    def run(self, *, operations: int = 0, sequences: int = 0) -> Tally:
        """At least so many operations and sequences; raises Mismatch, with a short script that
        shows it.
        """
        number = done = 0
        while done < operations or number < sequences:
            drawn = self.sequence(number)
            try:
                failed = self._fails(number, drawn, EVERY)
            except Exception as error:
                raise Mismatch(
                    f"{self._text}, sequence {number}: an engine raises {error!r}"
                ) from error
            if failed:
                raise Mismatch(self.report(number))
            number += 1
            done += sum(map(pages, drawn))
        return Tally(number, done)

    def first_failing(self, operations: int) -> int | None:
        """The first sequence that parts the engines, if one of so many operations does."""
        number = done = 0
        while done < operations:
            drawn = self.sequence(number)
            if self._fails(number, drawn, EVERY):
                return number
            number += 1
            done += sum(map(pages, drawn))
        return None

    def _fails(self, number: int, drawn: list[Op], every: int = 1) -> Mismatch | None:
        twins = self._twins[number % len(self._twins)]
        twins.reset()
        try:
            twins.run(drawn, every)
        except Mismatch as mismatch:
            return mismatch
        return None

    def report(self, number: int) -> str:
        """What is wrong with a sequence that fails, in words, and how little of it it takes."""
        drawn = self.sequence(number)
        where = f"{self._text}.report({number}), RAM at {BASES[number % len(BASES)]:#x}"
        first = self._fails(number, drawn)
        if first is None or first.number is None:
            return f"{where}: the engines agree when compared after each operation"
        short = self._shrink(number, drawn[: first.number + 1])
        return "\n".join(
            [
                f"{where}:",
                f"operation {first.number}, {drawn[first.number]}: {first}",
                f"It takes {len(short)} operations:",
                *(f"    {op}," for op in short),
                f"after which {self._fails(number, short)}",
            ]
        )

    def _shrink(self, number: int, failing: list[Op]) -> list[Op]:
        """Leave out runs of operations, ever shorter ones, while the rest fails (ddmin), for some
        seconds at most.
        """
        end = time.monotonic() + SHRINK_SECONDS
        size = len(failing) // 2
        while size and time.monotonic() < end:
            at, shorter = 0, False
            while at < len(failing) and time.monotonic() < end:
                without = failing[:at] + failing[at + size :]
                if without and self._fails(number, without):
                    failing, shorter = without, True
                else:
                    at += size
            size = size if shorter and size == 1 else size // 2
        return failing
