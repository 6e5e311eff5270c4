# SPDX-License-Identifier: GPL-2.0-or-later
"""Read the frame allocator's structures from outside, and say whether they hold together."""

from __future__ import annotations

from mmu._native import lib
from mmu.memory import MAX_ORDER, Memory, PageFlag

PAGE_NONE = lib.PAGE_NONE
_FIELDS = (1 << lib.PG_order_shift) - 1


def first_pfn(memory: Memory) -> int:
    """The pfn of the first frame of RAM."""
    return memory.base >> 12


def flags(memory: Memory, pfn: int) -> PageFlag:
    """The flags of a frame, without the order."""
    return PageFlag(memory.page(pfn).flags & _FIELDS)


def free_blocks(memory: Memory) -> list[tuple[int, int]]:
    """(pfn, order) of each block in the free lists; their links and flags are checked too."""
    base, blocks = first_pfn(memory), []
    for order in range(MAX_ORDER + 1):
        before, index = PAGE_NONE, memory.c.free_head[order]
        while index != PAGE_NONE:
            page = memory.c.pages[index]
            assert page.prev == before
            assert page._refcount == 0
            assert page.flags & lib.PG_buddy
            assert page.flags >> lib.PG_order_shift == order
            blocks.append((base + index, order))
            before, index = index, page.next
    return blocks


def stacked(memory: Memory) -> list[int]:
    """The pfns of the frames kept in front of the free lists; the last is allocated first."""
    return [first_pfn(memory) + memory.c.pcp[i] for i in range(memory.c.pcp_nr)]


def check_allocator(
    memory: Memory, in_use: set[int], waiting: frozenset[int] = frozenset()
) -> None:
    """Every frame is exactly one of: in use, free, waiting for take_code(), reserved, beyond the
    frontier.
    """
    blocks, singles, c = free_blocks(memory), stacked(memory), memory.c
    in_blocks = [frame for pfn, order in blocks for frame in range(pfn, pfn + (1 << order))]
    beyond = set(range(first_pfn(memory) + c.frontier, first_pfn(memory) + c.nr_pages))
    reserved = {memory.zero_pfn} | ({0} if memory.base == 0 else set())
    groups = [in_blocks, singles, in_use, waiting, beyond, reserved]
    everything = [frame for group in groups for frame in group]
    assert sorted(everything) == list(range(first_pfn(memory), first_pfn(memory) + c.nr_pages))
    assert c.nr_free == len(in_blocks) + len(singles) + len(beyond)
    assert c.allocs - c.frees == len(in_use)
    assert c.nr_free_min <= c.nr_free
    dirty = [frame for frame in in_blocks + singles if flags(memory, frame) & PageFlag.HOST]
    assert c.nr_dirty_free == len(dirty)
    _check_blocks(memory, blocks)


def _check_blocks(memory: Memory, blocks: list[tuple[int, int]]) -> None:
    """Blocks are naturally aligned, and two free buddies are always one block."""
    listed = set(blocks)
    for pfn, order in blocks:
        assert pfn % (1 << order) == 0
        assert order == MAX_ORDER or (pfn ^ (1 << order), order) not in listed
