# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: exit_mmap() gives everything back, under every policy, and says so if it could not."""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from mmu.linux.bug import MmBug
from mmu.linux.filemap import MappedFile
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED

PAGE = 4096
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED


@pytest.fixture
def busy(mm, touch):
    """Every kind of memory, touched, spread over several upper tables."""
    file = MappedFile(bytes(8 * PAGE))
    mm.mmap(BASE, 600 * PAGE, 3, ANON)
    touch(BASE, pages=600)
    mm.mmap(BASE + (3 << 30), 8 * PAGE, 3, MAP_PRIVATE | MAP_FIXED, file)
    touch(BASE + (3 << 30), "read")
    touch(BASE + (3 << 30) + PAGE, "write")
    shared = mm.mmap(0, 4 * PAGE, 3, MAP_SHARED | MAP_ANONYMOUS)
    touch(shared, pages=4)
    mm.mmap(BASE + (513 << 30), 4 * PAGE, 0, ANON)
    mm.setup_arg_pages(100)
    touch(0x7FFFFFFFE000)
    touch(BASE + 599 * PAGE, "read")
    return mm


def test_nothing_is_left(busy):
    busy.exit_mmap()
    assert busy.c.pgtables_bytes == 0
    assert busy.c.vmas.nr == 0
    assert list(busy.c.rss_stat) == [0, 0, 0, 0]
    counters = busy.counters()
    assert counters["pte_tables_freed"] == counters["pte_tables_allocated"]
    assert busy.memory.frames_in_use == 0


def test_twice_is_once(busy):
    busy.exit_mmap()
    busy.exit_mmap()


def test_an_empty_mm(mm):
    mm.exit_mmap()
    assert mm.memory.frames_in_use == 0


@pytest.mark.ucmmu(policy="refcount")
def test_a_leaked_reference_is_a_bug(busy, assert_walk):
    """One reference too many: tearing down meets the table and names it."""
    table = (assert_walk(BASE).entry[2] & 0xFFFFFFFFFF000) >> 12
    busy.memory.page(table).pte_refcount += 1
    with pytest.raises(MmBug, match="reference leaked"):
        busy.exit_mmap()
    busy.exit_mmap()


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_a_wrong_counter_is_told(mm):
    mm.c.rss_stat[0] = 1
    with pytest.raises(MmuError, match="still counted"):
        mm.exit_mmap()


def test_check_tables_sees_each_disagreement(busy, assert_walk):
    """The independent walk finds a wrong count, a wrong VmPTE, a wrong RSS and a table that is
    none.
    """
    page = busy.memory.page((assert_walk(BASE).entry[2] & 0xFFFFFFFFFF000) >> 12)
    assert busy.check_tables().ok
    page.ptl = 1
    assert "is locked" in str(busy.check_tables())
    page.ptl = 0
    busy.c.pgtables_bytes += PAGE
    busy.c.rss_stat[1] -= 1
    report = busy.check_tables()
    assert [problem.split(":")[0] for problem in report.problems] == [
        "VmPTE, kB",
        "anonymous pages",
    ]
    busy.c.pgtables_bytes -= PAGE
    busy.c.rss_stat[1] += 1
    pdpte = assert_walk(BASE).entry_pa[3]
    good = busy.memory.read_u64(pdpte)
    for bad, words in [
        (good | 0x80, "a large page"),
        (0x3F_FFFF_F067, "no table in RAM"),
        (good & ~1, "no table in RAM"),
    ]:
        busy.memory.write_u64(pdpte, bad)
        assert words in str(busy.check_tables())
    busy.memory.write_u64(pdpte, good)
    assert busy.check_tables().ok


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_check_tables_looks_at_cr3(mm, mmu):
    mmu.write_cr3(0x5000)
    assert "CR3 of CPU 0 points to 0x5000" in str(mm.check_tables())
    mmu.write_cr3(mm.c.pgd)
