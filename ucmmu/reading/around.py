# SPDX-License-Identifier: GPL-2.0-or-later
"""Events around those that are looked for, as ``grep -C`` shows lines around its hits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from mmu.trace.where import Where
from ucmmu.text import did_you_mean

if TYPE_CHECKING:
    from mmu.trace.reader import Numbered

DEFAULT: Final = 10
"""Events before and after."""
MAX: Final = 1_000_000


class Around:
    """What ``--around WHAT[:N]`` asks for: ``count`` events before and after each one for which
    ``hit`` holds.
    """

    def __init__(
        self, hit: Callable[[Numbered], bool], count: int, number: int | None = None
    ) -> None:
        self.hit = hit
        self.count = count
        self.number = number
        """The event that is looked for, if it is one."""

    @classmethod
    def parse(cls, text: str) -> Around:
        """WHAT is the name of an event, with ``*`` for any characters, or an event's number. Raises
        ValueError.
        """
        from mmu.events import EVENT_ID

        what, colon, count_text = text.partition(":")
        count = int(count_text) if colon and count_text.isdecimal() else DEFAULT
        if (colon and not count_text.isdecimal()) or count > MAX:
            raise ValueError(f"{count_text!r} is no number of events from 0 to {MAX}")
        if what.isdecimal():
            number = int(what)
            return cls(lambda one: one.number == number, count, number)
        kinds = frozenset(name for name in EVENT_ID if fnmatchcase(name, what))
        if not kinds:
            raise ValueError(f"no event {what!r}{did_you_mean(what, EVENT_ID)}")
        return cls(lambda one: one.event.name in kinds, count)

    def narrowed(self, where: Where) -> Where:
        """Conditions that leave out what is too far from the one event that is looked for, where
        that can be told.
        """
        if self.number is None or where != Where():
            return where
        begin, end = max(0, self.number - self.count), self.number + self.count + 1
        return Where(begin=begin, end=end)

    def groups(self, events: Iterable[Numbered]) -> Iterator[Numbered | None]:
        """The events that are near a hit; None stands between groups that do not touch."""
        before: deque[Numbered] = deque(maxlen=self.count)
        left = 0
        skipped = any_yet = False
        for one in events:
            if self.hit(one):
                if any_yet and skipped:
                    yield None
                yield from before
                before.clear()
                yield one
                left, skipped, any_yet = self.count, False, True
            elif left:
                left -= 1
                yield one
            else:
                skipped = skipped or len(before) == self.count
                before.append(one)
