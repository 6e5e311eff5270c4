# SPDX-License-Identifier: GPL-2.0-or-later
"""The buddy allocator against a model that only knows which frames are free.

A request succeeds exactly when some naturally aligned block of its size is wholly free,
however blocks were split and merged before; and a frame asked for as zero reads as zero.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from mmu.errors import OutOfMemory
from mmu.memory import MAX_ORDER, Memory
from mmu.units import PAGE_SIZE
from tests.memory.checks import check_allocator, first_pfn

ZEROS = bytes(PAGE_SIZE)
DIRT = b"\xa5" * PAGE_SIZE


class Buddy(RuleBasedStateMachine):
    """Random requests on a small RAM whose ends are not aligned to the largest block."""

    blocks = Bundle("blocks")

    @initialize(
        frames=st.integers(2, 3000), base=st.sampled_from([0, 4096, 5 << 12, 4 << 20, 1 << 40])
    )
    def start(self, frames: int, base: int) -> None:
        self.memory = Memory(frames * PAGE_SIZE, base=base)
        first = first_pfn(self.memory)
        self.free = set(range(first, first + frames)) - {0, self.memory.zero_pfn}
        self.in_use: set[int] = set()

    def _possible(self, order: int) -> bool:
        size = 1 << order
        starts = {frame - frame % size for frame in self.free}
        return any(
            all(frame in self.free for frame in range(start, start + size)) for start in starts
        )

    @rule(target=blocks, order=st.integers(0, MAX_ORDER), zero=st.booleans(), dirty=st.booleans())
    def alloc(self, order: int, zero: bool, dirty: bool) -> object:
        possible = self._possible(order)
        try:
            pfn = self.memory.alloc_pages(order, zero=zero)
        except OutOfMemory:
            assert not possible
            return multiple()
        frames = range(pfn, pfn + (1 << order))
        assert possible
        assert pfn % (1 << order) == 0
        assert self.free.issuperset(frames)
        if zero:
            assert all(self.memory.read(frame << 12, PAGE_SIZE) == ZEROS for frame in frames)
        if dirty:
            self.memory.write(pfn << 12, DIRT * len(frames))
        self.free.difference_update(frames)
        self.in_use.update(frames)
        return pfn, order

    @rule(block=consumes(blocks), zero=st.booleans())
    def free_block(self, block: tuple[int, int], zero: bool) -> None:
        pfn, order = block
        if zero:
            self.memory.write(pfn << 12, bytes(PAGE_SIZE << order))
        self.memory.free_pages(pfn, order, zero=zero)
        self._freed(range(pfn, pfn + (1 << order)))

    @rule(block=consumes(blocks))
    def free_frame_by_frame(self, block: tuple[int, int]) -> None:
        pfn, order = block
        frames = range(pfn, pfn + (1 << order))
        for frame in frames:
            self.memory.put_page(frame)
        self._freed(frames)

    @rule(keep=st.integers(0, 100))
    def trim(self, keep: int) -> None:
        before = self.memory.c.nr_dirty_free
        given = self.memory.trim(keep)
        assert given == (before - self.memory.c.nr_dirty_free) * PAGE_SIZE
        assert self.memory.c.nr_dirty_free <= keep

    def _freed(self, frames: range) -> None:
        self.in_use.difference_update(frames)
        self.free.update(frames)

    @invariant()
    def holds_together(self) -> None:
        if hasattr(self, "memory"):
            check_allocator(self.memory, self.in_use)

    def teardown(self) -> None:
        if hasattr(self, "memory"):
            self.memory.close()


TestBuddy = Buddy.TestCase
