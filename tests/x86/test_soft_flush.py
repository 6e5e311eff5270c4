# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the soft-flush list names the pages a consumer must forget, and everything when they are
more than 33.
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_G, X86_XD
from mmu.x86.registers import EFER_NXE
from ucmmu.testing.tables import USER, VA, Tables

MAX = lib.SOFT_FLUSH_MAX


def test_pages_in_order(tables: Tables, mmu: Mmu) -> None:
    mmu.soft_flush(VA + 0xFFF, 2)
    mmu.soft_flush(0, 1)
    assert mmu.take_soft_flush() == (False, [VA, VA + 4096, 0])
    assert mmu.take_soft_flush() == (False, [])


@pytest.mark.parametrize(
    ("first", "second", "all_"),
    [(MAX, 0, False), (MAX, 1, True), (MAX + 1, 0, True), (30, 4, True)],
)
def test_too_many(tables: Tables, mmu: Mmu, first: int, second: int, all_: bool) -> None:
    mmu.soft_flush(VA, first)
    mmu.soft_flush(VA, second)
    everything, pages = mmu.take_soft_flush()
    assert everything == all_
    assert pages == ([] if all_ else [VA + (i << 12) for i in range(first)])


def test_everything_swallows_what_follows(tables: Tables, mmu: Mmu) -> None:
    mmu.soft_flush(VA, MAX + 1)
    mmu.soft_flush(VA, 1)
    assert mmu.take_soft_flush() == (True, [])


def test_a_huge_range(tables: Tables, mmu: Mmu) -> None:
    mmu.soft_flush(0, 1 << 52)
    assert mmu.take_soft_flush() == (True, [])


def test_the_last_page_of_all(tables: Tables, mmu: Mmu) -> None:
    mmu.soft_flush((1 << 64) - 1, 2)
    assert mmu.take_soft_flush() == (False, [(1 << 64) - 4096, 0])


def test_an_entry_dropped_for_a_better_one_is_forgotten_if_stale(tables: Tables, mmu: Mmu) -> None:
    """A write through a clean entry of the old frame: other consumers must stop reading there."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.map(VA)
    mmu.tables_changed()
    mmu.take_soft_flush()
    mmu.translate(VA, Access.WRITE)
    everything, pages = mmu.take_soft_flush()
    assert not everything
    assert set(pages) == {VA}


@pytest.mark.parametrize("kept_as", ["pcid", "global"])
def test_an_entry_of_the_tables_before_is_stale(tables: Tables, mmu: Mmu, kept_as: str) -> None:
    """MOV to CR3 keeps entries that the new tables contradict; when such a one goes, consumers hear
    of it.
    """
    pcid = 1 if kept_as == "pcid" else 0
    tables.load(pcid)
    tables.map(VA, flags=USER | (X86_G if kept_as == "global" else 0))
    mmu.translate(VA, Access.READ)
    other = Tables(mmu)
    pa = other.map(VA)
    other.load(pcid, keep=bool(pcid))
    assert mmu.refill(VA, Access.READ).pa != pa
    mmu.take_soft_flush()
    mmu.translate(VA, Access.WRITE)  # the entry's D is clear: a walk finds the new page
    assert mmu.refill(VA, Access.READ).pa == pa
    everything, pages = mmu.take_soft_flush()
    assert not everything
    assert set(pages) == {VA}


def test_an_entry_that_lost_its_meaning_with_nxe_is_stale(tables: Tables, mmu: Mmu) -> None:
    """Without EFER.NXE bit 63 is reserved: no walk would make the entry any more."""
    tables.map(VA, flags=USER | X86_XD)
    mmu.translate(VA, Access.READ)
    mmu.write_efer(mmu.c.efer & ~EFER_NXE)
    assert mmu.refill(VA, Access.READ).ok
    mmu.take_soft_flush()
    assert mmu.translate(VA, Access.WRITE).result == Outcome.PAGE_FAULT
    everything, pages = mmu.take_soft_flush()
    assert not everything
    assert set(pages) == {VA}
