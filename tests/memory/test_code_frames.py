# SPDX-License-Identifier: GPL-2.0-or-later
"""A freed frame that held code is nobody's until whoever translated its code has dropped it."""

from __future__ import annotations

from mmu.memory import Memory, PageFlag
from mmu.units import PAGE_SIZE
from tests.memory.checks import check_allocator, flags


def mark_code(memory: Memory, *pfns: int) -> None:
    """Set PG_code, as a fetch does."""
    for pfn in pfns:
        memory.page(pfn).flags |= PageFlag.CODE


def test_a_code_frame_waits_between_free_and_reuse(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    mark_code(memory, pfn)
    free = memory.free_frames
    memory.free_pages(pfn)
    assert memory.free_frames == free
    check_allocator(memory, set(), frozenset({pfn}))
    assert memory.alloc_pages() != pfn
    assert memory.take_code() == pfn
    assert memory.take_code() is None
    memory.free_code(pfn)
    assert memory.free_frames == free
    assert memory.alloc_pages() == pfn
    assert not flags(memory, pfn) & PageFlag.CODE


def test_a_block_with_code_in_it_comes_back_frame_by_frame(memory: Memory) -> None:
    pfn = memory.alloc_pages(3)
    code = {pfn, pfn + 5}
    mark_code(memory, *code)
    memory.free_pages(pfn, 3)
    check_allocator(memory, set(), frozenset(code))
    assert {memory.take_code(), memory.take_code()} == code
    for frame in code:
        memory.free_code(frame)
    check_allocator(memory, set())


def test_what_was_known_to_be_zero_stays_known(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    mark_code(memory, pfn)
    memory.free_pages(pfn, zero=True)
    assert memory.take_code() == pfn
    memory.free_code(pfn)
    assert flags(memory, pfn) & PageFlag.ZERO


def test_a_waiting_frame_may_give_its_host_memory_back(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    memory.write(pfn << 12, bytes(PAGE_SIZE))
    mark_code(memory, pfn)
    memory.free_pages(pfn)
    assert memory.release_if_zero(pfn)
    assert memory.take_code() == pfn
    memory.free_code(pfn)
    check_allocator(memory, set())
