# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest-physical memory is read and written by address, and only where there is RAM."""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from mmu.memory import Memory, PageFlag, describe_page


def test_bytes_and_words_are_the_same_memory() -> None:
    memory = Memory(1 << 20, base=1 << 30)
    memory.write(memory.base + 8, bytes(range(8)))
    assert memory.read_u64(memory.base + 8) == 0x0706050403020100
    memory.write_u64(memory.base + 16, 0xFFFF_FFFF_FFFF_FFFF)
    assert memory.read(memory.base + 12, 8) == b"\x04\x05\x06\x07\xff\xff\xff\xff"
    assert memory.words[2] == 0xFFFF_FFFF_FFFF_FFFF


@pytest.mark.parametrize("pa", [0, (1 << 30) - 8, (1 << 30) + (1 << 20), 1 << 60])
def test_there_is_nothing_outside_ram(pa: int) -> None:
    memory = Memory(1 << 20, base=1 << 30)
    for access in (
        lambda: memory.read_u64(pa),
        lambda: memory.write_u64(pa, 0),
        lambda: memory.read(pa, 8),
        lambda: memory.write(pa, bytes(8)),
        lambda: memory.page(pa >> 12),
    ):
        with pytest.raises(MmuError, match=r"guest RAM"):
            access()
    assert not memory.holds(pa)


def test_an_access_may_not_run_over_the_end(memory: Memory) -> None:
    with pytest.raises(MmuError, match="not all guest RAM"):
        memory.read(memory.size - 4, 8)


def test_ram_ends_at_its_ends() -> None:
    memory = Memory(1 << 20, base=1 << 30)
    assert memory.holds(memory.base, memory.size)
    assert not memory.holds(memory.base - 1, 2)
    assert not memory.holds(memory.base + 1, memory.size)


def test_words_are_aligned(memory: Memory) -> None:
    with pytest.raises(MmuError, match="not aligned"):
        memory.read_u64(4)


def test_a_closed_memory_is_gone(memory: Memory) -> None:
    other = Memory(1 << 20)
    other.close()
    with pytest.raises(ValueError, match="released"):
        other.words[0]


def test_struct_page_as_text(memory: Memory) -> None:
    pfn = memory.alloc_pages()
    memory.page(pfn).flags |= PageFlag.TABLE
    assert describe_page(memory.page(pfn)) == "refcount=1 flags=table|host"
    assert describe_page(memory.page(512)).endswith("flags=zero|buddy order=9")
