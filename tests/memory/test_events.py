# SPDX-License-Identifier: GPL-2.0-or-later
"""Each block that is handed out or taken back is one event."""

from __future__ import annotations

import pytest

from mmu.errors import OutOfMemory
from mmu.events import EventRing
from mmu.memory import Memory


def test_alloc_and_free_are_told(memory: Memory, ring: EventRing) -> None:
    memory.record(ring)
    single, block = memory.alloc_pages(), memory.alloc_pages(2)
    memory.free_pages(block, 2)
    memory.put_page(single)
    assert [str(event) for event in ring.read()] == [
        f"mm_page_alloc pfn={single:#x} order=0x0",
        f"mm_page_alloc pfn={block:#x} order=0x2",
        f"mm_page_free pfn={block:#x} order=0x2",
        f"mm_page_free pfn={single:#x} order=0x0",
    ]


def test_a_failed_allocation_is_no_event(memory: Memory, ring: EventRing) -> None:
    memory.record(ring)
    memory.c.fail_after = 0
    with pytest.raises(OutOfMemory):
        memory.alloc_pages()
    assert ring.read() == []
