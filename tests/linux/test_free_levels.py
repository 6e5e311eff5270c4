# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: with free_levels, empty PMD and PUD tables are freed as empty PTE tables are: a count is
entries and visitors, and each table goes once, in the safe order, when its last entry does.
"""

from __future__ import annotations

import errno

import pytest

from mmu.errors import LinuxError, MmuError
from mmu.linux import engine, mman
from mmu.linux.bug import Bug, MmBug
from mmu.linux.policy import FreeLevels, FreeTables, check_free_levels
from mmu.linux.state import Kernel
from mmu.memory import Memory
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from tests.linux.test_linux_facts import CASES, SLOT, G, M, four_gib
from tests.linux.world import World
from ucmmu.testing.options import WrongOption, machines

COUNTED = [FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK]
UPPER = [FreeLevels.PMD, FreeLevels.PUD]
ENGINES = ["c", "python"]
ALL = pytest.mark.parametrize(
    ("engine_name", "policy", "levels"),
    [(e, p, u) for e in ENGINES for p in COUNTED for u in UPPER],
    ids=lambda value: getattr(value, "label", value),
)


def world_of(
    engine_name: str = "c",
    policy: FreeTables = FreeTables.REFCOUNT,
    levels: FreeLevels = FreeLevels.PUD,
    ram: int = 64 << 20,
) -> World:
    return World(engine_name, policy, ram=ram, exact=False, free_levels=levels)


def shape(world: World) -> tuple[int, int, int]:
    """PTE, PMD and PUD tables, found by a walk that also compares every count."""
    report = world.mm.check_tables()
    assert report.ok, str(report)
    return report.pte_tables, report.pmd_tables, report.pud_tables


def count(world: World, entry: int) -> int:
    """The reference count of the table in which the entry lies."""
    return int(world.memory.page(entry >> PAGE_SHIFT).pte_refcount)


@pytest.mark.parametrize(
    ("scenario", "refcount"),
    [(case[1], case[3]) for case in CASES],
    ids=[case[0] for case in CASES],
)
@pytest.mark.parametrize("levels", list(FreeLevels), ids=lambda levels: levels.label)
def test_every_row_of_the_facts(scenario: object, refcount: int, levels: FreeLevels) -> None:
    """A range of which nothing is left has no PTE, PMD or PUD table with pud, the one PUD table
    with pmd; a range of which something is left has what it had.
    """
    empty = {2: {"pte": 2, "pmd": 1, "pud": 0}, 5: {"pte": 5, "pmd": 1, "pud": 0}}
    keeps = scenario is not four_gib and refcount > 2
    expected = refcount if keeps or not refcount else empty[refcount][levels.label]
    for policy in COUNTED:
        world = world_of(policy=policy, levels=levels, ram=128 << 20)
        before = world.tables()
        scenario(world)  # type: ignore[operator]
        assert world.tables() - before == expected, policy.label
        shape(world)
        world.exit()


@ALL
def test_four_gib_given_back_leave_no_table(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    world.map(SLOT, 4 * G // PAGE_SIZE)
    for offset in range(0, 4 * G, G // 2):
        world.touch(SLOT + offset)
    assert shape(world) == (8, 4, 1)
    world.dontneed(SLOT, 4 * G // PAGE_SIZE)
    assert shape(world) == ((0, 0, 0) if levels is FreeLevels.PUD else (0, 0, 1))
    world.touch(SLOT + 5 * M)
    assert shape(world) == (1, 1, 1)
    world.exit()


@ALL
def test_a_visitor_keeps_the_pmd_table(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    mm = world.mm
    world.map(SLOT)
    world.touch(SLOT)
    pmd = engine.pmd_tryget(mm, SLOT)
    assert pmd is not None and count(world, pmd) == 2  # the PTE table, and we
    world.dontneed(SLOT, 512)
    report = mm.check_tables()
    assert (report.pte_tables, report.pmd_tables, count(world, pmd)) == (0, 1, 1)
    assert "1 references" in str(report) and "PMD table" in str(report)
    engine.pmd_put(mm, pmd, SLOT)
    assert shape(world)[:2] == (0, 0)
    assert engine.pmd_tryget(mm, SLOT) is None
    world.exit()


@ALL
def test_the_installer_holds_what_it_installed(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    mm = world.mm
    pmd = engine.pmd_alloc(mm, SLOT)
    assert pmd is not None and count(world, pmd) == 1
    again = engine.pmd_alloc(mm, SLOT)
    assert again == pmd and count(world, pmd) == 2
    engine.pmd_put(mm, pmd, SLOT)
    engine.pmd_put(mm, pmd, SLOT)
    assert shape(world)[:2] == (0, 0)
    if levels is FreeLevels.PUD:
        pud = engine.pud_alloc(mm, SLOT)
        assert pud is not None and count(world, pud) == 1
        engine.pud_put(mm, pud, SLOT)
        assert shape(world) == (0, 0, 0)


@ALL
def test_a_large_page_is_an_entry(engine_name: str, policy: FreeTables, levels: FreeLevels) -> None:
    """Who sets and clears a PMD entry that maps 2 MiB itself counts it."""
    world = world_of(engine_name, policy, levels)
    mm = world.mm
    pmd = engine.pmd_alloc(mm, SLOT)
    assert pmd is not None
    world.memory.write_u64(pmd, 0x20_0000 | 0xE7)
    engine.pmd_entry_set(mm, pmd)
    engine.pmd_put(mm, pmd, SLOT)
    assert count(world, pmd) == 1
    world.memory.write_u64(pmd, 0)
    engine.pmd_entry_cleared(mm, pmd, SLOT)
    assert shape(world)[:2] == (0, 0)


@ALL
def test_the_steps_come_in_order(engine_name: str, policy: FreeTables, levels: FreeLevels) -> None:
    """Entry cleared, flushed with freed_tables, reference of the table above dropped, and the frame
    freed after a grace period, under refcount-pmdlock too.
    """
    world = world_of(engine_name, policy, levels)
    world.mm.mmap(SLOT, PAGE_SIZE, 3, 0x32)
    world.mm.madvise(SLOT, PAGE_SIZE, mman.MADV_GUARD_INSTALL)
    world.mm.kernel.this_cpu.c.rcu_watching = 1
    world.events()
    world.mm.madvise(SLOT, PAGE_SIZE, mman.MADV_GUARD_REMOVE)  # without a gather
    names = [event.name for event in world.events()]
    own = names[names.index("pmd_put") :]
    frees = [name for name in own if name in ("set_pud", "pmd_free", "pud_put", "rcu_callback")]
    wanted = ["set_pud", "pmd_free", "rcu_callback"]
    assert frees[: len(wanted)] == wanted
    after = own[own.index("pmd_free") :]
    assert after.index("flush_tlb_mm_range") < after.index("rcu_callback")
    assert "rcu_invoke_callback" not in names
    if levels is FreeLevels.PUD:
        assert after.index("rcu_callback") < after.index("pud_put") < after.index("pud_free")
    assert world.mm.kernel.c.rcu.nr_pending == (levels.number - 1) + (policy is COUNTED[0])
    world.mm.kernel.this_cpu.c.rcu_watching = 0
    world.quiesce()
    assert world.mm.kernel.c.rcu.nr_pending == 0
    assert shape(world)[:2] == (0, 0)


@ALL
def test_a_child_gets_no_empty_table(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    world.map(SLOT, 2 * G // PAGE_SIZE)
    world.touch(SLOT)
    world.touch(SLOT + G + 8 * M)
    child = world.mm.dup_mm()
    report = child.check_tables()
    assert report.ok and (report.pte_tables, report.pmd_tables, report.pud_tables) == (2, 2, 1)
    world.dontneed(SLOT, 2 * G // PAGE_SIZE)
    assert shape(world)[:2] == (0, 0)
    assert child.check_tables().ok
    child.exit_mmap()
    world.exit()


@ALL
def test_fork_without_memory_leaves_nothing(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    world.map(SLOT, 1)
    world.touch(SLOT)
    for frames in range(5):  # PGD, PUD, PMD and PTE table
        in_use = world.memory.frames_in_use
        world.memory.c.fail_after = frames
        try:
            child = world.mm.dup_mm()
        except LinuxError as error:
            assert (error.errno, frames < 4) == (errno.ENOMEM, True)
        else:
            assert frames == 4
            child.exit_mmap()
        finally:
            world.memory.c.fail_after = (1 << 64) - 1
        world.quiesce()
        assert world.memory.frames_in_use == in_use
        assert shape(world) == (1, 1, 1)
    world.exit()


@ALL
def test_a_move_of_a_whole_table(engine_name: str, policy: FreeTables, levels: FreeLevels) -> None:
    """It is an entry less of one PMD table, which goes, and one more of another."""
    world = world_of(engine_name, policy, levels)
    flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    for distance in (2 * M, G, 512 * G):
        world.map(SLOT)
        world.touch(SLOT)
        frame = world.frame(SLOT)
        world.mm.mremap(SLOT, 2 * M, 2 * M, flags, SLOT + distance)
        assert shape(world) == (1, 1, 1)
        assert world.frame(SLOT + distance) == frame
        world.mm.munmap(SLOT + distance, 2 * M)
        world.quiesce()
        assert shape(world) == (0, 0, 0)


@ALL
def test_a_move_of_nothing_makes_no_table(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    world.map(SLOT, 1024)
    world.touch(SLOT)
    flags = mman.MREMAP_MAYMOVE | mman.MREMAP_FIXED
    world.mm.mremap(SLOT + 2 * M, 2 * M, 2 * M, flags, SLOT + 512 * G)
    tables = shape(world)
    assert tables[:2] == (1, 1) and tables[2] <= (1 if levels is FreeLevels.PUD else 2)
    world.exit()


@ALL
def test_a_fault_without_memory_leaves_no_table(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    world.map(SLOT, 1)
    for frames in range(levels.number + 1):  # PUD table, if it goes, PMD and PTE table, the page
        world.memory.c.fail_after = frames
        assert engine.do_anonymous_fault(world.mm, SLOT, True)
        world.memory.c.fail_after = (1 << 64) - 1
        world.quiesce()
        assert shape(world)[:2] == (0, 0)
        assert shape(world)[2] <= (levels is FreeLevels.PMD)
    world.touch(SLOT)
    world.exit()


def test_a_dead_table_is_freed_by_who_meets_it() -> None:
    """A count of 0 whose freer was preempted: the fault does its work (D2)."""
    for engine_name in ENGINES:
        world = world_of(engine_name)
        mm = world.mm
        world.map(SLOT, 1)
        pmd = engine.pmd_alloc(mm, SLOT)
        assert pmd is not None
        frame = pmd >> PAGE_SHIFT
        world.memory.page(frame).pte_refcount = 0  # its freer stands before page_table_lock
        assert engine.pmd_tryget(mm, SLOT) is None
        assert not engine.mm_fast_fault(mm, SLOT, 6)  # it would have to flush
        world.mm.kernel.this_cpu.c.rcu_watching = 1
        world.touch(SLOT)
        assert world.mm.kernel.c.rcu.nr_pending == 1  # the PUD table was visited, and stays
        world.mm.kernel.this_cpu.c.rcu_watching = 0
        world.quiesce()
        assert shape(world) == (1, 1, 1)
        world.exit()


def test_pagemap_of_addresses_without_a_vma_visits_no_table() -> None:
    """munmap() may be tearing tables down there, with mmap_lock held for reading as well."""
    world = world_of()
    world.map(SLOT, 1)
    world.map(SLOT + 4 * PAGE_SIZE, 1)
    world.touch(SLOT + 4 * PAGE_SIZE)
    world.events()
    from mmu.linux.pagemap import pagemap_read

    assert pagemap_read(world.mm, 8, (SLOT + PAGE_SIZE) // PAGE_SIZE * 8) == bytes(8)
    assert world.events("pte_tryget", "pmd_get") == []
    assert len(pagemap_read(world.mm, 8 * 512, SLOT // PAGE_SIZE * 8)) == 8 * 512


# Broken counts are told.


@ALL
def test_a_leaked_reference_is_told_at_exit(
    engine_name: str, policy: FreeTables, levels: FreeLevels
) -> None:
    world = world_of(engine_name, policy, levels)
    world.map(SLOT)
    world.touch(SLOT)
    assert engine.pmd_tryget(world.mm, SLOT) is not None
    with pytest.raises(MmBug) as told:
        world.mm.exit_mmap()
    assert told.value.bug == Bug.TABLE_LEAKED


@pytest.mark.parametrize("engine_name", ENGINES)
def test_an_unpaired_put_is_told(engine_name: str) -> None:
    world = world_of(engine_name)
    pmd = engine.pmd_alloc(world.mm, SLOT)
    assert pmd is not None
    world.memory.page(pmd >> PAGE_SHIFT).pte_refcount = 0
    with pytest.raises(MmBug) as told:
        engine.pmd_put(world.mm, pmd, SLOT)
    assert told.value.bug == Bug.TABLE_REF_UNDERFLOW
    with pytest.raises(MmBug) as told:
        engine.pmd_entry_set(world.mm, pmd)
    assert told.value.bug == Bug.TABLE_REF_FROM_ZERO
    world.memory.page(pmd >> PAGE_SHIFT).pte_refcount = 0x7FFF_FFFF
    with pytest.raises(MmBug) as told:
        engine.pmd_entry_set(world.mm, pmd)
    assert told.value.bug == Bug.TABLE_REF_OVERFLOW


@pytest.mark.parametrize("engine_name", ENGINES)
def test_a_table_with_entries_is_not_freed_but_told(engine_name: str) -> None:
    world = world_of(engine_name)
    world.map(SLOT, 1)
    world.touch(SLOT)
    pmd = engine.mm_find_pmd(world.mm, SLOT)
    assert pmd is not None
    with pytest.raises(MmBug) as told:
        engine.pmd_put(world.mm, pmd, SLOT)
    assert told.value.bug == Bug.TABLE_NOT_EMPTY
    assert world.mm.check_tables().pmd_tables == 1


# What it is refused with.


@pytest.mark.parametrize("policy", [FreeTables.NEVER, FreeTables.SCAN], ids=lambda p: p.label)
def test_policies_that_do_not_count_are_refused(policy: FreeTables) -> None:
    memory = Memory(1 << 20)
    with pytest.raises(MmuError, match=f"PMD tables.*not by {policy.label}"):
        Kernel(memory, policy=policy, free_levels=FreeLevels.PMD)
    Kernel(memory, policy=policy, free_levels=FreeLevels.PTE)
    check_free_levels(policy.label, policy.number, FreeLevels.PTE)
    with pytest.raises(WrongOption, match=policy.label):
        machines(
            {"policy": policy.label, "free_levels": "pud"}, [("c", "refcount")], has_policy=True
        )


def test_levels_have_names() -> None:
    assert [levels.label for levels in FreeLevels] == ["pte", "pmd", "pud"]
    assert FreeLevels.from_label("pud") is FreeLevels.PUD
    with pytest.raises(KeyError):
        FreeLevels.from_label("p4d")
    with pytest.raises(WrongOption, match="no free_levels 'p4d'"):
        machines({"free_levels": "p4d"}, [("c", "refcount")], has_policy=True)
