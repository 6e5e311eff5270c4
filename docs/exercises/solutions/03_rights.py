# SPDX-License-Identifier: GPL-2.0-or-later
"""Exercise 3, rights: every entry on the way must allow an access (SDM 4.6)."""

LEAF = "rwu"
ABOVE = "rxu"


def test_a_user_may_only_read(mmu, assert_walk, assert_fault):
    assert LEAF is not None and ABOVE is not None, "TODO: choose the rights of leaf and tables"
    assert "w" in LEAF
    mmu.map(0x40_0000, rights=LEAF, table_rights=ABOVE)
    assert_walk(0x40_0000, "read", rights="ru")
    assert_fault(0x40_0000, "write")
    assert_fault(0x40_0000, "fetch")
