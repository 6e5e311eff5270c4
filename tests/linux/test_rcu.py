# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a queued table frame is freed after a grace period, and a grace period does not end inside
a read section.
"""

from __future__ import annotations

import pytest

from mmu.linux import engine, pgalloc
from mmu.linux.bug import Bug, MmBug
from tests.linux.world import World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def queued(world: World, nr: int) -> list[int]:
    frames = []
    for _ in range(nr):
        frame = pgalloc.table_alloc(world.mm)
        assert frame is not None
        engine.call_rcu(world.mm.kernel, frame)
        frames.append(frame)
    return frames


def test_freed_in_the_order_queued(world: World) -> None:
    frames = queued(world, 3)
    world.events()
    assert engine.rcu_process_callbacks(world.mm.kernel) == 3
    assert [event["pfn"] for event in world.events("rcu_invoke_callback")] == frames
    assert (world.mm.kernel.c.rcu.gp_seq, world.mm.kernel.c.rcu.nr_pending) == (1, 0)
    assert engine.rcu_process_callbacks(world.mm.kernel) == 0
    assert world.mm.kernel.c.rcu.gp_seq == 1, "nothing waits, nothing ends"


def test_a_read_section_holds_the_grace_period_back(world: World) -> None:
    mm = world.mm
    engine.rcu_read_lock(mm.kernel)
    engine.rcu_read_lock(mm.kernel)
    (frame,) = queued(world, 1)
    engine.rcu_read_unlock(mm.kernel)
    assert engine.rcu_process_callbacks(mm.kernel) == 0
    assert world.memory.page(frame)._refcount == 1
    engine.rcu_read_unlock(mm.kernel)
    assert engine.rcu_process_callbacks(mm.kernel) == 1
    assert world.memory.page(frame)._refcount == 0


def test_an_unlock_too_many_is_told(world: World) -> None:
    with pytest.raises(MmBug) as caught:
        engine.rcu_read_unlock(world.mm.kernel)
    assert caught.value.bug == Bug.RCU_UNBALANCED
    assert caught.value.address == 0


def test_a_dirty_table_frame_is_not_taken_for_zero(world: World) -> None:
    """Only what was looked at counts as known zero: the next owner must not see what the table
    held.
    """
    (frame,) = queued(world, 1)
    world.memory.write_u64((frame << 12) + 8, 0xABC)
    world.quiesce()
    again = world.memory.alloc_pages()
    assert again == frame
    assert not any(world.memory.read(again << 12, 4096))
