# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: assert_refcounts() passes just when each table's count is its entries and visitors, and all
counters are what a walk finds.
"""

from __future__ import annotations

import pytest

from ucmmu.testing import MmUnderTest, assert_refcounts, pte_tables

BASE = 0x10_0000_0000
one = pytest.mark.ucmmu(policy="refcount")


@pytest.fixture
def mapped(mm: MmUnderTest) -> MmUnderTest:
    mm.vma(BASE, "8K")
    mm.touch(BASE)
    return mm


@one
def test_counts_by_address(mapped: MmUnderTest) -> None:
    assert_refcounts(mapped)
    assert_refcounts(mapped, {BASE + 0x5000: 1})
    assert_refcounts(mapped, {BASE: 1, BASE + (4 << 20): 0})
    wrong = [
        ({BASE: 2}, f"PTE table of {BASE:#x}: 1 reference, not 2 references"),
        ({}, f"PTE table of {BASE:#x}: 1 reference, not no table"),
        ({BASE: 1, BASE + (2 << 20): 1}, "no table, not 1 reference"),
    ]
    for expected, message in wrong:
        with pytest.raises(AssertionError, match=message):
            assert_refcounts(mapped, expected)


@one
def test_a_wrong_count_is_seen_without_numbers(mapped: MmUnderTest) -> None:
    table = mapped.memory.page(mapped.pte_table(BASE))
    table.pte_refcount += 1
    with pytest.raises(AssertionError, match="1 entries and counts 2 references") as caught:
        assert_refcounts(mapped)
    assert "PTE tables:" in str(caught.value)
    assert_refcounts(mapped, visitors={BASE: 1})
    with pytest.raises(AssertionError, match="2 references, but 1 entries and 2 visitors"):
        assert_refcounts(mapped, visitors={BASE: 2})
    table.pte_refcount -= 1
    with pytest.raises(AssertionError, match="1 references, but 1 entries and 1 visitors"):
        assert_refcounts(mapped, visitors={BASE: 1})


@one
def test_vmpte_that_is_wrong(mapped: MmUnderTest) -> None:
    mapped.c.pgtables_bytes += 4096
    with pytest.raises(AssertionError, match="VmPTE, kB: the walk from CR3 finds 12"):
        assert_refcounts(mapped)
    mapped.c.pgtables_bytes -= 4096


@pytest.mark.ucmmu(policy="never", engine="c")
def test_a_policy_that_does_not_count(mapped: MmUnderTest) -> None:
    assert_refcounts(mapped, {BASE: 77})
    assert [table.entries for table in pte_tables(mapped)] == [1]
