# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an array may have room for N PCIDs; loading one more takes the entries of the PCID loaded
longest ago there.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.memory import Memory
from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_G
from mmu.x86.registers import CR4_PCIDE, CR4_TSD
from tests.x86.arrays import array, geometry
from ucmmu.testing.tables import USER, VA, Tables

TWO = geometry(array("L1", "dtlb", 16, 16, pcids=2), array("L2", "stlb", 16, 16))
NONE = geometry(array("L1", "dtlb", 16, 16, pcids=0), array("L2", "stlb", 16, 16))


def visit(tables: Tables, pcid: int) -> None:
    """MOV to CR3 with bit 63, and a read."""
    tables.load(pcid, keep=True)
    assert tables.mmu.translate(VA, Access.READ).ok


def live(mmu: Mmu, array: str = "L1") -> set[int]:
    return {entry.pcid for entry in mmu.entries() if entry.array == array}


@pytest.mark.ucmmu(geometry=TWO)
def test_the_third_takes_the_first_ones_place(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    for pcid in (1, 2, 3):
        visit(tables, pcid)
    assert live(mmu) == {2, 3}
    assert live(mmu, "L2") == {1, 2, 3}


@pytest.mark.ucmmu(geometry=TWO)
def test_loading_again_makes_young(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    for pcid in (1, 2, 1, 3):
        visit(tables, pcid)
    assert live(mmu) == {1, 3}


@pytest.mark.ucmmu(geometry=TWO)
def test_loading_counts_and_not_translating(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    visit(tables, 1)
    visit(tables, 2)
    tables.load(3, keep=True)
    tables.load(4, keep=True)
    assert live(mmu) == set()


@pytest.mark.ucmmu(geometry=TWO)
def test_global_entries_stay(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | X86_G)
    visit(tables, 1)
    for pcid in (2, 3, 4):
        tables.load(pcid, keep=True)
    assert live(mmu) == {1}


@pytest.mark.ucmmu(geometry=NONE)
def test_no_room_but_for_the_present(tables: Tables, mmu: Mmu) -> None:
    """With 0, not even a PCID that is loaded again keeps its entries; global ones stay."""
    tables.map(VA)
    tables.map(VA + 4096, flags=USER | X86_G)
    visit(tables, 1)
    mmu.translate(VA + 4096, Access.READ)
    tables.load(1, keep=True)
    assert {entry.va for entry in mmu.entries() if entry.array == "L1"} == {VA + 4096}
    assert {entry.va for entry in mmu.entries() if entry.array == "L2"} == {VA, VA + 4096}


@pytest.mark.ucmmu(geometry=TWO)
def test_the_pcid_after_reset_counts(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    assert mmu.translate(VA, Access.READ).ok
    tables.load(1, keep=True)
    assert live(mmu) == {0}
    tables.load(2, keep=True)
    assert live(mmu) == set()


@pytest.mark.ucmmu(geometry=TWO)
def test_without_pcide_all_is_pcid_0(tables: Tables, mmu: Mmu) -> None:
    """CR3[11:0] then names no PCID, and 0 is live again."""
    tables.map(VA)
    visit(tables, 1)
    visit(tables, 2)
    tables.load(0, keep=True)
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
    tables.load(0x18)
    assert mmu.translate(VA, Access.READ).ok
    assert live(mmu) == {0}


@pytest.mark.ucmmu(geometry=NONE)
@pytest.mark.parametrize(("bit", "kept"), [(CR4_PCIDE, False), (CR4_TSD, True)])
def test_setting_pcide_loads_a_pcid(tables: Tables, mmu: Mmu, bit: int, kept: bool) -> None:
    """As MOV to CR3 does; other bits of CR4 load none."""
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
    tables.map(VA)
    assert mmu.translate(VA, Access.READ).ok
    mmu.write_cr4(mmu.c.cr4 ^ bit)
    assert {entry.array for entry in mmu.entries()} == {"L2"} | ({"L1"} if kept else set())


@pytest.mark.ucmmu(geometry=geometry(array("L2", "l2_dtlb", 16, 16, "4K PDE", pcids=1)))
def test_table_referencing_entries_go_too(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    visit(tables, 1)
    assert {entry.pcid for entry in mmu.paging_structure_caches()} == {1}
    tables.load(2, keep=True)
    assert mmu.paging_structure_caches() == []


@given(
    st.integers(1, 4), st.lists(st.integers(0, 6), max_size=30), st.sampled_from(["c", "python"])
)
def test_against_a_list(limit: int, loads: list[int], engine: str) -> None:
    """As measured: PCIDs are in exact order of their last load (TLB;DR, USENIX Security 2022)."""
    memory = Memory(1 << 20)
    shape = geometry(array("L1", "dtlb", 16, 16, pcids=limit), array("L2", "stlb", 16, 16))
    mmu = Mmu(memory, geometry=shape, engine=engine, exact=True)
    tables = Tables(mmu)
    tables.load()
    tables.map(VA)
    order = [0]
    filled: set[int] = set()
    for pcid in loads:
        order = [pcid, *(one for one in order if one != pcid)][:limit]
        filled = (filled & set(order)) | {pcid}
        visit(tables, pcid)
        assert live(mmu) == filled
    memory.close()
