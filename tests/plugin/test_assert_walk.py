# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: assert_walk() passes just when the walk allows the access and is as said, and changes
nothing.
"""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from mmu.x86.entries import X86_A, X86_D
from ucmmu.testing import MmuUnderTest, assert_walk

VA = 0x7F12_3456_7000


def test_all_that_may_be_asked(mmu: MmuUnderTest) -> None:
    mmu.map(VA, pa=0x5000, rights="ruad")
    leaf = mmu.read_entry(VA, 1)
    walk = assert_walk(
        VA + 8, pa=0x5008, level=1, rights="ru", accessed=True, dirty=True, entries={1: leaf}
    )
    assert walk.entry[1] == leaf
    assert_walk(VA, "read", user=False)
    assert mmu.entries() == []
    assert not mmu.read_entry(VA, 4) & X86_A


@pytest.mark.parametrize(
    ("size", "level", "alignment"), [("4K", 1, 1 << 12), ("2M", 2, 1 << 21), ("1G", 3, 1 << 30)]
)
def test_pages_of_every_size(mmu: MmuUnderTest, size: str, level: int, alignment: int) -> None:
    va = 3 * alignment
    mmu.map(va, pa=alignment * 2, size=size)
    assert_walk(va + 0x123, "fetch", pa=alignment * 2 + 0x123, level=level, rights="rwxu")


@pytest.mark.ucmmu(levels=5)
def test_five_levels(mmu: MmuUnderTest) -> None:
    va = 0x00A5_7F12_3456_7000
    mmu.map(va, pa=0x5000)
    assert assert_walk(va, "write", pa=0x5000).entry_pa[5]


@pytest.mark.parametrize(
    ("access", "expected", "message"),
    [
        ("write", {}, "the walk for a write does not succeed"),
        ("fetch", {}, "the walk for a fetch does not succeed"),
        ("read", {"pa": 0x6000}, "pa is 0x5000, not 0x6000"),
        ("read", {"level": 2}, "level is 1, not 2"),
        ("read", {"rights": "rwu"}, "rights is 'ru', not 'rwu'"),
        ("read", {"dirty": True}, "dirty is False, not True"),
        ("read", {"accessed": True}, "accessed is False, not True"),
        ("read", {"entries": {1: 7}}, "entry of level 1 is 0x8000000000005005, not 7"),
    ],
)
def test_what_is_otherwise_is_said_with_the_walk(
    mmu: MmuUnderTest, access: str, expected: dict[str, int], message: str
) -> None:
    mmu.map(VA, pa=0x5000, rights="ru")
    with pytest.raises(AssertionError) as caught:
        assert_walk(VA, access, **expected)
    assert message in str(caught.value)
    assert f"walk of {VA:#x}\n  PML4E at" in str(caught.value)


def test_words_that_mean_nothing(mmu: MmuUnderTest) -> None:
    mmu.map(VA)
    with pytest.raises(TypeError, match="knows no 'colour'"):
        assert_walk(VA, colour=1)
    with pytest.raises(MmuError, match="no 'q'"):
        assert_walk(VA, rights="rq")
    with pytest.raises(MmuError, match="no access 'jump': known are read, write, fetch"):
        assert_walk(VA, "jump")


def test_it_is_about_the_mmu_named(mmu: MmuUnderTest) -> None:
    other = MmuUnderTest(mmu.memory, geometry="tiny", engine=mmu.engine)
    other.map(VA, pa=0x9000)
    assert_walk(VA, pa=0x9000, mmu=other)
    with pytest.raises(AssertionError):
        assert_walk(VA)


def test_dirty_is_the_leafs(mmu: MmuUnderTest) -> None:
    mmu.map(VA)
    mmu.access(VA, "write")
    assert_walk(VA, accessed=True, dirty=True)
    mmu.change_entry(VA, 1, clear=X86_A | X86_D)
    assert_walk(VA, accessed=False, dirty=False)
