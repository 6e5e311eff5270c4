# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 7, invalidation: the TLB keeps what it has until it is told (SDM 4.10.4)."""

from ucmmu.testing import write

PAGE = 0x40_0000


def make_read_only(mmu) -> None:
    """Take the right to write from PAGE, so that the next write faults."""
    mmu.change_entry(PAGE, 1, clear=1 << 1)
    # TODO: memory says it now. Who does not know yet?


def test_the_next_write_faults(mmu, assert_fault):
    mmu.map(PAGE)
    mmu.access(PAGE, "write")
    make_read_only(mmu)
    assert mmu.resident(PAGE) is None, "TODO: the TLB still has an entry that allows the write"
    assert_fault(write(PAGE), code=7)
