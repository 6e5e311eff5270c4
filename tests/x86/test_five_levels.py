# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: under CR4.LA57 the walk begins at a PML5 table; addresses have 57 bits (SDM 4.5, 4.5.4)."""

from __future__ import annotations

import pytest

from mmu.errors import MmuError
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome, WalkMode, load_geometry
from mmu.x86.entries import (
    X86_A,
    X86_ADDR_MASK,
    X86_P,
    X86_PS,
    X86_RW,
    X86_US,
    X86_XD,
    entry_offset,
)
from mmu.x86.faults import PF_P, PF_RSVD, PF_US, PF_WR
from mmu.x86.registers import CR0_PG, CR4_LA57, CR4_PCIDE, Feature
from ucmmu.testing.tables import USER, VA, Tables

WIDE = 0x00A5_7F12_3456_7000
"""An address that only 57 bits can hold, whose index differs at every level."""


class FiveLevels(Tables):
    """The same tables under a PML5."""

    def __init__(self, mmu: Mmu) -> None:
        super().__init__(mmu)
        self.pml4 = self.frame()
        self.memory.write_u64(self.root + entry_offset(WIDE, 5), self.pml4 | USER)
        self.memory.write_u64(self.root, self.pml4 | USER)


@pytest.fixture
def five(mmu: Mmu) -> FiveLevels:
    mmu.c.cr4 |= CR4_LA57
    five = FiveLevels(mmu)
    five.load()
    return five


def test_five_entries_are_read(five: FiveLevels, mmu: Mmu) -> None:
    pa = five.map(WIDE)
    walk = mmu.walk(WIDE + 0x123)
    assert (walk.ok, walk.pa, walk.top_level, walk.level) == (True, pa + 0x123, 5, 1)
    table = five.root
    for level in (5, 4, 3, 2, 1):
        assert walk.entry_pa[level] == table + entry_offset(WIDE, level)
        table = walk.entry[level] & X86_ADDR_MASK
    assert mmu.translate(WIDE, Access.READ).pa == pa
    assert mmu.counters()["page_walker_loads"] == 5


@pytest.mark.parametrize(
    ("va", "canonical"),
    [
        (0x00FF_FFFF_FFFF_F000, True),
        (0xFF00_0000_0000_0000, True),
        (1 << 47, True),
        (1 << 56, False),
        (0xFEFF_FFFF_FFFF_F000, False),
        (1 << 63, False),
    ],
)
def test_canonical_addresses_have_57_bits(
    five: FiveLevels, mmu: Mmu, va: int, canonical: bool
) -> None:
    expected = Outcome.PAGE_FAULT if canonical else Outcome.GENERAL_PROTECTION
    assert mmu.walk(va).result == expected
    assert mmu.translate(va, Access.READ).result == expected
    assert mmu.refill(va, Access.READ).result == expected


def test_with_four_levels_the_same_address_is_not_canonical(tables: Tables, mmu: Mmu) -> None:
    assert mmu.translate(WIDE, Access.READ).result == Outcome.GENERAL_PROTECTION


@pytest.mark.parametrize(
    ("clear", "set_", "access", "error_code"),
    [
        (X86_P, 0, Access.READ, PF_US),
        (X86_RW, 0, Access.WRITE, PF_P | PF_US | PF_WR),
        (X86_US, 0, Access.READ, PF_P | PF_US),
        (0, X86_PS, Access.READ, PF_P | PF_US | PF_RSVD),
        (0, 1 << 51, Access.READ, PF_P | PF_US | PF_RSVD),
        (0, X86_XD, Access.FETCH, PF_P | PF_US | 0x10),
    ],
)
def test_the_pml5e_has_a_veto(
    five: FiveLevels, mmu: Mmu, clear: int, set_: int, access: Access, error_code: int
) -> None:
    five.map(WIDE)
    five.change(WIDE, 5, clear=clear, set=set_)
    answer = mmu.translate(WIDE, access)
    assert (answer.result, answer.error_code) == (Outcome.PAGE_FAULT, error_code)


def test_a_of_the_pml5e_is_set_even_if_a_lower_level_faults(five: FiveLevels, mmu: Mmu) -> None:
    five.map(WIDE)
    five.change(WIDE, 4, clear=X86_P)
    mmu.translate(WIDE, Access.READ)
    assert five.get(WIDE, 5) & X86_A
    assert not five.get(WIDE, 4) & X86_A


@pytest.mark.parametrize("va", [WIDE, VA, 0])
def test_in_fast(five: FiveLevels, mmu: Mmu, va: int) -> None:
    """Also where nothing is left to do for a walk, and four levels from the PML5 on lead somewhere,
    too.
    """
    mmu.exact = False
    pa = five.map(va)
    for access in (Access.WRITE, Access.WRITE, Access.READ):
        assert mmu.refill(va, access).pa == pa
        walk = mmu.walk(va, access, mode=WalkMode.QUIET)
        assert (walk.pa, walk.top_level) == (pa, 5)


def test_invlpg_knows_57_bits(five: FiveLevels, mmu: Mmu) -> None:
    five.map(WIDE)
    mmu.translate(WIDE, Access.READ)
    assert mmu.resident(WIDE) is not None
    mmu.invlpg(WIDE)
    assert mmu.resident(WIDE) is None


def test_levels_are_chosen_at_reset_or_while_paging_is_off(mmu: Mmu) -> None:
    assert mmu.write_cr4(mmu.c.cr4 | CR4_LA57) == Outcome.GENERAL_PROTECTION
    assert mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE) == Outcome.OK
    assert mmu.write_cr0(mmu.c.cr0 & ~CR0_PG) == Outcome.OK
    assert mmu.write_cr4(mmu.c.cr4 | CR4_LA57) == Outcome.OK
    assert mmu.write_cr0(mmu.c.cr0 | CR0_PG) == Outcome.OK
    assert mmu.walk(0).top_level == 5


def test_reset_with_five(memory: Memory) -> None:
    assert Mmu(memory, geometry="tiny", levels=5).c.cr4 & CR4_LA57
    assert not Mmu(memory, geometry="tiny").c.cr4 & CR4_LA57
    with pytest.raises(MmuError, match="levels of paging must be 4 or 5, not 3"):
        Mmu(memory, geometry="tiny", levels=3)


def test_a_processor_without_la57(memory: Memory, mmu: Mmu) -> None:
    assert "la57" not in load_geometry("skylake").processor.features
    with pytest.raises(
        MmuError, match="levels of paging must be 4, for this processor has no LA57, not 5"
    ):
        Mmu(memory, geometry="skylake", levels=5)
    mmu.c.features &= ~Feature.LA57
    mmu.c.cr0 &= ~CR0_PG
    assert mmu.write_cr4(mmu.c.cr4 | CR4_LA57) == Outcome.GENERAL_PROTECTION
