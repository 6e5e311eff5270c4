# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: four levels lead from CR3 to a page of 4 KiB, 2 MiB or 1 GiB, each indexed by nine bits
(SDM 4.5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.events import Event
from mmu.x86 import Access, MemoryType, Mmu, Outcome, Walk, WalkMode
from mmu.x86.entries import X86_A, X86_G, X86_P, X86_PS, X86_RW, X86_US, entry_offset, level_size
from mmu.x86.registers import CR0_PG, CR4_PCIDE, CR4_PGE
from ucmmu.testing.tables import USER, VA, Tables

AssertWalk = Callable[..., Walk]


@pytest.mark.parametrize(("level", "size"), [(1, 4 << 10), (2, 2 << 20), (3, 1 << 30)])
def test_a_leaf_of_each_size(
    tables: Tables, assert_walk: AssertWalk, level: int, size: int
) -> None:
    frame = 3 * size
    tables.map(VA, frame, level=level)
    walk = assert_walk(VA + 0x123, level=level, pa=frame + (VA + 0x123) % size)
    assert [pa != 0 for pa in walk.entry_pa] == [False, level <= 1, level <= 2, True, True, False]


def test_the_steps_of_a_walk(tables: Tables, assert_walk: AssertWalk) -> None:
    pa = tables.map(VA)
    walk = assert_walk(VA, top_level=4)
    table = tables.root
    for level in (4, 3, 2, 1):
        assert walk.entry_pa[level] == table + entry_offset(VA, level)
        assert walk.entry[level] == tables.memory.read_u64(walk.entry_pa[level])
        table = walk.entry[level] & 0x000F_FFFF_FFFF_F000
    assert table == pa


@pytest.mark.parametrize("va", [0, 0x7FFF_FFFF_F000, 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_F000])
def test_both_canonical_halves(tables: Tables, assert_walk: AssertWalk, va: int) -> None:
    pa = tables.map(va)
    assert_walk(va + 0xFFF, pa=pa + 0xFFF)


def test_neighbours_do_not_share_a_translation(tables: Tables, assert_walk: AssertWalk) -> None:
    pages = [VA, VA + 4096, VA + (1 << 21), VA + (1 << 30), VA ^ (1 << 39)]
    frames = [tables.map(va) for va in pages]
    for va, pa in zip(pages, frames, strict=True):
        assert_walk(va, pa=pa)


def test_bits_of_cr3_that_are_no_address(tables: Tables, assert_walk: AssertWalk) -> None:
    pa = tables.map(VA)
    tables.load(pcid=0xABC, keep=True)
    assert_walk(VA, pa=pa)


def test_ignored_bits_mean_nothing(tables: Tables, assert_walk: AssertWalk) -> None:
    """Bits 11:9 and 62:52 are software's in every entry, G and D where it refers to a table (SDM
    table 4-19).
    """
    pa = tables.map(VA)
    for level in (4, 3, 2, 1):
        tables.change(VA, level, set=0xE00 | 0x7FF << 52)
    for level in (4, 3, 2):
        tables.change(VA, level, set=X86_G | 1 << 6)
    assert_walk(VA, pa=pa, dirty=False, is_global=False)


def test_bit_12_of_a_large_leaf_is_its_pat(tables: Tables, assert_walk: AssertWalk) -> None:
    tables.map(VA, 4 << 20, USER | 1 << 12, level=2)
    assert_walk(VA, pa=(4 << 20) + VA % (2 << 20))


def test_bit_7_of_a_pte_is_its_pat(tables: Tables, assert_walk: AssertWalk) -> None:
    pa = tables.map(VA, flags=USER | X86_PS)
    assert_walk(VA, pa=pa, level=1)


def test_global_needs_pge(tables: Tables, mmu: Mmu, assert_walk: AssertWalk) -> None:
    tables.map(VA, flags=USER | X86_G)
    assert_walk(VA, is_global=True)
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PGE)
    assert_walk(VA, is_global=False)


def test_a_page_outside_ram_is_a_translation(
    tables: Tables, mmu: Mmu, assert_walk: AssertWalk
) -> None:
    """Only tables must lie in RAM; what a page is backed by is not the walk's affair."""
    tables.map(VA, 1 << 40)
    assert_walk(VA, pa=1 << 40)
    assert mmu.refill(VA, Access.READ).pa == 1 << 40


@pytest.mark.parametrize("level", [4, 3, 2, 1])
@pytest.mark.parametrize("exact", [False, True])
def test_a_table_outside_ram(tables: Tables, mmu: Mmu, level: int, exact: bool) -> None:
    mmu.exact = exact
    tables.map(VA)
    if level == 4:
        mmu.write_cr3(1 << 40)
    else:
        tables.put(VA, level + 1, 1 << 40 | USER)
    for walk in (mmu.walk(VA), mmu.walk(VA, mode=WalkMode.QUIET)):
        assert walk.result == Outcome.BAD_TABLE
        assert walk.level == level
        assert walk.entry_pa[level] == (1 << 40) + entry_offset(VA, level)
    assert mmu.translate(VA, Access.READ).result == Outcome.BAD_TABLE
    assert mmu.refill(VA, Access.READ).result == Outcome.BAD_TABLE
    assert mmu.c.cr2 == 0
    assert mmu.counters()["page_faults_hw"] == 0


