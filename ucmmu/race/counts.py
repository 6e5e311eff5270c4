# SPDX-License-Identifier: GPL-2.0-or-later
"""What an access of one object touches: of a count of references only parts, for references may be
taken and dropped in any order.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Final, NamedTuple

from ucmmu.race.objects import COUNTS, Object, Objects, field_of, seen_by
from ucmmu.race.references import References
from ucmmu.race.touched import Touched

_MOST_REFERENCES: Final = 1024
"""That one step takes or drops of one count, or it is a change as any other."""


class Parts(NamedTuple):
    """The parts of an object."""

    whole: Objects
    """What a plain access touches: all of it, and of a word also what each CPU sees of it."""
    gets: Objects
    """Of a count, for each CPU: a first reference that it takes."""
    mores: Objects
    """The same: more that it takes when it has one."""


@cache
def _parts(what: Object, nr_cpus: int, buffered: bool) -> Parts:
    none: Objects = frozenset()
    if isinstance(what, int):
        seen = [seen_by(cpu, what) for cpu in range(nr_cpus) if buffered]
        return Parts(frozenset([what, *seen]), none, none)
    if field_of(what) not in COUNTS or not isinstance(what, tuple):
        return Parts(frozenset([what]), none, none)
    gets, mores, puts = (
        frozenset((*what, kind, cpu) for cpu in range(nr_cpus)) for kind in ("get", "more", "put")
    )
    return Parts(frozenset([what]) | gets | mores | puts, gets, mores)


class Counts:
    """The objects of one run, and who has references of what. ``buffered``: there are store
    buffers, so that each CPU may see another value of a word of RAM.
    """

    def __init__(self, nr_cpus: int, *, buffered: bool) -> None:
        self._nr_cpus = nr_cpus
        self._buffered = buffered
        self._references: dict[Object, References] = defaultdict(References)

    def parts(self, what: Object) -> Parts:
        """The parts of an object."""
        return _parts(what, self._nr_cpus, self._buffered)

    def begin(self, what: Object, cpu: int, value: int) -> None:
        """The CPU stores a value plainly: of a count all references are its own then."""
        if self.parts(what).gets:
            self._references[what] = References({cpu: value})

    def change(self, touched: Touched, what: Object, cpu: int, old: int, value: int) -> bool:
        """The CPU changes a count by one locked instruction: note what of it that touches. False if
        it is no count, or all of it is touched.
        """
        whole, gets, mores = self.parts(what)
        if not gets or not isinstance(what, tuple):
            return False
        kind, matters = self._references[what].change(cpu, old, value)
        common = min(old, value) >= 1 and 0 < abs(old - value) <= _MOST_REFERENCES
        if not common or what in touched.plain:
            return False
        touched.reads -= whole
        if matters:
            touched.reads |= gets | mores if matters > 1 else gets
        touched.writes.add((*what, kind, cpu))
        if kind == "put":
            self._note_put(touched, what, old - value, value, cpu)
        return True

    def _note_put(self, touched: Touched, what: Object, nr: int, left: int, cpu: int) -> None:
        """A put of ``nr`` that leaves so many: one of others that drops as many would be the last,
        if it has not been yet.
        """
        drop = ("drop", what)
        touched.writes.update((*drop, size, cpu) for size in range(1, nr + 1))
        touched.reads.update((*drop, left, other) for other in range(self._nr_cpus) if other != cpu)
