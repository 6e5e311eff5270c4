# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 8, paging-structure caches: walks that need not begin at CR3 (SDM 4.10.3)."""

PAGE = 0x40_0000

# TODO: how many entries of tables does the processor read for each access, one after the other?
READS_FOR_PAGE = None
READS_FOR_THE_NEXT_PAGE = None
READS_FOR_PAGE_AGAIN = None


def test_reads(mmu):
    reads = (READS_FOR_PAGE, READS_FOR_THE_NEXT_PAGE, READS_FOR_PAGE_AGAIN)
    assert None not in reads, "TODO: count the entries that each walk reads"
    mmu.map(PAGE)
    mmu.map(PAGE + 0x1000)
    for page, wanted in zip((PAGE, PAGE + 0x1000, PAGE), reads, strict=True):
        before = mmu.counters()["page_walker_loads"]
        mmu.access(page)
        assert mmu.counters()["page_walker_loads"] - before == wanted
