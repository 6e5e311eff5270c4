# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 1, the page walk: which entry of each table maps an address (SDM vol. 3A, 4.5.4)."""

VA = 0x7F12_3456_7ABC

INDEXES = (VA >> 39 & 511, VA >> 30 & 511, VA >> 21 & 511, VA >> 12 & 511)


def test_indexes(mmu, assert_walk):
    assert INDEXES is not None, "TODO: cut VA into four indexes of 9 bits, above the 12 of the page"
    mmu.map(VA & ~0xFFF, pa=0x5000)
    walk = assert_walk(VA, pa=0x5ABC)
    assert tuple(walk.entry_pa[level] % 4096 // 8 for level in (4, 3, 2, 1)) == INDEXES
