# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 6, sets and ways: the DTLB of geometry tiny has 2 sets of 2 ways, and the page's number
modulo 2 chooses the set. The least recently used entry of the set gives its place.
"""

from ucmmu.testing import assert_events, clear_events, event

FIRST = 0x40_0000

# TODO: two more pages, by their addresses, so that reading FIRST, then these, takes FIRST out of
# the DTLB.
OTHERS = None


def test_first_is_evicted(mmu):
    assert OTHERS is not None, "TODO: choose two pages that fall into FIRST's set"
    assert len(set(OTHERS)) == 2
    for page in (FIRST, *OTHERS):
        mmu.map(page)
    mmu.access(FIRST)
    clear_events()
    for page in OTHERS:
        mmu.access(page)
    assert_events([..., event("tlb_evict", address=FIRST, array=0), ...])
