# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an array serves what its kind says: fetches, loads, stores, first or second level; one may
hold tables too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_D, X86_P, X86_US
from mmu.x86.invalidate import INVLPGB_FINAL_ONLY, INVLPGB_VA
from mmu.x86.registers import CR4_CET, Feature
from mmu.x86.tlb import (
    TLB_DTLB_LOAD,
    TLB_DTLB_STORE,
    TLB_ITLB,
    TLB_L2_DTLB,
    TLB_L2_ITLB,
    first_level,
    second_level,
)
from tests.x86.arrays import array, geometry
from ucmmu.testing.tables import VA, Tables

Counted = Callable[..., AbstractContextManager[None]]

SPLIT = geometry(
    array("loads", "dtlb_loads", 4, 4),
    array("stores", "dtlb_stores", 2, 2),
    array("fetches", "itlb", 4, 4),
    array("L2 data", "l2_dtlb", 8, 8, "4K PDE"),
    array("L2 code", "l2_itlb", 8, 8),
)
pytestmark = pytest.mark.ucmmu(geometry=SPLIT)


def where(mmu: Mmu, va: int = VA) -> set[str]:
    return {entry.array for entry in mmu.entries() if entry.va == va}


def test_kinds_by_access() -> None:
    """A shadow-stack read is a load, a shadow-stack write a store; a read-modify-write begins with
    its load.
    """
    assert [first_level(access) for access in Access] == [
        TLB_DTLB_LOAD,
        TLB_DTLB_STORE,
        TLB_ITLB,
        TLB_DTLB_LOAD,
        TLB_DTLB_STORE,
        TLB_DTLB_LOAD,
    ]
    assert [second_level(access) for access in Access] == [
        TLB_L2_DTLB,
        TLB_L2_DTLB,
        TLB_L2_ITLB,
        TLB_L2_DTLB,
        TLB_L2_DTLB,
        TLB_L2_DTLB,
    ]


@pytest.mark.parametrize(
    ("access", "arrays"),
    [
        (Access.READ, {"loads", "L2 data"}),
        (Access.WRITE, {"stores", "L2 data"}),
        (Access.FETCH, {"fetches", "L2 code"}),
        (Access.RMW, {"loads", "L2 data"}),
    ],
)
def test_where_an_access_enters(tables: Tables, mmu: Mmu, access: Access, arrays: set[str]) -> None:
    tables.map(VA)
    mmu.translate(VA, access)
    assert where(mmu) == arrays


@pytest.mark.parametrize(
    ("access", "arrays"),
    [(Access.SHSTK_READ, {"loads", "L2 data"}), (Access.SHSTK_WRITE, {"stores", "L2 data"})],
)
def test_where_a_shadow_stack_access_enters(
    tables: Tables, mmu: Mmu, access: Access, arrays: set[str]
) -> None:
    mmu.c.cr4 |= CR4_CET
    tables.map(VA, flags=X86_P | X86_US | X86_D)
    assert mmu.translate(VA, access).ok
    assert where(mmu) == arrays


@pytest.mark.parametrize(
    ("access", "loads", "stores"),
    [(Access.READ, 1, 0), (Access.WRITE, 0, 1), (Access.RMW, 1, 0)],
)
def test_what_an_access_counts_as(
    tables: Tables, mmu: Mmu, counted: Counted, access: Access, loads: int, stores: int
) -> None:
    tables.map(VA)
    mmu.translate(VA, access)
    with counted({"dTLB-loads": 1} if loads else {"dTLB-stores": stores}):
        mmu.translate(VA, access)


