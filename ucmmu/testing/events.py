# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test says of the events: a pattern of names and fields, in the order in which they came.

::

    assert_events(["tlb_miss", ..., event("walk_done", level=1), "tlb_fill", ...])
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import EllipsisType

from mmu.events import EVENT_ID, EVENTS, Event
from ucmmu.testing.scene import scene

SHOWN = 40
"""Events that a failure shows at most, around the place where the pattern ends to hold."""
_OWN = {"on": "cpu", "task": "task", "site": "site", "instruction": "instruction", "time": "time"}
"""What every event has: as event() names it, and as Event does."""


@dataclass(frozen=True)
class Wanted:
    """One event of a pattern: its name, and what it must have. Made by event()."""

    name: str
    fields: Mapping[str, int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        values = (
            f"{name}={value:#x}" if isinstance(value, int) else f"{name}={value}"
            for name, value in self.fields.items()
        )
        return " ".join([self.name, *values])

    def fits(self, one: Event) -> bool:
        """Whether the event is such a one."""
        if one.name != self.name:
            return False
        have = {name: getattr(one, attribute) for name, attribute in _OWN.items()} | one.fields
        return all(have[name] == value for name, value in self.fields.items())


Pattern = Sequence["str | Wanted | EllipsisType"]


def event(name: str, **fields: int | str) -> Wanted:
    """An event of this name (native/trace/events.def) with these values of its fields. Besides,
    ``on``, the CPU that it happened on, ``task``, ``site``, ``instruction`` and ``time`` may be
    asked for.

    Raises ValueError for a name or a field that no event has.
    """
    if name not in EVENT_ID:
        raise ValueError(f"no event {name!r}{_near(name)}")
    known = (*EVENTS[EVENT_ID[name]].fields, *_OWN)
    if unknown := [one for one in fields if one not in known]:
        raise ValueError(f"event {name} has no {unknown[0]}: it has {', '.join(known)}")
    return Wanted(name, fields)


def events(*names: str, cpu: int | None = None) -> list[Event]:
    """The events since the test began, or since clear_events(): of these names, or all; of that
    CPU, or all.

    AssertionError if there were so many that the first are forgotten.
    """
    recorder = scene().recorder
    found = recorder.events()
    if recorder.forgotten:
        raise AssertionError(
            f"the first {recorder.forgotten} events are forgotten, there were too many:"
            " call clear_events() before what is looked at"
        )
    for name in names:
        event(name)
    return [
        one for one in found if (not names or one.name in names) and (cpu is None or one.cpu == cpu)
    ]


def clear_events() -> None:
    """Forget all events so far."""
    scene().recorder.clear()


def assert_events(
    pattern: Pattern | Mapping[int, Pattern],
    *,
    among: Collection[str] = (),
    cpu: int | None = None,
) -> None:
    """The events since the test began, or since clear_events(), are those of the pattern, in its
    order.

    An item is an event's name, an event(name, field=value), or ``...`` for any number of events of
    any kind, none too. Without ``...`` the next event must be the next item's, and at the ends
    nothing may come before or after. ``among``: only events of these names are looked at. ``cpu``:
    only that CPU's; a dict has a pattern for each CPU, whatever the order between CPUs.
    AssertionError shows how far the pattern holds, and what came then.
    """
    __tracebackhide__ = True
    if isinstance(pattern, Mapping):
        for number, part in pattern.items():
            assert_events(part, among=among, cpu=number)
        return
    if isinstance(pattern, (str, Wanted)):
        raise TypeError(
            f'a pattern is a list, as in assert_events(["tlb_miss", ...]): not {pattern}'
        )
    wanted = [one if one is ... or isinstance(one, Wanted) else event(one) for one in pattern]
    found = events(*among, cpu=cpu)
    reached, at = _match(wanted, found)
    if reached is None:
        return
    raise AssertionError(_failure(wanted, found, reached, at, cpu))


def _match(
    wanted: Sequence[Wanted | EllipsisType], found: Sequence[Event]
) -> tuple[int | None, int]:
    """(None, …) if all fits; else how many items fit, and how many events these are at most.

    All ways to fit are followed at once: ``states`` are numbers of items that may be done with.
    """
    states = _skip(wanted, {0})
    best = (max(states), 0)
    for number, one in enumerate(found, 1):
        after = set()
        for state in states:
            if state and wanted[state - 1] is ...:
                after.add(state)
            if state < len(wanted):
                item = wanted[state]
                if isinstance(item, Wanted) and item.fits(one):
                    after.add(state + 1)
        states = _skip(wanted, after)
        if not states:
            return best
        if max(states) > best[0]:
            best = (max(states), number)
    return (None, len(found)) if len(wanted) in states else best


def _skip(wanted: Sequence[Wanted | EllipsisType], states: set[int]) -> set[int]:
    """With the states that ``...`` for nothing leads to."""
    reached = set(states)
    for state in sorted(states):
        while state < len(wanted) and wanted[state] is ...:
            state += 1
            reached.add(state)
    return reached


def _failure(
    wanted: Sequence[Wanted | EllipsisType],
    found: Sequence[Event],
    reached: int,
    at: int,
    cpu: int | None,
) -> str:
    where = "" if cpu is None else f" of CPU {cpu}"
    if reached < len(wanted):
        head = f"item {reached} of the pattern, {_item(wanted[reached])}, does not come"
    else:
        head = f"{len(found) - at} events come after the pattern's last item"
    lines = [f"{head} (events{where}):"]
    lines += [f"  {'->' if n == reached else '  '} {_item(one)}" for n, one in enumerate(wanted)]
    first = max(0, at - SHOWN // 2)
    shown = found[first : first + SHOWN]
    lines.append(f"{len(found)} events, the pattern holds for {at}:")
    lines += [
        f"  {'->' if number == at else '  '} {number:4} cpu {one.cpu} {one}"
        for number, one in enumerate(shown, first)
    ]
    if first + SHOWN < len(found):
        lines.append(f"     and {len(found) - first - SHOWN} more")
    return "\n".join(lines)


def _item(one: Wanted | EllipsisType) -> str:
    return str(one) if isinstance(one, Wanted) else "..."


def _near(name: str) -> str:
    near = get_close_matches(name, EVENT_ID, 1)
    return f": is {near[0]!r} meant?" if near else ""
