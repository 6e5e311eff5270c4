# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 12, freed tables: why a flush must say that tables were freed. A CPU with a lazy TLB has
the mm loaded without using it, and shootdowns of pages pass it by.
"""

import pytest

from mmu.linux import mmu_gather
from mmu.linux.mman import MADV_DONTNEED
from mmu.linux.tlbflush import enter_lazy_tlb
from ucmmu.testing.variants import replaced

START = 0x10_0000_0000


def table_free_tlb(tlb, pfn, addr, level):
    """Gather a table of that level that was taken out: flush its range, then free its frame."""
    c = tlb.c
    c.start, c.end = min(c.start, addr), max(c.end, addr + 4096)
    c.freed_tables = 1
    c.table[c.nr_tables] = pfn
    c.nr_tables += 1


@pytest.mark.ucmmu(engine="python", policy="refcount", cpus=2)
def test_a_lazy_cpu_forgets_the_table(mm, assert_flushed):
    mm.vma(START, "8K")
    mm.touch(START, cpu=1)
    with mm.on(1):
        enter_lazy_tlb(mm.kernel)
    with replaced(mmu_gather, table_free_tlb=table_free_tlb):
        mm.madvise(START, 4096, MADV_DONTNEED)
    try:
        assert_flushed(1, START)
    except AssertionError as error:
        pytest.fail(f"TODO: CPU 1 was not told that the table was freed\n{error}")
