# SPDX-License-Identifier: GPL-2.0-or-later
"""What a scenario is: two to four kernel operations over one PTE table, each on its own CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmu.linux.policy import FreeLevels, FreeTables

if TYPE_CHECKING:
    from ucmmu.race.world import Actor, RaceWorld

Actors = dict[int, "Actor"]
"""What each CPU does."""

ALL: Final = tuple(FreeTables)
UNCOUNTED: Final = (FreeTables.NEVER, FreeTables.SCAN)
COUNTED: Final = (FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK)
"""The policies that count references."""
BY_RCU: Final = (*UNCOUNTED, FreeTables.REFCOUNT)
"""The policies under which a table's frame is free a grace period after the table was taken out."""


@dataclass(frozen=True)
class Scenario:
    """One scenario, by the name that ``ucmmu race`` knows it by.

    ``operations`` are what the CPUs do, CPU 0 first; ``about`` says in one sentence what may go
    wrong, ``rules`` which rules of docs/pte_ref.md hold then. ``prepare(world)`` brings a new world
    to where the race begins, and returns its actors. It holds under each of ``policies``.
    ``invlpgb``: flushes are broadcast, and send no interprocessor interrupt. ``free_levels``: which
    empty tables are freed. ``reuse``: frames of tables go to CPU 0 after their grace period, which
    takes them again; else nobody does.
    """

    name: str
    operations: tuple[str, ...]
    about: str
    rules: str
    prepare: Callable[[RaceWorld], Actors]
    policies: tuple[FreeTables, ...] = ALL
    invlpgb: bool = False
    free_levels: FreeLevels = FreeLevels.PTE
    reuse: bool = False

    @property
    def cpus(self) -> int:
        """CPUs of its world: one for each operation, at least four where flushes are broadcast."""
        return max(len(self.operations), 4 if self.invlpgb else 2)
