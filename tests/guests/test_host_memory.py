# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: what a guest frees goes back to the host, not at once, but before it piles up."""

from __future__ import annotations

import pytest

from mmu.events import EVENT_ID, EventRing
from tests.guests.machine import guest_machine


def test_freed_frames_give_their_host_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop frees 512 frames a turn; with room for 128 kept, each turn ends with half of that at
    most.
    """
    with guest_machine("dontneed_loop", "16M", "2M") as machine:
        memory = machine.memory
        memory.c.keep_dirty = 128
        trim, kept = memory.trim, []

        def watched(keep: int = 0) -> int:
            given = trim(keep)
            kept.append(int(memory.c.nr_dirty_free))
            return given

        monkeypatch.setattr(memory, "trim", watched)
        assert machine.run().exit_code == 0
        assert len(kept) >= 8
        assert max(kept) <= 64


def test_the_frame_allocator_tells_its_ring() -> None:
    ring = EventRing(1 << 20)
    ring.enable()
    with guest_machine("hello", fidelity="trace", ring=ring) as machine:
        machine.memory.record(ring)
        machine.run()
        names = [event.desc.id for event in ring.read()]
    assert names.count(EVENT_ID["mm_page_alloc"]) > 20
    assert names.count(EVENT_ID["mm_page_free"]) > 20
