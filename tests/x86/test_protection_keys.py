# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: PKRU under CR4.PKE, IA32_PKRS under CR4.PKS, take data accesses away by the leaf's key (SDM
4.6.2).
"""

from __future__ import annotations

import itertools

import pytest

from mmu.x86 import Access, Mmu, Outcome, Privilege
from mmu.x86.entries import X86_D, X86_PK_SHIFT, X86_RW, X86_US
from mmu.x86.faults import PF_ID, PF_P, PF_PK, PF_US, PF_WR
from mmu.x86.registers import CR0_WP, CR4_PKE, CR4_PKS, CR4_SMEP
from ucmmu.testing.tables import SUPERVISOR, USER, VA, Tables

AD, WD = 1, 2
KEY = 5


def set_up(
    tables: Tables, mmu: Mmu, flags: int, rights: int, *, key: int = KEY, wp: bool = True
) -> None:
    """A page of that key, whose two bits are ``rights`` in PKRU and PKRS both; both are on."""
    tables.map(VA, flags=flags | key << X86_PK_SHIFT, table_flags=USER)
    mmu.c.cr4 = (mmu.c.cr4 | CR4_PKE | CR4_PKS) & ~CR4_SMEP
    mmu.c.cr0 = mmu.c.cr0 if wp else mmu.c.cr0 & ~CR0_WP
    mmu.write_pkru(rights << 2 * KEY)
    mmu.write_pkrs(rights << 2 * KEY)


def denied(user_page: bool, rights: int, access: Access, privilege: Privilege, wp: bool) -> bool:
    """The table of SDM 4.6.2."""
    if access == Access.FETCH:
        return False
    if rights & AD:
        return True
    if not rights & WD or access != Access.WRITE:
        return False
    return wp or (user_page and privilege == Privilege.USER)


@pytest.mark.parametrize("user_page", [True, False])
@pytest.mark.parametrize("wp", [True, False])
def test_every_combination(tables: Tables, mmu: Mmu, user_page: bool, wp: bool) -> None:
    for rights, access, privilege in itertools.product(
        range(4), (Access.READ, Access.WRITE, Access.FETCH), Privilege
    ):
        if not user_page and privilege == Privilege.USER:
            continue
        set_up(tables, mmu, USER if user_page else SUPERVISOR, rights, wp=wp)
        answer = mmu.walk(VA, access, user=privilege)
        expected = not denied(user_page, rights, access, privilege, wp)
        assert answer.ok == expected, f"rights {rights} {access!r} {privilege!r}\n{answer}"
        if not answer.ok:
            assert answer.error_code & (PF_P | PF_PK) == PF_P | PF_PK


@pytest.mark.parametrize("key", range(16))
def test_each_key_has_its_own_bits(tables: Tables, mmu: Mmu, key: int) -> None:
    set_up(tables, mmu, USER, 0, key=key)
    mmu.write_pkru(AD << 2 * key)
    assert not mmu.walk(VA).ok
    mmu.write_pkru(0xFFFF_FFFF & ~(3 << 2 * key))
    assert mmu.walk(VA, Access.WRITE).ok
    assert mmu.walk(VA).pkey == key


@pytest.mark.parametrize(("flags", "bit"), [(USER, CR4_PKE), (SUPERVISOR, CR4_PKS)])
def test_each_register_has_its_own_switch(tables: Tables, mmu: Mmu, flags: int, bit: int) -> None:
    set_up(tables, mmu, flags, AD)
    privilege = Privilege.USER if flags & X86_US else Privilege.SUPERVISOR
    assert not mmu.walk(VA, user=privilege).ok
    mmu.c.cr4 &= ~bit
    assert mmu.walk(VA, user=privilege).ok


def test_pk_is_told_besides_other_reasons(tables: Tables, mmu: Mmu) -> None:
    """The bit says what the key forbids, whatever else does (SDM 4.7)."""
    set_up(tables, mmu, USER & ~X86_RW, WD)
    assert mmu.walk(VA, Access.WRITE).error_code == PF_P | PF_WR | PF_US | PF_PK
    mmu.write_pkru(0)
    assert mmu.walk(VA, Access.WRITE).error_code == PF_P | PF_WR | PF_US


def test_no_key_in_other_faults(tables: Tables, mmu: Mmu) -> None:
    set_up(tables, mmu, USER, AD)
    tables.change(VA, 1, clear=1)
    assert mmu.walk(VA).error_code == PF_US
    tables.change(VA, 1, set=1 | 1 << 51)
    assert mmu.walk(VA).error_code == PF_P | PF_US | 8
    tables.put(VA, 1, USER | 1 << 63 | KEY << X86_PK_SHIFT)
    assert mmu.walk(VA, Access.FETCH).error_code == PF_P | PF_US | PF_ID


def test_a_denied_write_sets_no_dirty_bit(tables: Tables, mmu: Mmu) -> None:
    set_up(tables, mmu, USER, WD)
    mmu.translate(VA, Access.WRITE)
    assert not tables.get(VA, 1) & X86_D


def test_the_tlb_keeps_the_key_and_asks_the_register_anew(tables: Tables, mmu: Mmu) -> None:
    """WRPKRU needs no flush: the register is read at each access."""
    set_up(tables, mmu, USER, 0)
    assert mmu.translate(VA, Access.WRITE).ok
    entry = mmu.resident(VA, Access.WRITE)
    assert entry is not None and entry.pkey == KEY
    mmu.write_pkru(WD << 2 * KEY)
    assert mmu.translate(VA, Access.READ).ok
    answer = mmu.translate(VA, Access.WRITE)
    assert (answer.result, answer.error_code) == (Outcome.PAGE_FAULT, PF_P | PF_WR | PF_US | PF_PK)
    assert mmu.take_soft_flush()[0], "a consumer's cached rights are void"


@pytest.mark.parametrize("level", [2, 3])
def test_large_leaves_have_keys_and_tables_have_none(tables: Tables, mmu: Mmu, level: int) -> None:
    tables.map(VA, flags=USER | KEY << X86_PK_SHIFT, level=level)
    mmu.c.cr4 |= CR4_PKE
    mmu.write_pkru(AD << 2 * KEY)
    assert not mmu.walk(VA).ok
    tables.put(VA, level, tables.get(VA, level) & ~(15 << X86_PK_SHIFT))
    tables.change(VA, 4, set=KEY << X86_PK_SHIFT)
    assert mmu.walk(VA).ok


@pytest.mark.parametrize("rights", [0, WD, AD])
def test_what_an_answer_grants(tables: Tables, mmu: Mmu, rights: int) -> None:
    """Whether it comes of a walk, of an entry, or is foretold."""
    set_up(tables, mmu, USER | X86_D, rights)
    expected = {0: 7, WD: 5, AD: 4}[rights]
    assert mmu.refill(VA, Access.FETCH).perms == expected
    assert [mmu.translate(VA, Access.FETCH).perms for _ in range(2)] == [expected] * 2
    assert mmu.refill(VA, Access.FETCH).perms == expected
