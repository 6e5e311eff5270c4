# SPDX-License-Identifier: GPL-2.0-or-later
"""What the explorer runs: a program of a few actors, made anew for each order of their steps.

An *actor* is a CPU that executes, the store buffer of a CPU that drains, the interrupts that a CPU
has pending, or the thread that ends RCU's grace periods. The explorer asks which actors can take a
step, lets one take it, and learns what the step read and wrote: two steps that touch nothing in
common may be swapped, so one order of them is enough. A schedule is the list of actors in the order
of their steps; as text, ``0*3,1,0d,1i*2,0g`` is three steps of CPU 0, one of CPU 1, one store of
CPU 0 that becomes visible, two interrupts of CPU 1, and the end of a grace period.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import NamedTuple, Protocol, runtime_checkable

NOTHING: frozenset[Hashable] = frozenset()


class Kind(Enum):
    """What of a CPU an actor is; the value is its letter in a schedule."""

    CPU = ""
    """The CPU executes. Only to leave one of these for another counts as a preemption."""
    DRAIN = "d"
    """The oldest store in the CPU's store buffer becomes visible to all."""
    INTERRUPT = "i"
    """The CPU takes a pending interrupt."""
    GRACE_PERIOD = "g"
    """RCU's thread ends a grace period, which no CPU holds up any more."""


class Actor(NamedTuple):
    """Who takes a step. As text ``0``, ``0d``, ``0i`` or ``0g``."""

    cpu: int
    kind: Kind = Kind.CPU

    def __str__(self) -> str:
        return f"{self.cpu}{self.kind.value}"

    @staticmethod
    def parse(text: str) -> Actor:
        """The actor that str() gives this text. Raises ValueError."""
        match = re.fullmatch(r"(\d{1,4})([dig]?)", text.strip(), re.ASCII)
        if match is None:
            raise ValueError(
                f"{text!r} is no actor: a CPU's number, with d (drain), i (interrupt) or"
                " g (grace period)"
            )
        return Actor(int(match[1]), Kind(match[2]))


Schedule = tuple[Actor, ...]

_MOST_STEPS = 1_000_000


def format_schedule(schedule: Sequence[Actor]) -> str:
    """``0*3,1,0d``: the schedule as one word."""
    runs = ((actor, sum(1 for _ in same)) for actor, same in groupby(schedule))
    return ",".join(f"{actor}*{count}" if count > 1 else str(actor) for actor, count in runs)


def parse_schedule(text: str) -> Schedule:
    """The schedule that format_schedule() writes so; empty text is the empty one. Raises
    ValueError, which says what of the text is wrong.
    """
    schedule: list[Actor] = []
    for part in text.split(",") if text.strip() else ():
        part = part.strip()
        name, _, times = part.partition("*")
        count = int(times) if re.fullmatch(r"\d{1,7}", times, re.ASCII) else -1
        if "*" in part and not 0 < count <= _MOST_STEPS - len(schedule):
            raise ValueError(f"{part!r}: a number of steps, 1 to {_MOST_STEPS:,}, follows the *")
        schedule += [Actor.parse(name)] * (count if "*" in part else 1)
    return tuple(schedule)


@dataclass(frozen=True, slots=True)
class StepAccess:
    """What one step touched: any hashable names of objects, as ``("ram", 0x1000)``.

    Two steps of different actors are *independent* if they may be swapped without a difference, to
    themselves or to anybody else. They are dependent if one writes what the other touches, or if
    ``everything`` is set for either of them. ``adds`` are written by amounts that commute: two adds
    of one object are independent.

    ``waits``, ``takes`` and ``frees`` are of things that one step holds until a later one frees
    them: a step that waits for something cannot run while it is held, so it is never tried before
    the step that freed it. A blocking lock waits for the lock and takes it, an unlock frees it, a
    try that may fail does neither: it reads and writes. All three count as touched, two of them as
    written. Who does not know, leaves them out: more orders are tried then, and none is missed.

    ``early`` are some of what is touched: steps before this one that touch these too, and nothing
    else in common with it, might as well come after it, though not the other way round. So it is
    with an interrupt and the plain stores of its CPU, which must have drained when it is taken: to
    take it before they are made comes to the same, but then they may drain later too. Only
    Dpor makes use of it.
    """

    reads: frozenset[Hashable] = NOTHING
    writes: frozenset[Hashable] = NOTHING
    adds: frozenset[Hashable] = NOTHING
    waits: frozenset[Hashable] = NOTHING
    takes: frozenset[Hashable] = NOTHING
    frees: frozenset[Hashable] = NOTHING
    everything: bool = False
    early: frozenset[Hashable] = NOTHING

    def conflicts_with(self, other: StepAccess) -> bool:
        """Whether steps of two actors with these accesses may not be swapped."""
        if self.everything or other.everything:
            return True
        mine = self.writes | self.takes | self.frees
        theirs = other.writes | other.takes | other.frees
        seen = self.reads | self.waits
        return not (
            mine.isdisjoint(theirs | other.reads | other.waits | other.adds)
            and theirs.isdisjoint(seen | self.adds)
            and self.adds.isdisjoint(other.reads | other.waits)
            and other.adds.isdisjoint(seen)
        )


EVERYTHING = StepAccess(everything=True)
"""Of a step of which nothing is known: it is dependent on every other."""


@dataclass(frozen=True, slots=True)
class Step:
    """One executed step: who took it, the name of the point where it ended, what it touched.

    ``note`` is more for a reader: what was waited for, the word that was written. ``known`` is what
    a program that can take the step again (TakesAgain) needs for it.
    """

    actor: Actor
    label: str
    access: StepAccess = EVERYTHING
    note: str = ""
    known: object = field(default=None, compare=False, repr=False)


class Program(Protocol):
    """One run. The same steps in the same order do the same each time; nothing else is random.

    What is wrong is raised by step() or finish(), as AssertionError or any other Exception: the
    explorer keeps it with the schedule.
    """

    fixed: bool
    """Whether what an actor's next step touches hangs on its own earlier steps alone, as where each
    step is one access. Else more orders are tried.
    """

    @property
    def actors(self) -> Sequence[Actor]:
        """All that will ever take a step, the same for each run, in the order they are tried."""

    def enabled(self) -> Collection[Actor]:
        """Those that can take a step now. An actor that waits is none of them."""

    def step(self, actor: Actor) -> Step:
        """Let one of the enabled actors go on to its next point."""

    def pending(self, actor: Actor) -> StepAccess | None:
        """What an actor that waits would touch first if it went on: what it waits for. None if it
        has ended, or has nothing to do until others go on, as who ends a grace period that is not
        over; EVERYTHING if this is not known.
        """

    def finished(self) -> bool:
        """Whether all have ended, so that nobody who is left waits in vain."""

    def finish(self) -> None:
        """Check what must be so at the end; called if all have ended."""

    def state(self) -> Hashable:
        """What the run has come to, as two runs that came to the same have equal; None: unknown.

        Of a run that goes on: all that its actors share, so that an actor that comes to the same
        point in the same state, alone, makes no progress.
        """

    def close(self) -> None:
        """The run is over, at its end or before: give back what it holds."""


@runtime_checkable
class TakesAgain(Protocol):
    """A program that takes the steps that it shares with an earlier run without looking at what
    they touch, and without the checks that they passed then.
    """

    def again(self, step: Step) -> str:
        """Let the step's actor take it where it was taken before; the name of the point where it
        ended now.
        """

    def came_to(self, step: Step) -> bool:
        """Whether, after again() of all steps up to this one, the state is what it was after it."""


MakeProgram = Callable[[], Program]
"""Makes a new run, each time in the same state."""
