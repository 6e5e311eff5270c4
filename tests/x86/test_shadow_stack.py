# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a shadow-stack access needs a shadow-stack page of its own mode: R/W 0 and D 1 in the leaf,
R/W 1 above, under CR4.CET; ordinary stores never reach one (SDM 4.6.1).
"""

from __future__ import annotations

import pytest

from mmu.x86 import Access, Mmu, Outcome, Privilege
from mmu.x86.entries import X86_A, X86_D, X86_P, X86_PK_SHIFT, X86_RW, X86_US
from mmu.x86.faults import PF_P, PF_PK, PF_SS, PF_US, PF_WR
from mmu.x86.registers import CR4_CET, CR4_PKE
from ucmmu.testing.tables import USER, VA, Tables

SHADOW = [Access.SHSTK_READ, Access.SHSTK_WRITE]
USER_STACK = X86_P | X86_US | X86_D
SUPERVISOR_STACK = X86_P | X86_D


@pytest.fixture(autouse=True)
def cet(mmu: Mmu) -> None:
    mmu.c.cr4 |= CR4_CET


@pytest.mark.parametrize("access", SHADOW)
@pytest.mark.parametrize(
    ("leaf", "user", "ok"),
    [
        (USER_STACK, True, True),
        (USER_STACK, False, False),
        (SUPERVISOR_STACK, False, True),
        (SUPERVISOR_STACK, True, False),
        (USER_STACK & ~X86_D, True, False),
        (USER_STACK | X86_RW, True, False),
    ],
)
def test_which_pages_are_shadow_stacks(
    tables: Tables, mmu: Mmu, access: Access, leaf: int, user: bool, ok: bool
) -> None:
    tables.map(VA, flags=leaf)
    walk = mmu.walk(VA, access, user=user)
    assert walk.ok == ok
    if ok:
        assert walk.shadow_stack
    else:
        code = (
            PF_P | PF_SS | (PF_US if user else 0) | (PF_WR if access == Access.SHSTK_WRITE else 0)
        )
        assert walk.error_code == code


@pytest.mark.parametrize("level", [4, 3, 2])
def test_every_level_above_must_be_writable(tables: Tables, mmu: Mmu, level: int) -> None:
    tables.map(VA, flags=USER_STACK)
    tables.change(VA, level, clear=X86_RW)
    assert not mmu.walk(VA, Access.SHSTK_READ).ok


def test_ordinary_loads_may_ordinary_stores_may_not(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER_STACK)
    assert mmu.translate(VA, Access.READ).ok
    answer = mmu.translate(VA, Access.WRITE)
    assert (answer.result, answer.error_code) == (Outcome.PAGE_FAULT, PF_P | PF_WR | PF_US)


@pytest.mark.parametrize(("leaf", "user"), [(USER_STACK, True), (SUPERVISOR_STACK, False)])
def test_without_cet_there_are_none(tables: Tables, mmu: Mmu, leaf: int, user: bool) -> None:
    tables.map(VA, flags=leaf)
    assert mmu.refill(VA, Access.READ, user=user).perms & 0x18 == 0x18
    mmu.c.cr4 &= ~CR4_CET
    assert not mmu.walk(VA, Access.SHSTK_READ, user=user).ok
    assert mmu.refill(VA, Access.READ, user=user).perms & 0x18 == 0


def test_ss_is_told_of_absent_pages_too(tables: Tables, mmu: Mmu) -> None:
    assert mmu.walk(VA, Access.SHSTK_WRITE).error_code == PF_SS | PF_WR | PF_US


def test_a_store_sets_a_and_leaves_d(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER_STACK)
    mmu.translate(VA, Access.SHSTK_WRITE)
    assert tables.get(VA, 1) & 0xFFF == USER_STACK | X86_A


def test_no_store_makes_a_shadow_stack(tables: Tables, mmu: Mmu) -> None:
    """D is never set where R/W is 0: CR4.CET cannot be on without CR0.WP (SDM 4.8)."""
    tables.map(VA, flags=X86_P | X86_US)
    for privilege in Privilege:
        mmu.translate(VA, Access.WRITE, user=privilege)
    assert not tables.get(VA, 1) & X86_D


def test_the_tlb_remembers(tables: Tables, mmu: Mmu) -> None:
    pa = tables.map(VA, flags=USER_STACK)
    mmu.translate(VA, Access.READ)
    before = mmu.counters()
    assert mmu.translate(VA, Access.SHSTK_WRITE).pa == pa
    after = mmu.counters()
    assert after["dTLB-stores"] == before["dTLB-stores"] + 1
    assert after["page_walker_loads"] == before["page_walker_loads"]


@pytest.mark.parametrize("level", [2, 3])
def test_large_pages_too(tables: Tables, mmu: Mmu, level: int) -> None:
    tables.map(VA, flags=USER_STACK, level=level)
    assert mmu.walk(VA, Access.SHSTK_WRITE).ok
    assert not mmu.walk(VA, Access.WRITE).ok


def test_keys_restrict_them(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER_STACK | 3 << X86_PK_SHIFT)
    mmu.c.cr4 |= CR4_PKE
    mmu.write_pkru(2 << 6)
    assert mmu.walk(VA, Access.SHSTK_READ).ok
    assert mmu.walk(VA, Access.SHSTK_WRITE).error_code == PF_P | PF_WR | PF_US | PF_SS | PF_PK
    mmu.write_pkru(1 << 6)
    assert mmu.walk(VA, Access.SHSTK_READ).error_code == PF_P | PF_US | PF_SS | PF_PK


def test_a_writable_page_is_none(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | X86_D)
    assert not mmu.walk(VA).shadow_stack
