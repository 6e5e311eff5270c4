# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: the check of the tables finds what is wrong in any number of them, and takes no longer for
each when there are many.
"""

from __future__ import annotations

import time

import pytest

from mmu._native import lib
from mmu.linux import engine
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE

PAGE = 4096
SLOT = 2 << 20
BASE = 0x10_0000_0000
ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE
FEW, MANY = 1_000, 10_000


def times_a_table(mm, nr):
    """CPU time of the check and of munmap(2), each per table: of three tries the shortest."""
    checks, unmaps = [], []
    for _ in range(3):
        mm.mmap(BASE, nr * SLOT, 3, ANON)
        assert mm.handle_user_fault(BASE, lib.PF_WR | lib.PF_US) is None
        for slot in range(1, nr):
            assert engine.mm_fast_fault(mm, BASE + slot * SLOT, lib.PF_WR | lib.PF_US)
        started = time.process_time()
        report = mm.check_tables()
        checked = time.process_time()
        assert report.ok
        assert (report.pte_tables, report.anon_pages) == (nr, nr)
        mm.munmap(BASE, nr * SLOT)
        checks.append((checked - started) / nr)
        unmaps.append((time.process_time() - checked) / nr)
    return min(checks), min(unmaps)


@pytest.mark.ucmmu(engine="c", policy="refcount", ram=512 << 20, fidelity="fast")
def test_ten_times_the_tables_take_no_longer_each(mm):
    """Ten times as long each is what a search among them all would take."""
    few, many = times_a_table(mm, FEW), times_a_table(mm, MANY)
    assert all(of_many < 4 * of_few for of_few, of_many in zip(few, many, strict=True)), (few, many)


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_of_many_problems_the_first_are_told(mm, touch):
    nr = lib.TABLES_PROBLEMS_MAX + 3
    mm.mmap(BASE, nr * SLOT, 3, ANON)
    pages = []
    for slot in range(nr):
        touch(BASE + slot * SLOT)
        pmd = engine.mm_find_pmd(mm, BASE + slot * SLOT)
        pages.append(mm.memory.page((mm.memory.read_u64(pmd) & lib.X86_ADDR_MASK) >> 12))
    for page in pages:
        page.pte_refcount += 1
    problems = mm.check_tables().problems
    for page in pages:
        page.pte_refcount -= 1
    assert len(problems) == lib.TABLES_PROBLEMS_MAX + 1
    assert problems[0] == f"the PTE table of {BASE:#x} has 1 entries and counts 2 references"
    assert problems[-1] == "and 3 more such disagreements"


@pytest.mark.ucmmu(engine="c", policy="refcount")
def test_a_pte_that_maps_no_ram(mm, touch, assert_walk):
    mm.mmap(BASE, PAGE, 3, ANON)
    touch(BASE)
    pte = assert_walk(BASE).entry_pa[1]
    good = mm.memory.read_u64(pte)
    mm.memory.write_u64(pte, good | 0xF_0000_0000_0000)
    assert "it maps what is not RAM" in str(mm.check_tables())
    mm.memory.write_u64(pte, good)
