# SPDX-License-Identifier: GPL-2.0-or-later
"""The sizes of a process over its life, at most MAX_SAMPLES of them however long it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mmu.linux.mm import Mm

MAX_SAMPLES = 512
FIRST_INTERVAL = 1 << 14
"""Instructions between samples at first."""


class Sample(NamedTuple):
    """Sizes in kB after so many instructions."""

    instructions: int
    VmSize: int
    VmRSS: int
    VmPTE: int


class Samples:
    """A series of samples at multiples of ``interval`` instructions; when it is full, every other
    one goes.

    What it holds depends on the guest alone, not on when or how it ran.
    """

    def __init__(self) -> None:
        self.interval = FIRST_INTERVAL
        self.due = FIRST_INTERVAL
        """The instruction count at which to take the next sample."""
        self._taken: list[Sample] = []

    def take(self, mm: Mm, instructions: int) -> Sample:
        """Take the sample that is due now."""
        sample = sample_of(mm, instructions)
        self._taken.append(sample)
        if len(self._taken) == MAX_SAMPLES:
            del self._taken[::2]
            self.interval *= 2
        self.due = instructions + self.interval
        return sample

    def series(self, mm: Mm, instructions: int) -> list[Sample]:
        """All samples, with one of now at the end."""
        return [*self._taken, sample_of(mm, instructions)]


def sample_of(mm: Mm, instructions: int) -> Sample:
    """The sizes as they are now."""
    c = mm.c
    rss = sum(c.rss_stat)
    return Sample(instructions, c.total_vm << 2, rss << 2, c.pgtables_bytes >> 10)
