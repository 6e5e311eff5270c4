# SPDX-License-Identifier: GPL-2.0-or-later
"""Running out of guest RAM is an error that can be caught and recovered from."""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.errors import OutOfMemory
from mmu.memory import Memory
from tests.memory.checks import check_allocator


def test_every_frame_can_be_had_and_then_none() -> None:
    memory = Memory(4 << 20)
    frames = {memory.alloc_pages() for _ in range(1022)}
    assert len(frames) == 1022
    assert memory.free_frames == 0
    with pytest.raises(OutOfMemory, match="guest RAM of 4 MiB is out: no free frame left"):
        memory.alloc_pages()
    check_allocator(memory, frames)
    memory.free_pages(frames.pop())
    frames.add(memory.alloc_pages())
    check_allocator(memory, frames)


def test_frames_kept_singly_are_merged_when_a_block_is_wanted() -> None:
    memory = Memory(4 << 20)
    frames = [memory.alloc_pages() for _ in range(1022)]
    with pytest.raises(OutOfMemory, match="no free block of 256 frames"):
        memory.alloc_pages(8)
    for frame in frames:
        memory.free_pages(frame)
    assert memory.alloc_pages(9) % 512 == 0


def test_single_frames_merge_up_to_the_largest_block() -> None:
    memory = Memory(8 << 20)
    for frame in [memory.alloc_pages() for _ in range(2046)]:
        memory.put_page(frame)
    assert memory.alloc_pages(10) == 1024


def test_ram_of_two_frames_has_none_to_give_from_0_and_one_elsewhere() -> None:
    with pytest.raises(OutOfMemory):
        Memory(8192).alloc_pages()
    elsewhere = Memory(8192, base=1 << 30)
    assert elsewhere.alloc_pages() == (1 << 18) + 1
    with pytest.raises(OutOfMemory):
        elsewhere.alloc_pages()


def test_an_injected_failure_hits_one_allocation(memory: Memory) -> None:
    memory.c.fail_after = 2
    memory.alloc_pages()
    memory.alloc_pages(3)
    with pytest.raises(OutOfMemory):
        memory.alloc_pages()
    assert memory.frames_in_use == 9
    memory.alloc_pages()
    assert memory.c.fail_after == (1 << 64) - 1


def test_c_answers_0(memory: Memory) -> None:
    memory.c.fail_after = 0
    assert lib.alloc_pages(memory.c, 0, True) == 0
