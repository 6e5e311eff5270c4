# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: flush_all() drops every entry of every PCID, global ones too, and the paging-structure
caches.
"""

from __future__ import annotations

from mmu.x86.registers import CR4_PCIDE
from ucmmu.testing import MmuUnderTest, assert_flushed, clear_events, events

VA = 0x7F12_3456_7000


def test_nothing_is_left(mmu: MmuUnderTest) -> None:
    mmu.map(VA, rights="rwxug")
    mmu.map(VA + 0x1000)
    mmu.access(VA)
    mmu.write_cr4(mmu.c.cr4 | CR4_PCIDE)
    mmu.tables.load(pcid=5)
    mmu.access(VA + 0x1000)
    assert {entry.pcid for entry in mmu.entries()} >= {5}
    mmu.flush_all()
    assert mmu.entries() == mmu.paging_structure_caches() == []
    assert_flushed(0, VA)


def test_the_next_access_walks(mmu: MmuUnderTest) -> None:
    mmu.map(VA)
    mmu.access(VA)
    mmu.flush_all()
    clear_events()
    mmu.access(VA)
    assert len(events("walk_entry")) == 4
