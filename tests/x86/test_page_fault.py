# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: page_fault() makes the fault that refill() told happen: CR2, the counter, the event (SDM
4.7).
"""

from __future__ import annotations

import pytest

from mmu.x86 import Access, Outcome
from ucmmu.testing import MmuUnderTest, assert_events, clear_events, event

VA = 0x7F12_3456_7000

pytestmark = pytest.mark.ucmmu(fidelity="fast")


def test_what_it_leaves(mmu: MmuUnderTest) -> None:
    mmu.map(VA, rights="ru")
    answer = mmu.refill(VA + 3, Access.WRITE)
    assert (answer.result, answer.error_code) == (Outcome.PAGE_FAULT, 7)
    assert (mmu.c.cr2, mmu.counters()["page_faults_hw"]) == (0, 0)
    clear_events()
    mmu.page_fault(VA + 3, answer.error_code)
    assert (mmu.c.cr2, mmu.counters()["page_faults_hw"]) == (VA + 3, 1)
    assert_events([event("page_fault", address=VA + 3, error_code=7)])


def test_addresses_are_64_bits(mmu: MmuUnderTest) -> None:
    mmu.page_fault(-0x1000, 5)
    assert mmu.c.cr2 == (1 << 64) - 0x1000
