# SPDX-License-Identifier: GPL-2.0-or-later
"""What all CPUs see, and the stores that others do not see yet (ucmmu.race.tso)."""

from __future__ import annotations

from collections.abc import Hashable

from ucmmu.race.counts import Counts
from ucmmu.race.fields import Fields
from ucmmu.race.objects import Object, Objects, is_lock, seen_by
from ucmmu.race.program import StepAccess
from ucmmu.race.touched import Touched
from ucmmu.race.tso import StoreBuffer
from ucmmu.race.watched import WatchedMemory


class Stores:
    """The store buffers of CPUs 0 to ``nr_buffers`` - 1, and the memory behind them; in SC there
    are no buffers.
    """

    def __init__(self, memory: WatchedMemory, counts: Counts, nr_buffers: int) -> None:
        self.fields = Fields()
        """What is in no RAM, and shared all the same."""
        self.buffers = [StoreBuffer[Object]() for _ in range(nr_buffers)]
        self._memory = memory
        self._counts = counts
        self._made = [0] * nr_buffers
        """Stores of each CPU so far: the number of its next one."""

    # What all see.

    def load(self, what: Object) -> int:
        """What all see of it."""
        if what in self.fields:
            return self.fields.load(what)
        return self._memory.raw_load(what)

    def commit(self, what: Object, value: int) -> None:
        """Have all see a store."""
        if what not in self.fields:
            self._memory.raw_store(what, value)
            return
        old = self.fields.store(what, value)
        if old != value:
            self._memory.mix(what, old, value)

    def newest(self, what: Object) -> int:
        """What was stored there last, by whomever."""
        waiting = (buffer.load(what) for buffer in self.buffers)
        return next((value for value in waiting if value is not None), self.load(what))

    # What waits.

    def any_waits(self) -> bool:
        """Whether any store does."""
        return any(self.buffers)

    def waiting(self) -> Hashable:
        """All that waits, to be hashed."""
        return tuple(tuple(buffer) for buffer in self.buffers)

    def last(self, cpu: int) -> Object | None:
        """What the CPU's last store takes until it has drained; None if there was none."""
        made = self._made[cpu]
        return ("buffer", cpu, made - 1) if made else None

    def hold(self, touched: Touched, what: Object, value: int, cpu: int) -> None:
        """A plain store of the CPU: it waits in its buffer."""
        self.buffers[cpu].store(what, value)
        touched.takes.add(("buffer", cpu, self._made[cpu]))
        touched.reads.add(("stores", cpu))
        self._made[cpu] += 1

    def next_drain(self, cpu: int) -> StepAccess | None:
        """What drain_one() would touch now; None if no store waits."""
        what, value = next(iter(self.buffers[cpu]), (None, 0))
        if what is None:
            return None
        writes, frees = self._drains(cpu, what, value, self._made[cpu] - len(self.buffers[cpu]))
        return StepAccess(writes=writes | {("store_buffer", cpu)}, frees=frees)

    def drain_one(self, cpu: int) -> None:
        """The oldest store of that CPU reaches memory."""
        self.commit(*self.buffers[cpu].drain())

    def drain(self, touched: Touched, cpu: int) -> None:
        """All that waits reaches memory, as if its drains had been the steps before this one."""
        first = self._made[cpu] - len(self.buffers[cpu])
        if first:
            touched.waits.add(("buffer", cpu, first - 1))
        for number, (what, value) in enumerate(self.buffers[cpu], first):
            writes, frees = self._drains(cpu, what, value, number)
            touched.writes |= writes
            touched.frees |= frees
        self.buffers[cpu].drain_all(self.commit)

    def _drains(self, cpu: int, what: Object, value: int, number: int) -> tuple[Objects, Objects]:
        """What it writes and frees that store ``number`` of that CPU reaches memory. Its own loads
        get the same before and after.
        """
        token = ("buffer", cpu, number)
        if is_lock(what) and not value and self.load(what) == cpu + 1:
            return frozenset(), frozenset((token, what))
        mine = {seen_by(cpu, what)} if isinstance(what, int) else set()
        return self._counts.parts(what).whole - mine, frozenset((token,))

    def close(self) -> None:
        """What waits reaches memory."""
        for buffer in self.buffers:
            buffer.drain_all(self.commit)
