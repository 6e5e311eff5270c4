# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: INVLPG drops the page's entries of the current PCID, its global ones of any, and all that
PCID's paging-structure cache entries (SDM 4.10.4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_G
from ucmmu.testing.tables import USER, VA, Tables

pytestmark = pytest.mark.ucmmu(geometry="skylake")


def test_the_page_is_read_anew(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    mmu.translate(VA, Access.FETCH)
    new = tables.map(VA)
    mmu.invlpg(VA + 0x123)
    assert mmu.entries() == []
    assert mmu.translate(VA, Access.READ).pa == new


def test_other_pages_stay(tables: Tables, mmu: Mmu) -> None:
    for va in (VA, VA + 4096):
        tables.map(va)
        mmu.translate(va, Access.READ)
    mmu.invlpg(VA)
    assert {entry.va for entry in mmu.entries()} == {VA + 4096}


@pytest.mark.parametrize("level", [2, 3])
def test_any_address_in_a_large_page_drops_it(tables: Tables, mmu: Mmu, level: int) -> None:
    tables.map(VA, level=level)
    mmu.translate(VA, Access.READ)
    mmu.invlpg(VA ^ 0x1F_F000)
    assert mmu.entries() == []


def test_all_paging_structure_caches_of_the_pcid(tables: Tables, mmu: Mmu) -> None:
    """Whatever the address."""
    tables.map(VA)
    for pcid in (1, 2):
        tables.load(pcid)
        mmu.translate(VA, Access.READ)
    mmu.invlpg(0)
    assert {entry.pcid for entry in mmu.paging_structure_caches()} == {1}
    assert {entry.pcid for entry in mmu.entries()} == {1, 2}


def test_another_pcid_keeps_its_entries(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    for pcid in (1, 2):
        tables.load(pcid)
        mmu.translate(VA, Access.READ)
    mmu.invlpg(VA)
    assert {entry.pcid for entry in mmu.entries()} == {1}


def test_global_entries_go_whatever_their_pcid(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | X86_G)
    tables.load(1)
    mmu.translate(VA, Access.READ)
    tables.load(2)
    mmu.invlpg(VA)
    assert mmu.entries() == []


def test_it_is_counted_and_told(
    tables: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    causes: Callable[[], list[str]],
) -> None:
    causes()
    with counted({"tlb_invalidations": 1}):
        mmu.invlpg(VA + 7)
    assert causes() == [f"invlpg address={VA + 7:#x}"]


@pytest.mark.parametrize("exact", [False, True])
def test_a_consumer_must_forget_the_page(tables: Tables, mmu: Mmu, exact: bool) -> None:
    mmu.exact = exact
    tables.map(VA)
    mmu.refill(VA, Access.READ)
    mmu.invlpg(VA + 0x123)
    assert mmu.take_soft_flush() == (False, [VA])


@pytest.mark.parametrize("exact", [False, True])
def test_after_large_pages_everything(tables: Tables, mmu: Mmu, exact: bool) -> None:
    """A consumer may hold any 4 KiB piece of a large page, and the tables may no longer say that it
    was one.
    """
    mmu.exact = exact
    tables.map(VA, level=2)
    mmu.refill(VA, Access.READ)
    tables.put(VA, 2, 0)
    mmu.invlpg(VA)
    assert mmu.take_soft_flush() == (True, [])
    mmu.invlpg(VA)
    assert mmu.take_soft_flush() == (False, [VA])