def test_a_store_misses_what_a_load_entered(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    """And finds it in the second level, which it refills its own array from."""
    tables.map(VA)
    mmu.translate(VA, Access.WRITE)
    mmu.flush_all()
    mmu.translate(VA, Access.READ)
    with counted({"dTLB-stores": 1, "dtlb_store_misses.stlb_hit": 1}):
        mmu.translate(VA, Access.WRITE)
    assert where(mmu) == {"loads", "stores", "L2 data"}
    with counted({"dTLB-stores": 1}):
        mmu.translate(VA, Access.WRITE)


def test_a_fetch_does_not_find_the_data_side(tables: Tables, mmu: Mmu, counted: Counted) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    with counted(
        {
            "iTLB-loads": 1,
            "itlb_misses.miss_causes_a_walk": 1,
            "itlb_misses.walk_completed": 1,
            "itlb_misses.walk_completed_4k": 1,
            "page_walker_loads": 1,
            "walk_cache_hits": 1,
        }
    ):
        mmu.translate(VA, Access.FETCH)


def test_loads_and_stores_may_disagree(tables: Tables, mmu: Mmu) -> None:
    """A stale store entry beside a fresh load entry: each access, and each refill, gets its own
    side's answer.
    """
    old = tables.map(VA)
    mmu.translate(VA, Access.WRITE)
    new = tables.map(VA)
    mmu.tables_changed()
    tlb = mmu.c.tlb
    for number in range(tlb.nr_entries):
        if tlb.entry[number].array == 3:
            tlb.entry[number].flags = 0
    assert mmu.translate(VA, Access.READ).pa == new
    assert mmu.translate(VA, Access.WRITE).pa == old
    read, write = mmu.refill(VA, Access.READ), mmu.refill(VA, Access.WRITE)
    assert (read.pa, write.pa) == (new, old)
    assert not read.perms & 2 and read.perms & 4  # a fetch would walk, and agree with the load
    assert write.perms == 2


def test_one_page_of_all_sides_in_one_answer(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    ordinary = (Access.WRITE, Access.READ, Access.FETCH)
    for access in ordinary:
        mmu.translate(VA, access)
    assert {mmu.refill(VA, access).perms for access in ordinary} == {7}


def test_pages_and_tables_share_an_array(tables: Tables, mmu: Mmu) -> None:
    """Entries of both kinds have tags of their own: a PDE is no page, nor a 2 MiB page a PDE."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    entries = {entry.array for entry in mmu.paging_structure_caches()}
    assert entries == {"L2 data"}
    assert [entry.level for entry in mmu.paging_structure_caches()] == [2]
    assert all(entry.level == 1 for entry in mmu.entries())


@pytest.mark.ucmmu(geometry=geometry(array("L2", "stlb", 4, 4, "4K 2M PDE")))
@pytest.mark.parametrize("level", [1, 2])
def test_a_pde_and_a_page_of_one_address(tables: Tables, mmu: Mmu, level: int) -> None:
    """The same number, size and set: only the kind tells them apart, whichever came first."""
    base = VA & -(1 << 21)
    small = tables.map(base)
    mmu.translate(base, Access.READ)
    tables.map(base, 0, level=2)
    pages = {entry.va: entry.pa for entry in mmu.entries()}
    assert pages == {base: small}
    mmu.translate(base + 4096, Access.READ)
    assert mmu.counters()["walk_cache_hits"] == 1
    mmu.invlpg(base)
    assert mmu.translate(base + 4096, Access.READ).pa == 4096
    assert [(entry.level, entry.pa) for entry in mmu.entries()] == [(2, 0)]
    assert mmu.paging_structure_caches() == []
    assert mmu.translate(base + 8192, Access.READ).level == 2


@pytest.mark.ucmmu(geometry=geometry(array("L2", "stlb", 4, 4, "4K 2M PDE")))
def test_a_pde_is_not_dropped_as_a_page(tables: Tables, mmu: Mmu) -> None:
    """What drops an address's translations and leaves the upper levels must tell the two apart."""
    mmu.c.features |= Feature.INVLPGB
    base = VA & -(1 << 21)
    tables.map(base)
    mmu.translate(base, Access.READ)
    mmu.invlpgb(base | INVLPGB_VA | INVLPGB_FINAL_ONLY)
    assert mmu.entries() == []
    assert [entry.va for entry in mmu.paging_structure_caches()] == [base]


@pytest.mark.ucmmu(geometry=geometry(array("L2", "l2_dtlb", 2, 2, "4K PDE")))
def test_a_table_may_evict_a_page(tables: Tables, mmu: Mmu) -> None:
    """That counts as an eviction of a page; the other way round nothing is counted."""
    pages = [VA, VA + (1 << 21)]
    for va in pages:
        tables.map(va)
        mmu.translate(va, Access.READ)
    # PDE, page; then the second PDE over the first, the second page over the first page.
    assert mmu.counters()["tlb_evictions"] == 1
    assert [entry.va for entry in mmu.entries()] == [pages[1]]
    assert [entry.va for entry in mmu.paging_structure_caches()] == [pages[1] & -(1 << 21)]
    mmu.invlpg(0)
    mmu.translate(VA, Access.FETCH)
    mmu.translate(VA + (1 << 21), Access.FETCH)
    assert mmu.counters()["tlb_evictions"] == 2
    assert mmu.entries() == []


def test_the_second_level_may_be_shared(mmu: Mmu, tables: Tables) -> None:
    """With kind stlb both sides would find it: here neither half finds the other's."""
    tables.map(VA)
    mmu.translate(VA, Access.FETCH)
    assert mmu.resident(VA, Access.READ) is None
    assert mmu.resident(VA, Access.WRITE) is None
    fetched = mmu.resident(VA, Access.FETCH)
    assert fetched is not None and fetched.array == "fetches"
