# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an entry goes on saying what the tables said when it was made, until something takes it
away (SDM 4.10.2.2).

A page fault takes it away (SDM 4.10.4.1), so nothing faults for ever; and on AMD no fault comes
from a stale entry.
"""

from __future__ import annotations

import pytest

from mmu.x86 import Access, Mmu, Outcome, Vendor
from mmu.x86.entries import X86_G, X86_P, X86_RW, X86_US
from mmu.x86.faults import PF_P, PF_US, PF_WR
from ucmmu.testing.tables import USER, VA, Tables


@pytest.mark.parametrize("announced", [False, True])
def test_a_remapped_page_reads_the_old_frame(tables: Tables, mmu: Mmu, announced: bool) -> None:
    old = tables.map(VA)
    mmu.translate(VA, Access.READ)
    new = tables.map(VA)
    if announced:
        mmu.tables_changed()
    assert mmu.walk(VA).pa == new
    assert mmu.translate(VA, Access.READ).pa == old
    entry = mmu.resident(VA)
    assert entry is not None and entry.pa == old
    mmu.invlpg(VA)
    assert mmu.translate(VA, Access.READ).pa == new


def test_an_unmapped_page_can_still_be_read(tables: Tables, mmu: Mmu) -> None:
    pa = tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.put(VA, 1, 0)
    assert mmu.translate(VA, Access.READ).pa == pa


def test_a_page_made_read_only_can_still_be_written(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.WRITE)
    tables.change(VA, 1, clear=X86_RW)
    assert mmu.translate(VA, Access.WRITE).ok
    mmu.invlpg(VA)
    assert not mmu.translate(VA, Access.WRITE).ok


@pytest.mark.parametrize(("vendor", "faults"), [(Vendor.AMD, 0), (Vendor.INTEL, 1)])
def test_more_rights_need_no_flush(tables: Tables, mmu: Mmu, vendor: Vendor, faults: int) -> None:
    """AMD walks before it faults; Intel believes the entry, and the fault drops it: "spurious" (SDM
    4.10.4.3).
    """
    mmu.c.vendor = vendor
    pa = tables.map(VA, flags=X86_P | X86_US)
    mmu.translate(VA, Access.READ)
    tables.change(VA, 1, set=X86_RW)
    if faults:
        expected = Outcome.PAGE_FAULT, PF_P | PF_WR | PF_US
        forecast = mmu.refill(VA, Access.WRITE)
        assert (forecast.result, forecast.error_code) == expected
        answer = mmu.translate(VA, Access.WRITE)
        assert (answer.result, answer.error_code) == expected
        assert mmu.resident(VA) is None
    assert mmu.translate(VA, Access.WRITE).pa == pa
    assert mmu.counters()["page_faults_hw"] == faults


def test_the_two_sides_can_disagree(tables: Tables, mmu: Mmu) -> None:
    """Data of the old frame, instructions of the new one."""
    old = tables.map(VA)
    mmu.translate(VA, Access.READ)
    new = tables.map(VA)
    for i in (1, 2):  # two pages of the same second-level set, but of another first-level set
        tables.map(VA + i * (3 << 12))
        mmu.translate(VA + i * (3 << 12), Access.FETCH)
    assert mmu.translate(VA, Access.FETCH).pa == new
    assert mmu.translate(VA, Access.READ).pa == old


def test_a_fault_drops_the_address(tables: Tables, mmu: Mmu) -> None:
    """On both sides and both levels; the handler's mapping is then seen without a flush."""
    tables.map(VA, flags=X86_P | X86_US)
    mmu.translate(VA, Access.READ)
    mmu.translate(VA, Access.FETCH)
    assert not mmu.translate(VA, Access.WRITE).ok
    assert mmu.entries() == []
    new = tables.map(VA)
    assert mmu.translate(VA, Access.READ).pa == new


def test_a_fault_drops_a_global_entry_too(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=X86_P | X86_US | X86_G)
    tables.load(1)
    mmu.translate(VA, Access.READ)
    tables.load(2)
    assert not mmu.translate(VA, Access.WRITE).ok
    assert mmu.entries() == []


def test_a_fault_leaves_other_pages_and_pcids(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=X86_P | X86_US)
    tables.map(VA + 4096)
    tables.load(1)
    mmu.translate(VA, Access.READ)
    tables.load(2)
    mmu.translate(VA + 4096, Access.READ)
    assert not mmu.translate(VA, Access.WRITE).ok
    assert {(entry.va, entry.pcid) for entry in mmu.entries()} == {(VA, 1), (VA + 4096, 2)}


def test_a_4k_and_a_2m_translation_of_one_address(tables: Tables, mmu: Mmu) -> None:
    """Replacing a table by a large page without a flush leaves both; the smaller page is looked for
    first.
    """
    small = tables.map(VA)
    mmu.translate(VA, Access.READ)
    table = tables.get(VA, 2)
    tables.put(VA, 2, 0)
    tables.map(VA + 4096, 2 << 20, level=2)
    mmu.invpcid(0, 0, VA + 4096)
    assert mmu.translate(VA + 4096, Access.READ).pa == (2 << 20) + (VA + 4096) % (2 << 20)
    assert mmu.translate(VA, Access.READ).pa == small
    assert {entry.level for entry in mmu.entries()} == {1, 2}
    assert table


def test_an_announced_change_tells_consumers_only(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    before = mmu.entries()
    mmu.take_soft_flush()
    mmu.tables_changed()
    assert mmu.take_soft_flush() == (True, [])
    assert mmu.entries() == before
    assert mmu.refill(VA, Access.READ).result == Outcome.OK


def test_what_comes_through_an_old_cache_entry_is_as_old(tables: Tables, mmu: Mmu) -> None:
    """A translation made after the change, but through a paging-structure cache entry made before,
    can be stale.
    """
    tables.map(VA)
    tables.map(VA + 4096)
    tables.map(VA ^ 1 << 21)
    before = mmu.c.table_gen
    mmu.translate(VA, Access.READ)
    mmu.tables_changed()
    mmu.translate(VA + 4096, Access.READ)
    entry = mmu.resident(VA + 4096)
    assert entry is not None and entry.table_gen == before
    mmu.translate(VA ^ 1 << 21, Access.READ)
    assert {entry.table_gen for entry in mmu.paging_structure_caches()} == {before}
    mmu.flush_all()
    mmu.translate(VA + 4096, Access.READ)
    entry = mmu.resident(VA + 4096)
    assert entry is not None and entry.table_gen == before + 1
    assert tables.get(VA, 1) & USER
