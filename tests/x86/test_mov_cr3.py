# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: MOV to CR3 drops the new PCID's non-global entries and paging-structure caches, unless bit
63 keeps them (SDM 4.10.4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_G
from mmu.x86.registers import CR3_NOFLUSH, CR4_PCIDE
from ucmmu.testing.tables import USER, VA, Tables

pytestmark = pytest.mark.ucmmu(geometry="golden_cove")
GLOBAL = VA + 4096


@pytest.fixture
def two(tables: Tables, mmu: Mmu) -> Tables:
    """A page and a global one, read under PCIDs 1 and 2; 2 is current."""
    tables.map(VA)
    tables.map(GLOBAL, flags=USER | X86_G)
    for pcid in (1, 2):
        tables.load(pcid)
        mmu.translate(VA, Access.READ)
        mmu.translate(GLOBAL, Access.READ)
    mmu.take_soft_flush()
    return tables


def pages(mmu: Mmu) -> set[tuple[int, int]]:
    return {(entry.va, entry.pcid) for entry in mmu.entries()}


def test_the_new_pcids_entries_go(two: Tables, mmu: Mmu) -> None:
    two.load(1)
    assert pages(mmu) == {(GLOBAL, 1), (VA, 2)}
    assert {entry.pcid for entry in mmu.paging_structure_caches()} == {2}


def test_bit_63_keeps_them(two: Tables, mmu: Mmu) -> None:
    before = mmu.entries(), mmu.paging_structure_caches()
    two.load(1, keep=True)
    assert (mmu.entries(), mmu.paging_structure_caches()) == before
    assert mmu.c.cr3 == two.root | 1


def test_without_pcide_bit_63_is_reserved(tables: Tables, mmu: Mmu) -> None:
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    before = mmu.entries()
    assert mmu.write_cr3(tables.root | CR3_NOFLUSH) == Outcome.GENERAL_PROTECTION
    assert (mmu.entries(), mmu.c.cr3) == (before, tables.root)


@pytest.mark.parametrize("keep", [False, True])
def test_consumers_forget_everything(two: Tables, mmu: Mmu, keep: bool) -> None:
    """Their caches know no PCID."""
    two.load(1, keep=keep)
    assert mmu.take_soft_flush() == (True, [])


@pytest.mark.parametrize(("keep", "count"), [(False, {"tlb_invalidations": 1}), (True, {})])
def test_it_is_counted_and_told(
    two: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    causes: Callable[[], list[str]],
    keep: bool,
    count: dict[str, int],
) -> None:
    causes()
    with counted(count):
        two.load(1, keep=keep)
    value = two.root | 1 | (CR3_NOFLUSH if keep else 0)
    assert causes() == [f"mov_cr3 value={value:#x}"]


def test_new_tables_answer(two: Tables, mmu: Mmu) -> None:
    other = Tables(mmu)
    pa = other.map(VA)
    other.load(2)
    assert mmu.translate(VA, Access.READ).pa == pa


def test_a_reused_pcid_with_bit_63_answers_from_the_old_tables(two: Tables, mmu: Mmu) -> None:
    """Which is what bit 63 promises not to do by mistake: the kernel must not set it for another
    mm's PCID.
    """
    old = mmu.walk(VA).pa
    other = Tables(mmu)
    new = other.map(VA)
    other.load(2, keep=True)
    assert mmu.translate(VA, Access.READ).pa == old
    assert mmu.walk(VA).pa == new


@pytest.mark.parametrize("bit", range(12))
def test_a_pcid_has_12_bits(tables: Tables, mmu: Mmu, bit: int) -> None:
    tables.map(VA)
    tables.load(1 << bit)
    mmu.translate(VA, Access.READ)
    assert {entry.pcid for entry in mmu.entries()} == {1 << bit}
