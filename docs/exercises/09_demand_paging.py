# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 9, demand paging: what mmap() makes, and what the first access makes."""

START = 0x10_0000_0000

# TODO: START begins a region of 1 GiB where nothing was before. How many PUD, PMD and PTE tables
# has the mm after mmap() of 4 MiB, after a write to its first page, and after one to its last?
AFTER_MMAP = None
AFTER_THE_FIRST_PAGE = None
AFTER_THE_LAST_PAGE = None


def test_tables(mm, assert_refcounts):
    wanted = (AFTER_MMAP, AFTER_THE_FIRST_PAGE, AFTER_THE_LAST_PAGE)
    assert None not in wanted, "TODO: count the tables below the PGD"
    mm.vma(START, "4M")
    assert mm.tables() == AFTER_MMAP
    mm.touch(START)
    assert mm.tables() == AFTER_THE_FIRST_PAGE
    mm.touch(START + (4 << 20) - 4096)
    assert mm.tables() == AFTER_THE_LAST_PAGE
    assert_refcounts(mm)
