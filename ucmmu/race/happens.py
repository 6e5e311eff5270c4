# SPDX-License-Identifier: GPL-2.0-or-later
"""Which steps of one run happen before which, and which pairs of them race.

A step *happens before* a later one if it is of the same actor, or dependent on it, or made it able
to run, or if a step between them links the two. Two runs with the same steps and the same
happens-before are one *Mazurkiewicz trace*: no actor can tell them apart. Two dependent steps
*race* if nothing else orders them, and the second could have come first.

A step that came early (StepAccess.early) stands for its coming later: what comes after it, and is
dependent on it by that alone, neither happens after it nor races with it.

Sets of steps are bit masks by position in the run, sets of objects bit masks by a number that each
object gets when it is first seen, and sets of actors bit masks by their index.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from ucmmu.race.program import Actor, Kind, StepAccess

_EVERY = 1
"""The bit that each mask has: what a step that touches everything is dependent on."""


@dataclass(frozen=True, slots=True)
class Masks:
    """A StepAccess as masks of objects."""

    touched: int
    """Read, written, added to, waited for, taken or freed."""
    written: int
    adds: int
    fixed: int
    """Touched otherwise than by an add."""
    waits: int
    takes: int
    frees: int
    early: int

    def conflict(self, other: Masks) -> int:
        """Not 0 if steps of two actors are dependent: see StepAccess.conflicts_with()."""
        return (
            self.written & other.touched
            | other.written & self.touched
            | self.adds & other.fixed
            | other.adds & self.fixed
        )

    def bars(self, later: Masks) -> int:
        """Not 0 if a later step may not be put before this one: they are dependent, and not only by
        what is early of the later one.
        """
        return self.conflict(later) & ~later.early


class Objects:
    """Numbers objects, for all runs of one exploration, so that masks can be compared."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._known: dict[StepAccess, Masks] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_numbers": self._numbers, "_known": {}}

    def masks(self, access: StepAccess) -> Masks:
        """The access as masks."""
        known = self._known.get(access)
        if known is None:
            known = self._known[access] = self._masks(access)
        return known

    def _masks(self, access: StepAccess) -> Masks:
        if access.everything:
            every = -1
            return Masks(every, every, 0, every, 0, 0, 0, 0)
        reads, writes, adds = self._of(access.reads), self._of(access.writes), self._of(access.adds)
        waits, takes, frees = self._of(access.waits), self._of(access.takes), self._of(access.frees)
        written = writes | takes | frees
        fixed = reads | waits | written
        return Masks(
            touched=fixed | adds | _EVERY,
            written=written,
            adds=adds & ~fixed,
            fixed=fixed | _EVERY,
            waits=waits,
            takes=takes,
            frees=frees,
            early=self._of(access.early),
        )

    def _of(self, objects: Iterable[Hashable]) -> int:
        numbers, mask = self._numbers, 0
        for thing in objects:
            number = numbers.get(thing)
            if number is None:
                number = numbers[thing] = len(numbers) + 1
            mask |= 1 << number
        return mask


@dataclass(slots=True)
class Event:
    """A step at its place in a run."""

    actor: int
    masks: Masks
    enabled: int
    """The actors that could take a step before it."""
    before: int = 0
    """Steps that happen before it."""
    held: int = 0
    """What its actor held before it, and what it frees that somebody held."""


