# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 10, reference counts: a PTE table lives as long as it has entries (docs/pte_ref.md)."""

from mmu.linux.mman import MADV_DONTNEED

START = 0x10_0000_0000
PAGE = 4096

# TODO: the reference count of the PTE table after each step; 0 if there is none any more.
AFTER_THREE_WRITES = None
AFTER_ONE_OF_THEM_AGAIN = None
AFTER_MADV_DONTNEED_OF_TWO = None
AFTER_MADV_DONTNEED_OF_ALL = None


def test_counts(mm, assert_refcounts):
    wanted = (
        AFTER_THREE_WRITES,
        AFTER_ONE_OF_THEM_AGAIN,
        AFTER_MADV_DONTNEED_OF_TWO,
        AFTER_MADV_DONTNEED_OF_ALL,
    )
    assert None not in wanted, "TODO: count the table's entries that are not none"
    mm.vma(START, 4 * PAGE)
    mm.touch(START, pages=3)
    assert_refcounts(mm, {START: AFTER_THREE_WRITES})
    mm.touch(START)
    assert_refcounts(mm, {START: AFTER_ONE_OF_THEM_AGAIN})
    mm.madvise(START, 2 * PAGE, MADV_DONTNEED)
    assert_refcounts(mm, {START: AFTER_MADV_DONTNEED_OF_TWO})
    mm.madvise(START, 4 * PAGE, MADV_DONTNEED)
    assert_refcounts(mm, {START: AFTER_MADV_DONTNEED_OF_ALL})
