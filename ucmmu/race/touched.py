# SPDX-License-Identifier: GPL-2.0-or-later
"""What one step touches, while that is found out."""

from __future__ import annotations

from dataclasses import dataclass, field

from ucmmu.race.objects import Object
from ucmmu.race.program import StepAccess


@dataclass(slots=True)
class Touched:
    """The parts of a StepAccess, and what they hang on: ``plain``, what was loaded otherwise than
    by a locked instruction; ``fenced``, what was changed with the CPU's store buffer empty.
    """

    reads: set[Object] = field(default_factory=set)
    writes: set[Object] = field(default_factory=set)
    adds: set[Object] = field(default_factory=set)
    waits: set[Object] = field(default_factory=set)
    takes: set[Object] = field(default_factory=set)
    frees: set[Object] = field(default_factory=set)
    plain: set[Object] = field(default_factory=set)
    fenced: set[Object] = field(default_factory=set)
    early: set[Object] = field(default_factory=set)
    everything: bool = False

    def access(self, *, coarse: bool) -> StepAccess:
        """All of it, at the end of the step. What it takes and frees is written: another that waits
        for it may be tried before this step. What it waits for stays so: while another holds that,
        this step cannot come. But a ``coarse`` one may begin before it comes to that.
        """
        whole = self.takes & self.frees
        waits = frozenset(self.waits)
        if coarse:
            whole |= self.waits | self.takes | self.frees
            waits = frozenset()
        return StepAccess(
            reads=frozenset(self.reads),
            writes=frozenset(self.writes | whole),
            adds=frozenset(self.adds),
            waits=waits,
            takes=frozenset(self.takes - whole),
            frees=frozenset(self.frees - whole),
            early=frozenset(self.early),
            everything=self.everything,
        )

    def came_first_to(self, what: Object) -> bool:
        """Whether the step has done nothing before it came to a lock: else, if it had to wait, it
        would have done that all the same. To look at the lock is nothing, nor whether its frame is
        in use, nor to wait for the CPU's own stores.
        """
        if self.writes or self.takes or self.frees:
            return False
        frame = ("frame", what[1]) if isinstance(what, tuple) and what[0] == "page" else None
        return self.reads <= {what, frame} and all(
            isinstance(other, tuple) and other[0] == "buffer" for other in self.waits
        )
