# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: D that a processor sets while an entry is changed is not lost, nor is what it wrote."""

from __future__ import annotations

import pytest

from mmu.linux.mman import (
    MADV_PAGEOUT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_SHARED,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
)
from mmu.linux.pgtable import D, mm_find_pmd, pte_offset
from mmu.linux.policy import FreeTables
from mmu.memory import Memory
from mmu.x86 import Access
from tests.linux.processes import access, pte
from tests.linux.world import BASE, World
from ucmmu.race import operations as do
from ucmmu.race.explore import Limits, explore
from ucmmu.race.kernel_program import KernelProgram
from ucmmu.race.world import PAGE_SIZE, RaceWorld

SHARED = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED
OTHER = BASE + 8 * PAGE_SIZE


def test_reclaim_does_not_drop_what_is_written_meanwhile() -> None:
    """MADV_PAGEOUT of a clean page of shared memory that both CPUs have read."""

    def make() -> KernelProgram:
        world = RaceWorld(FreeTables.REFCOUNT, watched=True)
        world.run_on(0)
        world.mm.mmap(BASE, PAGE_SIZE, 3, SHARED)
        for number in (1, 0):
            world.run_on(number)
            world.load(world.mm, BASE)

        def check() -> None:
            world.run_on(0)
            assert world.load(world.mm, BASE) == 7, "the write is lost"

        world.at_end.append(check)
        pageout = do.syscall(
            world, "madvise", lambda: world.mm.madvise(BASE, PAGE_SIZE, MADV_PAGEOUT)
        )
        return KernelProgram(world, {0: pageout, 1: lambda: world.store(world.mm, BASE, 7)})

    found = explore(make, bound=1, limits=Limits(schedules=200))
    assert found.failure is None, found.failure.text
    assert found.bound == 1


@pytest.mark.parametrize("engine", ["c", "python"])
def test_a_moved_entry_is_as_dirty_as_it_was(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """move_ptes(): the processor sets D just after the entry was looked at, or just before it is
    exchanged.
    """
    world = World(engine)
    mm = world.mm
    mm.mmap(BASE, PAGE_SIZE, 3, SHARED)
    access(mm, BASE, Access.READ)
    pmd = mm_find_pmd(mm, BASE)
    assert pmd is not None
    entry = pte_offset(mm.memory.read_u64(pmd), BASE)
    assert not pte(mm, BASE) & D
    read_u64, xchg_u64 = Memory.read_u64, Memory.xchg_u64

    def dirty(memory: Memory, pa: int) -> None:
        value = read_u64(memory, pa)
        if pa == entry and value:
            memory.write_u64(pa, value | D)

    def read(memory: Memory, pa: int) -> int:
        value = read_u64(memory, pa)
        dirty(memory, pa)
        return value

    def xchg(memory: Memory, pa: int, value: int) -> int:
        dirty(memory, pa)
        return xchg_u64(memory, pa, value)

    with monkeypatch.context() as patched:
        patched.setattr(Memory, "read_u64", read)
        patched.setattr(Memory, "xchg_u64", xchg)
        mm.mremap(BASE, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, OTHER)
    assert pte(mm, OTHER) & D
