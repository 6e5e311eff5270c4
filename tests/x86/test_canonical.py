# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: bits 63:47 of an address must be equal, else #GP, before any paging (SDM vol. 1 3.3.7.1).

INVLPG of such an address does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.registers import is_canonical
from ucmmu.testing.tables import Tables

BAD = [1 << 47, 0xFFFF_7FFF_FFFF_FFFF, 1 << 63, 0x0000_8000_0000_0000, 0xFFFE_FFFF_FFFF_F000]
GOOD = [0, (1 << 47) - 1, 0xFFFF_8000_0000_0000, (1 << 64) - 1]


@pytest.mark.parametrize("va", BAD)
@pytest.mark.parametrize("exact", [False, True])
def test_general_protection(
    tables: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    va: int,
    exact: bool,
) -> None:
    mmu.exact = exact
    with counted({}):
        for access in Access:
            assert mmu.translate(va, access).result == Outcome.GENERAL_PROTECTION
            assert mmu.refill(va, access).result == Outcome.GENERAL_PROTECTION
            assert mmu.walk(va, access).result == Outcome.GENERAL_PROTECTION
        mmu.invlpg(va)
    assert mmu.c.cr2 == 0
    assert mmu.take_soft_flush() == (False, [])


@pytest.mark.parametrize("va", GOOD)
def test_the_last_good_ones(tables: Tables, mmu: Mmu, va: int) -> None:
    assert mmu.walk(va).result == Outcome.PAGE_FAULT


@given(st.integers(0, (1 << 64) - 1))
def test_sign_extension(va: int) -> None:
    low = va & (1 << 48) - 1
    extended = low | (0xFFFF << 48 if low >> 47 else 0)
    assert is_canonical(extended)
    assert is_canonical(va) == (va == extended)