def test_tables_that_refer_to_themselves(tables: Tables, assert_walk: AssertWalk) -> None:
    """The recursive mapping: four times through the PML4 table, which is then the page itself."""
    tables.memory.write_u64(tables.root + 511 * 8, tables.root | USER)
    assert_walk(0xFFFF_FFFF_FFFF_F000, pa=tables.root)


def test_without_paging_the_address_is_physical(tables: Tables, mmu: Mmu) -> None:
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)  # under which PG may not be cleared
    mmu.write_cr0(mmu.c.cr0 & ~CR0_PG)
    supervisor = mmu.refill(
        VA, Access.FETCH, user=False
    )  # to whom CR4.SMEP and SMAP mean nothing now
    for answer in (mmu.translate(VA, Access.WRITE), mmu.refill(VA, Access.FETCH), supervisor):
        assert (answer.pa, answer.perms, answer.result) == (VA, 0x1F, Outcome.OK)
        assert answer.memory_type == MemoryType.UC  # no entry says another
    for mode in WalkMode:
        walk = mmu.walk(VA, Access.WRITE, mode=mode)
        assert (walk.pa, walk.rights, walk.xd, walk.dirty) == (VA, X86_RW | X86_US, False, True)
        assert (walk.level, walk.top_level, walk.entry) == (0, 0, [0] * 6)
    assert mmu.entries() == []


def test_quiet_and_probe_are_silent(
    tables: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    recorded: Callable[[], list[Event]],
) -> None:
    tables.map(VA)
    recorded()
    with counted({}):
        mmu.walk(VA)
        mmu.walk(VA, mode=WalkMode.QUIET)
        mmu.walk(VA + 4096)
    assert recorded() == []


def test_hardware_tells_each_step(
    tables: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    recorded: Callable[[], list[Event]],
) -> None:
    pa = tables.map(VA)
    tables.change(VA, 4, set=X86_A)
    recorded()
    with counted({"page_walker_loads": 4}):
        walk = mmu.walk(VA + 8, mode=WalkMode.HARDWARE)
    events = recorded()
    names = ["walk_entry", *["walk_entry", "walk_set_ad"] * 3, "walk_done"]
    assert [event.name for event in events] == names
    assert events[-1].fields == {"address": VA + 8, "pa": pa + 8, "level": 1, "access": 0}
    assert [e["entry_pa"] for e in events if e.name == "walk_entry"] == walk.entry_pa[4:0:-1]
    assert [e["level"] for e in events if e.name == "walk_entry"] == [4, 3, 2, 1]
    set_ad = [(e["old"], e["entry"]) for e in events if e.name == "walk_set_ad"]
    assert set_ad == [(entry & ~X86_A, entry) for entry in walk.entry[3:0:-1]]


@pytest.mark.parametrize(("exact", "marked"), [(True, True), (False, False)])
def test_tables_are_marked_in_exact(tables: Tables, mmu: Mmu, exact: bool, marked: bool) -> None:
    """So that stores to them can be noticed."""
    from mmu.memory.frames import PageFlag

    mmu.exact = exact
    pa = tables.map(VA)
    mmu.walk(VA)
    frames = [entry_pa >> 12 for entry_pa in mmu.walk(VA).entry_pa[1:5]]
    assert not any(tables.memory.page(frame).flags & PageFlag.TABLE for frame in frames)
    for frame in frames:
        tables.memory.page(frame).flags |= PageFlag.CODE
    mmu.translate(VA, Access.READ)
    assert all(tables.memory.page(frame).flags & PageFlag.CODE for frame in frames)
    assert all(bool(tables.memory.page(frame).flags & PageFlag.TABLE) == marked for frame in frames)
    assert not tables.memory.page(pa >> 12).flags & PageFlag.TABLE


def test_ram_need_not_begin_at_0(mmu: Mmu) -> None:
    """The C engine's short way must find tables anywhere in RAM, whatever RAM's base and size."""
    from mmu.memory import Memory

    for base, frames in ((0, 100), (3 << 30, 300), (5 << 12, 37)):
        memory = Memory(frames << 12, base=base)
        other = Mmu(memory, engine=mmu.engine)
        tables = Tables(other)
        while frames > 20 and memory.free_frames > 12:
            memory.alloc_pages()
        tables.load()
        pa = tables.map(VA)
        for _ in range(2):
            answer = other.refill(VA, Access.WRITE)
            assert (answer.pa, answer.perms) == (pa, 7)
            assert other.walk(VA, Access.WRITE, mode=WalkMode.QUIET).pa == pa
        memory.close()


def test_the_text_of_a_walk(tables: Tables, mmu: Mmu) -> None:
    pa = tables.map(VA, flags=X86_P | X86_US)
    text = str(mmu.walk(VA)).splitlines()
    assert text[0] == f"walk of {VA:#x}"
    assert [line.split()[0] for line in text[1:5]] == ["PML4E", "PDPTE", "PDE", "PTE"]
    assert text[4].endswith(f"P U/S -> 4 KiB page {pa:#x}")
    assert text[5] == f"  = {pa:#x} in a 4 KiB page, user r-x"
    assert "#PF, error code 0x7 (user write: protection violation), at the PTE" in str(
        mmu.walk(VA, Access.WRITE)
    )
    assert "not canonical" in str(mmu.walk(1 << 47))
    tables.put(VA, 3, X86_P | X86_RW | 1 << 40)
    assert "the table of this PDE lies outside guest memory" in str(mmu.walk(VA))
    assert level_size(3) == 1 << 30
