# SPDX-License-Identifier: GPL-2.0-or-later
"""Which changes of a count of references may change places with those of other CPUs."""

from __future__ import annotations


class References:
    """Who took references of a table or a frame and dropped them, for which may change places.

    Who drops some finds the count as many lower as others take later. If it is not 0 then either,
    it does not matter to anybody which of them came first. A CPU that has a reference takes *more*:
    the count is not 0 meanwhile, whoever else drops. Of others' first ones, *gets*, fewer may be
    put behind a drop for that.
    """

    __slots__ = ("_get", "_has", "_more")

    def __init__(self, has: dict[int, int] | None = None) -> None:
        self._has = has or {}
        self._get: dict[int, int] = {}
        self._more: dict[int, int] = {}

    def change(self, cpu: int, old: int, value: int) -> tuple[str, int]:
        """The CPU changes the count: what that is; and of a put, for which of these it matters
        whether others do it before or after: 2: gets and more; 1: gets; 0: nothing.
        """
        has = self._has.get(cpu, 0)
        self._has[cpu] = has + value - old
        if value < old:
            more, get = (_of_others(taken, cpu) for taken in (self._more, self._get))
            return "put", 2 if value <= more else 1 if value <= more + get else 0
        kind, taken = ("get", self._get) if has < 1 else ("more", self._more)
        taken[cpu] = taken.get(cpu, 0) + value - old
        return kind, 0


def _of_others(taken: dict[int, int], cpu: int) -> int:
    return sum(nr for other, nr in taken.items() if other != cpu)
