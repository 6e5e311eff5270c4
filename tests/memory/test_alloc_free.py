# SPDX-License-Identifier: GPL-2.0-or-later
"""alloc_pages, free_pages and put_page hand frames out with one owner and take them back when it
goes.
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.errors import MmuError
from mmu.memory import MAX_ORDER, Memory
from tests.memory.checks import check_allocator


def test_a_frame_handed_out_has_one_owner_and_nothing_else(memory: Memory) -> None:
    page = memory.page(memory.alloc_pages())
    assert page._refcount == 1
    assert page.flags == lib.PG_host
    assert (page._mapcount, page.pte_refcount, page.pmd) == (0, 0, 0)


def test_pfn_0_and_the_zero_page_are_never_handed_out() -> None:
    memory = Memory(1 << 20)
    frames = {memory.alloc_pages() for _ in range(memory.free_frames)}
    assert len(frames) == 254
    assert not frames & {0, memory.zero_pfn}


def test_the_frame_freed_last_is_handed_out_first(memory: Memory) -> None:
    first, second = memory.alloc_pages(), memory.alloc_pages()
    memory.free_pages(first)
    memory.free_pages(second)
    assert [memory.alloc_pages(), memory.alloc_pages()] == [second, first]


@pytest.mark.parametrize("order", range(MAX_ORDER + 1))
def test_blocks_are_naturally_aligned_and_wholly_owned(memory: Memory, order: int) -> None:
    memory.alloc_pages()
    pfn = memory.alloc_pages(order)
    assert pfn % (1 << order) == 0
    assert all(memory.page(frame)._refcount == 1 for frame in range(pfn, pfn + (1 << order)))
    memory.free_pages(pfn, order)
    assert all(memory.page(frame)._refcount == 0 for frame in range(pfn, pfn + (1 << order)))


def test_put_page_frees_with_the_last_owner(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    free = memory.free_frames
    memory.page(pfn)._refcount += 1
    memory.put_page(pfn)
    assert memory.free_frames == free
    memory.put_page(pfn)
    assert memory.free_frames == free + 1


def test_the_zero_page_survives_its_last_put(memory: Memory) -> None:
    free = memory.free_frames
    memory.put_page(memory.zero_pfn)
    assert memory.page(memory.zero_pfn)._refcount == 1
    assert memory.free_frames == free


def test_freeing_what_is_not_owned_once_is_refused_and_changes_nothing(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    memory.page(pfn)._refcount = 2
    for wrong in (lambda: memory.free_pages(pfn), lambda: memory.free_pages(memory.zero_pfn)):
        with pytest.raises(MmuError, match="cannot be freed"):
            wrong()
    memory.page(pfn)._refcount = 1
    memory.free_pages(pfn)
    with pytest.raises(MmuError, match="cannot be freed: refcount=0"):
        memory.free_pages(pfn)
    with pytest.raises(MmuError, match="no owner"):
        memory.put_page(pfn)
    check_allocator(memory, set())


@pytest.mark.parametrize("order", [-1, MAX_ORDER + 1, 64])
def test_orders_beyond_linux_s_are_refused(memory: Memory, order: int) -> None:
    with pytest.raises(MmuError, match=r"2\^0 to 2\^10"):
        memory.alloc_pages(order)
    assert order < 0 or lib.alloc_pages(memory.c, order, False) == 0


def test_counts_of_frames_handed_out_and_taken_back(memory: Memory) -> None:
    single, block = memory.alloc_pages(), memory.alloc_pages(3)
    assert (memory.c.allocs, memory.c.frees, memory.frames_in_use) == (9, 0, 9)
    memory.free_pages(block, 3)
    memory.free_pages(single)
    assert (memory.c.allocs, memory.c.frees, memory.frames_in_use) == (9, 9, 0)


def test_lowest_count_of_free_frames_is_kept(memory: Memory) -> None:
    free = memory.free_frames
    memory.free_pages(memory.alloc_pages(5), 5)
    assert memory.free_frames == free
    assert memory.c.nr_free_min == free - 32
