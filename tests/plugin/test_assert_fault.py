# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: assert_fault() makes the access, and passes just when it ends in #PF with that code and
CR2.
"""

from __future__ import annotations

import pytest

from ucmmu.testing import MmuUnderTest, assert_fault, fetch, read, write

VA = 0x7F12_3456_7000


def test_the_error_code_and_cr2(mmu: MmuUnderTest) -> None:
    mmu.map(VA, rights="ru")
    assert_fault(write(VA + 5), code=7, cr2=VA + 5, level=1)
    assert mmu.c.cr2 == VA + 5
    assert_fault(fetch(VA), code=0x15)
    assert_fault(read(VA + 0x1000), code=4, level=1)
    assert_fault(read(VA + 0x1000, user=False), code=0)
    assert mmu.counters()["page_faults_hw"] == 4


def test_the_ways_to_say_which_access(mmu: MmuUnderTest) -> None:
    mmu.map(VA, rights="ru")
    assert_fault(VA, "write", code=7)
    assert_fault(lambda: mmu.access(VA, "write"), code=7, cr2=VA)
    assert_fault(mmu.access(VA, "fetch"), code=0x15, cr2=VA)


def test_without_a_tlb(request: pytest.FixtureRequest, mmu: MmuUnderTest) -> None:
    mmu.exact = False
    mmu.map(VA, rights="ru")
    assert_fault(write(VA), code=7, cr2=VA)


def test_the_tlb_decides(mmu: MmuUnderTest) -> None:
    """A stale entry still allows what the tables do not."""
    mmu.map(VA)
    mmu.access(VA, "write")
    mmu.write_entry(VA, 1, 0)
    with pytest.raises(AssertionError, match="no page fault on a write"):
        assert_fault(write(VA))
    mmu.invlpg(VA)
    assert_fault(write(VA), code=6)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"code": 6}, "the error code is 0x7 "),
        ({"cr2": 0x1000}, f"CR2 is {VA:#x}, not 0x1000"),
        ({"level": 2}, "level is 1, not 2"),
    ],
)
def test_what_is_otherwise_is_said(
    mmu: MmuUnderTest, expected: dict[str, int], message: str
) -> None:
    mmu.map(VA, rights="ru")
    with pytest.raises(AssertionError) as caught:
        assert_fault(write(VA), **expected)
    assert message in str(caught.value)
    assert f"walk of {VA:#x}" in str(caught.value)


def test_an_access_that_is_no_page_fault(mmu: MmuUnderTest) -> None:
    pa = mmu.map(VA)
    with pytest.raises(AssertionError, match=f"it is translated to {pa:#x}"):
        assert_fault(read(VA))
    with pytest.raises(AssertionError, match="GENERAL_PROTECTION"):
        assert_fault(read(1 << 63))
