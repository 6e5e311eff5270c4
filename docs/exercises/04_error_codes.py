# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 4, page faults: the error code says what went wrong (SDM 4.7)."""

from ucmmu.testing import fetch, read, write

PAGE = 0x40_0000
"""A page that a user may read; the page behind it is not mapped."""

# TODO: the error code of each fault: P 1, W/R 2, U/S 4, RSVD 8, I/D 16.
USER_WRITES = None
USER_FETCHES = None
USER_READS_BEHIND = None
SUPERVISOR_WRITES_BEHIND = None


def test_codes(mmu, assert_fault):
    codes = (USER_WRITES, USER_FETCHES, USER_READS_BEHIND, SUPERVISOR_WRITES_BEHIND)
    assert None not in codes, "TODO: add up the bits of each error code"
    mmu.map(PAGE, rights="ru")
    assert_fault(write(PAGE), code=USER_WRITES, cr2=PAGE)
    assert_fault(fetch(PAGE), code=USER_FETCHES)
    assert_fault(read(PAGE + 0x1000), code=USER_READS_BEHIND)
    assert_fault(write(PAGE + 0x1000, user=False), code=SUPERVISOR_WRITES_BEHIND)
