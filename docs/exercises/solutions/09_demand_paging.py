# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 9, demand paging: what mmap() makes, and what the first access makes."""

START = 0x10_0000_0000

AFTER_MMAP = 0
AFTER_THE_FIRST_PAGE = 3
AFTER_THE_LAST_PAGE = 4


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
