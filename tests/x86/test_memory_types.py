# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: PAT, PCD and PWT of the leaf choose one of eight memory types in IA32_PAT (SDM 4.9.2,
12.12.3).
"""

from __future__ import annotations

import itertools

import pytest

from mmu.x86 import Access, MemoryType, Mmu, Outcome
from mmu.x86.entries import X86_PAT, X86_PAT_LARGE, X86_PCD, X86_PWT
from ucmmu.testing.tables import USER, VA, Tables

POWER_ON = ["WB", "WT", "UC_MINUS", "UC"] * 2
"""SDM table 12-12."""


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_the_eight_of_reset(tables: Tables, mmu: Mmu, level: int, exact: bool) -> None:
    mmu.exact = exact
    pat = X86_PAT if level == 1 else X86_PAT_LARGE
    for index, (high, pcd, pwt) in enumerate(
        itertools.product((0, pat), (0, X86_PCD), (0, X86_PWT))
    ):
        tables.map(VA, flags=USER | high | pcd | pwt, level=level)
        mmu.flush_all()
        expected = MemoryType[POWER_ON[index]]
        assert mmu.walk(VA).pat_index == index
        for _ in ("walked", "resident"):
            assert mmu.refill(VA, Access.READ).memory_type == expected
            assert mmu.translate(VA, Access.READ).memory_type == expected


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("exact", [False, True])
def test_each_index(tables: Tables, mmu: Mmu, level: int, exact: bool) -> None:
    """With a PAT none of whose entries is that of the index with another bit 2, 1 or 0."""
    mmu.exact = exact
    types = [MemoryType[name] for name in ("WB", "WT", "UC_MINUS", "UC", "WC", "WP", "WB", "WT")]
    assert mmu.write_pat(sum(code << 8 * index for index, code in enumerate(types))) == Outcome.OK
    pat = X86_PAT if level == 1 else X86_PAT_LARGE
    for index, (high, pcd, pwt) in enumerate(
        itertools.product((0, pat), (0, X86_PCD), (0, X86_PWT))
    ):
        tables.map(VA, flags=USER | high | pcd | pwt, level=level)
        mmu.flush_all()
        answers = [
            ask(VA, Access.READ) for ask in (mmu.refill, mmu.translate, mmu.translate, mmu.refill)
        ]
        assert [answer.memory_type for answer in answers] == [types[index]] * 4


def test_wrmsr_changes_what_an_index_means(tables: Tables, mmu: Mmu) -> None:
    """Also for translations that are cached: they keep the index."""
    tables.map(VA, flags=USER | X86_PWT)
    assert mmu.translate(VA, Access.READ).memory_type == MemoryType.WT
    assert mmu.write_pat(0x0007_0106_0007_0106) == Outcome.OK
    assert mmu.translate(VA, Access.READ).memory_type == MemoryType.WC


@pytest.mark.parametrize("byte", range(8))
@pytest.mark.parametrize("code", [2, 3, 8, 0x80, 0xFF])
def test_reserved_types(mmu: Mmu, byte: int, code: int) -> None:
    before = mmu.c.pat
    value = before & ~(0xFF << 8 * byte) | code << 8 * byte
    assert mmu.write_pat(value) == Outcome.GENERAL_PROTECTION
    assert mmu.c.pat == before


@pytest.mark.parametrize("code", list(MemoryType))
def test_legal_types(mmu: Mmu, code: MemoryType) -> None:
    assert mmu.write_pat(code * 0x0101_0101_0101_0101) == Outcome.OK
