# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: when a PTE table goes, what gathers of other CPUs have still to flush of its 2 MiB is
flushed with it (F13), and before its heir is installed (D4), on both engines.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmu.linux import engine
from mmu.linux.mmu_gather import Gather
from mmu.linux.pgtable import pte_table
from mmu.linux.policy import FreeTables
from mmu.units import PAGE_SIZE
from tests.linux.cpus import BASE, Cpus

OTHER = BASE + 5 * PAGE_SIZE


@pytest.fixture(params=["c", "python"])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    params=[FreeTables.REFCOUNT, FreeTables.REFCOUNT_PMDLOCK], ids=lambda policy: policy.label
)
def m(request: pytest.FixtureRequest, engine_name: str) -> Iterator[Cpus]:
    m = Cpus(engine_name, policy=request.param)
    m.touch(0)
    yield m
    m.kernel.check()
    m.close()


def visited(m: Cpus) -> int:
    """The table of BASE, with a visitor's reference."""
    pmd = engine.mm_find_pmd(m.mm, BASE)
    assert pmd is not None
    pte = engine.pte_tryget_map(m.mm, pmd, BASE)
    assert pte is not None
    return pte_table(pte)


def gathering(m: Cpus, addr: int = BASE) -> Gather:
    """CPU 0 has cleared addr's PTE, and not flushed."""
    m.on(0)
    tlb = engine.tlb_gather_mmu(m.mm)
    engine.unmap_page_range(tlb, addr, addr + PAGE_SIZE, 0)
    m.events()
    return tlb


def ranges(m: Cpus) -> list[tuple[int, ...]]:
    """What was flushed since the last call: pages from BASE on, freed_tables."""
    return [
        ((e["start"] - BASE) // PAGE_SIZE, (e["end"] - BASE) // PAGE_SIZE, e["freed_tables"])
        for e in m.events("flush_tlb_mm_range")
    ]


def test_a_direct_free_flushes_what_another_cpu_owes(m: Cpus) -> None:
    m.touch(0, OTHER)
    table = visited(m)
    zap = gathering(m)
    engine.unmap_page_range(zap, OTHER, OTHER + PAGE_SIZE, 0)
    m.on(1)
    engine.pte_put(m.mm, table, BASE)
    assert ranges(m) == [(0, 6, 1)]
    assert m.kernel.cpus[0].mmu.resident(OTHER) is None
    m.on(0)
    engine.tlb_finish_mmu(zap)


def test_so_does_a_gathered_one(m: Cpus) -> None:
    """Page by page, though the table itself is one page. (The gather's end flushes everything where
    two gather at once, mm_tlb_flush_nested(); this is its flush midway.)
    """
    m.touch(0, OTHER)
    table = visited(m)
    zap = gathering(m)
    engine.unmap_page_range(zap, OTHER, OTHER + PAGE_SIZE, 0)
    m.on(1)
    tlb = engine.tlb_gather_mmu(m.mm)
    engine.pte_put_tlb(tlb, table, BASE)
    engine.tlb_flush_mmu(tlb)
    assert ranges(m) == [(0, 6, 1)]
    engine.tlb_finish_mmu(tlb)
    m.on(0)
    engine.tlb_finish_mmu(zap)


def test_what_is_owed_elsewhere_is_left_alone(m: Cpus) -> None:
    """Of other slots, and of other mms."""
    m.mm.mmap(BASE + (4 << 20), PAGE_SIZE, 3, 0x32)
    m.touch(0, BASE + (4 << 20))
    table = visited(m)
    m.mm.madvise(BASE, PAGE_SIZE, 4)
    zap = gathering(m, BASE + (4 << 20))
    m.on(1)
    engine.pte_put(m.mm, table, BASE)
    assert ranges(m) == [(0, 1, 1)]
    m.on(0)
    engine.tlb_finish_mmu(zap)


def test_an_heir_is_installed_after_the_flush_that_is_owed(m: Cpus) -> None:
    """Once: who comes next finds nothing owed. The gather flushes its range all the same."""
    zap = gathering(m)
    assert zap.c.nr_tables == 1
    m.touch(1)
    names = [e.name for e in m.events("flush_tlb_mm_range", "pte_alloc")]
    assert names == ["flush_tlb_mm_range", "pte_alloc"]
    assert not m.kernel.cpus[0].mmu.paging_structure_caches()
    m.on(0)
    engine.tlb_finish_mmu(zap)
    assert ranges(m) == [(0, 1, 1)]


def test_the_other_policies_owe_nothing(engine_name: str) -> None:
    """CONFIG_PT_RECLAIM installs into a slot whose flush is still to come, as Linux does."""
    m = Cpus(engine_name, policy=FreeTables.SCAN)
    m.touch(0)
    tlb = engine.tlb_gather_mmu(m.mm)
    engine.unmap_page_range(tlb, BASE, BASE + (2 << 20), 1)
    assert tlb.c.nr_tables == 1
    m.events()
    m.touch(1)
    assert ranges(m) == []
    engine.tlb_finish_mmu(tlb)
    m.close()
