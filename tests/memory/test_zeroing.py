# SPDX-License-Identifier: GPL-2.0-or-later
"""A frame asked for as zero reads as zero, and is written only when it is not known to be zero."""

from __future__ import annotations

from mmu.memory import Memory, PageFlag
from mmu.units import PAGE_SIZE
from tests.memory.checks import flags

DIRT = b"\x5a" * PAGE_SIZE


def test_a_dirty_frame_is_cleared_for_its_next_owner(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    memory.write(pfn << 12, DIRT)
    memory.free_pages(pfn)
    assert not flags(memory, pfn) & PageFlag.ZERO
    assert memory.alloc_pages() == pfn
    assert memory.read(pfn << 12, PAGE_SIZE) == bytes(PAGE_SIZE)


def test_without_zero_a_frame_keeps_what_it_held(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    memory.write(pfn << 12, DIRT)
    memory.free_pages(pfn)
    assert memory.alloc_pages(zero=False) == pfn
    assert memory.read(pfn << 12, PAGE_SIZE) == DIRT


def test_a_frame_known_to_be_zero_is_not_written_again(memory: Memory) -> None:
    """Seen from a lie: bytes put into a frame that was freed as zero are still there afterwards."""
    pfn = memory.alloc_pages()
    memory.free_pages(pfn, zero=True)
    assert flags(memory, pfn) & PageFlag.ZERO
    memory.write_u64(pfn << 12, 1)
    assert memory.alloc_pages() == pfn
    assert memory.read_u64(pfn << 12) == 1


def test_each_frame_of_a_block_is_known_by_itself(memory: Memory) -> None:
    pfn = memory.alloc_pages(4)
    memory.write(pfn << 12, DIRT * 16)
    memory.write((pfn + 7) << 12, bytes(PAGE_SIZE))
    for frame in range(pfn, pfn + 16):
        memory.free_pages(frame, zero=frame == pfn + 7)
    for _ in range(16):
        frame = memory.alloc_pages()
        assert memory.read(frame << 12, PAGE_SIZE) == bytes(PAGE_SIZE)


def test_frames_never_handed_out_are_known_to_be_zero(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    beyond = (memory.c.frontier << 12) - PAGE_SIZE
    assert flags(memory, beyond >> 12) & PageFlag.ZERO
    assert not flags(memory, pfn) & PageFlag.ZERO
