# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a lock has one holder: taking it twice or dropping it unheld is a defect, which is told."""

from __future__ import annotations

import pytest

from mmu.linux import engine, locks
from mmu.linux.bug import Bug, MmBug
from mmu.linux.pte_ref import PteAlloc
from tests.linux.world import BASE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.mark.parametrize("level", ["pte", "pmd"])
def test_one_holder_of_a_tables_lock(world: World, level: str) -> None:
    mm, pmd = world.mm, world.pmd()
    assert engine.pte_alloc_get(mm, pmd, BASE)[0] == PteAlloc.OK
    lock, unlock = getattr(engine, f"{level}_lock"), getattr(engine, f"{level}_unlock")
    which = pmd if level == "pmd" else world.frame()
    for _ in range(2):
        lock(mm, which)
        unlock(mm, which)
    with pytest.raises(MmBug) as caught:
        unlock(mm, which)
    assert caught.value.bug == Bug.LOCK_NOT_HELD
    lock(mm, which)
    with pytest.raises(MmBug) as caught:
        lock(mm, which)
    assert caught.value.bug == Bug.LOCK_HELD


def test_one_holder_of_the_page_table_lock() -> None:
    mm = World("python").mm
    for _ in range(2):
        locks.page_table_lock(mm)
        locks.page_table_unlock(mm)
    for again, bug in (
        (locks.page_table_unlock, Bug.LOCK_NOT_HELD),
        (locks.page_table_lock, None),
        (locks.page_table_lock, Bug.LOCK_HELD),
    ):
        again(mm)
        if bug is None:
            mm.kernel.check()
            continue
        with pytest.raises(MmBug) as caught:
            mm.kernel.check()
        assert caught.value.bug == bug


def test_trylock_takes_only_what_is_free() -> None:
    world = World("python")
    mm, pmd = world.mm, world.pmd()
    assert locks.pmd_trylock(mm, pmd)
    assert not locks.pmd_trylock(mm, pmd)
    locks.pmd_unlock(mm, pmd)
    assert locks.pmd_trylock(mm, pmd)