class Happens:
    """The steps of one run, as they are taken. ``events`` may be cut back and go on otherwise."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self.events: list[Event] = []
        self.actors = actors
        self._places = [0] * len(actors)
        self._held: list[list[int]] = [[0] * len(actors)]
        self._unruly = 0
        """What was once freed by a CPU that did not hold it: to wait for it says nothing."""

    def cut(self, length: int) -> None:
        """Forget all but the first ``length`` steps."""
        if length < len(self.events):
            del self.events[length:]
            del self._held[length + 1 :]
            rest = (1 << length) - 1
            self._places = [mask & rest for mask in self._places]

    def add(self, actor: int, masks: Masks, enabled: int, *, of_each: bool = False) -> list[int]:
        """The actor took a step, when ``enabled`` could: returns the positions, last first, of the
        steps that race with it; or, if ``of_each``, of the last of each other actor that would race
        with it if those of the rest did not.
        """
        event = self._event(actor, masks, enabled)
        event.before, races = self._order(event)
        if of_each:
            races = self._of_each(event)
        self._hold(actor, masks)
        self._places[actor] |= 1 << len(self.events)
        self.events.append(event)
        return races

    def races_of(
        self, actor: int, masks: Masks, enabled: int, *, of_each: bool = False
    ) -> list[int]:
        """With which steps the actor's next one, not taken, would race; see add()."""
        event = self._event(actor, masks, enabled)
        return self._of_each(event) if of_each else self._order(event)[1]

    def _event(self, actor: int, masks: Masks, enabled: int) -> Event:
        held = self._held[-1]
        anybody = 0
        for mask in held:
            anybody |= mask
        return Event(actor, masks, enabled, held=held[actor] | masks.frees & anybody)

    def _hold(self, actor: int, masks: Masks) -> None:
        """Note what the actor's step takes and frees. What it does both to, in whatever order, is
        not held afterwards, as far as is known.
        """
        held, cpu = self._held[-1], self.actors[actor].cpu
        if masks.frees and self.actors[actor].kind is not Kind.GRACE_PERIOD:
            for number, other in enumerate(self.actors):
                if other.cpu != cpu:
                    self._unruly |= held[number] & masks.frees
        after = [mask & ~masks.frees for mask in held] if masks.frees else [*held]
        after[actor] |= masks.takes & ~masks.frees
        self._held.append(after)

    def _order(self, event: Event) -> tuple[int, list[int]]:
        """What happens before an event that comes next, and the positions that it races with."""
        events, masks = self.events, event.masks
        mine = self._places[event.actor]
        last = mine.bit_length() - 1
        before = mine if last < 0 else mine | events[last].before
        enabler = self._enabler(event.actor, last)
        fixed = 0
        races = []
        for place in range(len(events) - 1, -1, -1):
            if before >> place & 1:
                continue
            other = events[place]
            if not masks.bars(other.masks):
                continue
            if self._is_cause(other, event):
                before |= other.before | 1 << place
            elif not self._reversible(place, other, event, enabler, last):
                fixed |= other.before | 1 << place
            else:
                races.append(place)
                if other.enabled >> event.actor & 1:
                    before |= other.before | 1 << place
                else:  # perhaps not: those before it are looked at as well
                    fixed |= other.before | 1 << place
        if enabler >= 0:
            fixed |= events[enabler].before | 1 << enabler
        return before | fixed, races

    def _of_each(self, event: Event) -> list[int]:
        """Of each other actor the last step that the event is dependent on, that its actor's last
        one does not come after, and that it could have come before.
        """
        events = self.events
        last = self._places[event.actor].bit_length() - 1
        before = 0 if last < 0 else events[last].before | 1 << last
        enabler = self._enabler(event.actor, last)
        races, seen = [], 1 << event.actor
        for place in range(len(events) - 1, -1, -1):
            other = events[place]
            if before >> place & 1:
                continue
            if self._is_cause(other, event):
                before |= other.before | 1 << place
            elif seen >> other.actor & 1:
                continue
            elif other.masks.conflict(event.masks) and self._reversible(
                place, other, event, enabler, last
            ):
                races.append(place)
                if other.enabled >> event.actor & 1:
                    seen |= 1 << other.actor
        return races

    def _is_cause(self, other: Event, event: Event) -> int:
        """Not 0 if the event frees what the other one took, as a drain does its store: without that
        there is nothing to free. What a CPU frees that another one took may have been free.
        """
        one, two = self.actors[other.actor], self.actors[event.actor]
        if one.cpu != two.cpu and two.kind is not Kind.GRACE_PERIOD:
            return 0
        return other.masks.takes & event.masks.frees & ~self._unruly

    def _enabler(self, actor: int, last: int) -> int:
        """The step since the actor's last one that made it able to go on; -1: it always was."""
        bit, events = 1 << actor, self.events
        for place in range(len(events) - 1, last, -1):
            if not events[place].enabled & bit:
                return place
        return -1

    def _reversible(self, place: int, other: Event, event: Event, enabler: int, last: int) -> bool:
        """Whether the event could have come before the other one, as far as is known.

        Where its actor had to wait then, and what let it go on comes after the other one, it could
        not. Unless the other one did what it waits for: it may have waited for something else then.
        """
        if self._held_until(place, event):
            return False
        if event.masks.waits & other.masks.written & ~other.masks.frees:
            return True
        if place > last and not other.enabled >> event.actor & 1 and enabler >= place:
            return enabler != place and not self.events[enabler].before >> place & 1
        return True

    def _held_until(self, place: int, event: Event) -> int:
        """What the event waits for that is held before the step at ``place``, and that nobody frees
        who could without that step. Whose drop waits in a store buffer by then is freed without it.
        """
        waits = event.masks.waits & ~self._unruly
        held = 0
        for mask in self._held[place] if waits else ():
            held |= mask & waits
        for later in self.events[place + 1 :] if held else ():
            if not later.before >> place & 1:
                held &= ~later.masks.frees
        return held

    def not_after(self, place: int) -> list[Event]:
        """The events behind the one at ``place`` that it does not happen before, in order."""
        return [event for event in self.events[place + 1 :] if not event.before >> place & 1]

    def trace(self) -> int:
        """A number that two runs have in common if they are the same Mazurkiewicz trace."""
        total = 0
        for event in self.events:
            seen = tuple([(event.before & places).bit_count() for places in self._places])
            total += hash((event.actor, seen))
        return hash(total)
