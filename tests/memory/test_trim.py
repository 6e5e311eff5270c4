# SPDX-License-Identifier: GPL-2.0-or-later
"""Free frames, and frames that are all zero, can give their host memory back."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from mmu._native import ffi
from mmu.errors import MmuError
from mmu.memory import Memory, PageFlag
from mmu.units import PAGE_SIZE
from tests.memory.checks import check_allocator, flags

DIRT = b"\xff" * PAGE_SIZE

_mincore = ctypes.CDLL(None, use_errno=True).mincore
_mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


def resident(memory: Memory, pfn: int) -> bool:
    """Whether the host holds memory for the frame (mincore(2))."""
    address = int(ffi.cast("uintptr_t", memory.c.ram)) + (pfn << 12) - memory.base
    answer = ctypes.create_string_buffer(1)
    assert _mincore(address, mmap.PAGESIZE, answer) == 0
    return bool(answer.raw[0] & 1)


def dirty_frames(memory: Memory, count: int) -> list[int]:
    """Frames handed out and written."""
    frames = [memory.alloc_pages() for _ in range(count)]
    for frame in frames:
        memory.write(frame << 12, DIRT)
    return frames


def test_trim_gives_back_what_free_frames_hold(memory: Memory) -> None:
    frames = dirty_frames(memory, 2000)
    used, freed = frames[:10], frames[10:]
    for frame in freed:
        memory.free_pages(frame)
    assert memory.c.nr_dirty_free == 1990
    assert memory.trim() == 1990 * PAGE_SIZE
    assert memory.c.nr_dirty_free == 0
    assert not any(resident(memory, frame) for frame in freed)
    assert all(memory.read(frame << 12, PAGE_SIZE) == DIRT for frame in used)
    assert all(flags(memory, frame) & PageFlag.ZERO for frame in freed)
    check_allocator(memory, set(used))


def test_trim_keeps_what_it_was_told_to_keep(memory: Memory) -> None:
    for frame in dirty_frames(memory, 100):
        memory.free_pages(frame)
    assert memory.trim(40) == 60 * PAGE_SIZE
    assert memory.c.nr_dirty_free == 40
    assert memory.trim(40) == 0


def test_trim_goes_block_by_block_and_stops(memory: Memory) -> None:
    for frame in dirty_frames(memory, 10_000):
        memory.free_pages(frame)
    memory.trim(5000)
    assert 5000 - 1024 < memory.c.nr_dirty_free <= 5000
    assert memory.trim(memory.c.nr_dirty_free) == 0


def test_a_trimmed_frame_is_handed_out_as_zero_without_being_written(memory: Memory) -> None:
    (frame,) = dirty_frames(memory, 1)
    memory.free_pages(frame)
    memory.trim()
    assert memory.alloc_pages() == frame
    assert not resident(memory, frame)
    assert memory.read(frame << 12, PAGE_SIZE) == bytes(PAGE_SIZE)


def test_a_frame_freed_as_zero_holds_host_memory_until_trimmed(memory: Memory) -> None:
    (frame,) = dirty_frames(memory, 1)
    memory.write(frame << 12, bytes(PAGE_SIZE))
    memory.free_pages(frame, zero=True)
    assert resident(memory, frame)
    assert memory.trim() == PAGE_SIZE
    assert not resident(memory, frame)


def test_a_zero_frame_in_use_gives_its_memory_back_and_reads_the_same(memory: Memory) -> None:
    (frame,) = dirty_frames(memory, 1)
    assert not memory.release_if_zero(frame)
    memory.write(frame << 12, bytes(PAGE_SIZE))
    assert memory.release_if_zero(frame)
    assert not resident(memory, frame)
    assert memory.read(frame << 12, PAGE_SIZE) == bytes(PAGE_SIZE)
    memory.write(frame << 12, DIRT)
    memory.free_pages(frame)
    check_allocator(memory, set())


@pytest.mark.parametrize("offset", [0, 1, 2048, 4095])
def test_one_byte_that_is_not_zero_is_enough_to_keep_a_frame(memory: Memory, offset: int) -> None:
    frame = memory.alloc_pages()
    memory.write((frame << 12) + offset, b"\x01")
    assert not memory.release_if_zero(frame)
    assert memory.read((frame << 12) + offset, 1) == b"\x01"


def test_a_free_frame_that_is_zero_is_known_to_be_so_afterwards(memory: Memory) -> None:
    (frame,) = dirty_frames(memory, 1)
    memory.write(frame << 12, bytes(PAGE_SIZE))
    memory.free_pages(frame)
    assert memory.release_if_zero(frame)
    assert flags(memory, frame) & PageFlag.ZERO
    check_allocator(memory, set())


def test_only_frames_of_ram_can_be_asked_about(memory: Memory) -> None:
    assert not memory.release_if_zero((memory.size >> 12) - 1)
    with pytest.raises(MmuError, match="not guest RAM"):
        memory.release_if_zero(memory.size >> 12)
