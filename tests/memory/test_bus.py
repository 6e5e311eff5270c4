# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: words of guest memory are reached in RAM and, by a bus, beyond it, from C and Python
alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu._native import ffi, lib
from mmu.memory import Exchange, Memory, PageFlag
from tests.memory.other_memory import OtherMemory

BASE = 1 << 30
BEYOND = 0x7000
NOWHERE = 5 << 40


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory(1 << 20, base=BASE)
    yield memory
    memory.close()


@pytest.fixture
def other(memory: Memory) -> OtherMemory:
    return OtherMemory(memory, BEYOND, 2)


@pytest.mark.parametrize("pa", [BASE + 0x3008, BEYOND + 0x1FF8])
def test_a_word(memory: Memory, other: OtherMemory, pa: int) -> None:
    other.write_u64(pa, 5)
    assert memory.load(pa) == 5
    assert memory.exchange(pa, 4, 6) is Exchange.CHANGED
    assert memory.load(pa) == 5
    assert memory.exchange(pa, 5, 6) is Exchange.DONE
    assert other.read_u64(pa) == 6
    value = ffi.new("u64 *")
    assert lib.memory_load(memory.c, pa, value) and value[0] == 6
    assert lib.memory_exchange(memory.c, pa, 5, 7) == Exchange.CHANGED
    assert lib.memory_exchange(memory.c, pa, 6, 7) == Exchange.DONE
    assert other.read_u64(pa) == 7


@pytest.mark.parametrize("connected", [False, True])
def test_no_memory(memory: Memory, connected: bool) -> None:
    if connected:
        OtherMemory(memory, BEYOND, 2).take_away()
        memory.connect(None)
    for pa in (BEYOND, NOWHERE, BASE - 8, BASE + memory.size):
        assert memory.load(pa) is None
        assert memory.exchange(pa, 0, 1) is Exchange.READ_ONLY
        memory.mark_table(pa)
        assert lib.memory_flags(memory.c, pa) == ffi.NULL
        assert lib.memory_words(memory.c, pa, ffi.new("u64[512]")) == ffi.NULL


def test_read_only_memory(memory: Memory, other: OtherMemory) -> None:
    other.read_only.add(BEYOND)
    assert memory.exchange(BEYOND, 0, 1) is Exchange.READ_ONLY
    assert memory.load(BEYOND) == 0


def test_tables_are_marked_once(memory: Memory, other: OtherMemory) -> None:
    """And counted, so that whoever keeps what it knows of stores to a frame can look again."""
    pfn = memory.alloc_pages()
    for met, pa in enumerate((pfn << 12 | 8, BEYOND + 0x1008), start=1):
        for _ in range(2):
            memory.mark_table(pa)
            assert memory.c.tables_met == met
    assert memory.page(pfn).flags & PageFlag.TABLE
    assert list(other.flags) == [0, PageFlag.TABLE]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_frame_of_words(memory: Memory, other: OtherMemory, in_place: bool) -> None:
    other.in_place = in_place
    other.write_u64(BEYOND + 0x1008, 9)
    copy = ffi.new("u64[512]")
    words = lib.memory_words(memory.c, BEYOND + 0x1000, copy)
    assert (words == copy) is not in_place
    assert ffi.unpack(words, 3) == [0, 9, 0]
    memory.write_u64(BASE + 0x4FF8, 3)
    assert lib.memory_words(memory.c, BASE + 0x4010, copy)[511] == 3
