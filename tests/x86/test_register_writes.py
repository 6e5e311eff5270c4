# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: an illegal write of a control register or MSR is #GP and changes nothing (SDM vol. 2B MOV
to CR, 2.5).
"""

from __future__ import annotations

import pytest

from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.registers import (
    CR0_CD,
    CR0_NW,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_CET,
    CR4_LA57,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
    EFER_TCE,
    Feature,
)
from ucmmu.testing.tables import VA, Tables

REGISTERS = ("cr0", "cr3", "cr4", "efer", "pat", "pkru", "pkrs")


def registers(mmu: Mmu) -> list[int]:
    return [int(getattr(mmu.c, name)) for name in REGISTERS]


def refused(
    mmu: Mmu, register: str, value: int, outcome: Outcome = Outcome.GENERAL_PROTECTION
) -> None:
    """The write is refused; registers, TLB and the soft-flush list stay as they are."""
    before = registers(mmu), mmu.entries(), mmu.counters()
    mmu.take_soft_flush()
    assert getattr(mmu, f"write_{register}")(value) == outcome
    assert (registers(mmu), mmu.entries(), mmu.counters()) == before
    assert mmu.take_soft_flush() == (False, [])


@pytest.fixture
def busy(tables: Tables, mmu: Mmu) -> Mmu:
    """With something in the TLB to lose."""
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    return mmu


class TestCr0:
    @pytest.mark.parametrize("bit", range(32, 64))
    def test_the_upper_half_is_reserved(self, busy: Mmu, bit: int) -> None:
        refused(busy, "cr0", busy.c.cr0 | 1 << bit)

    def test_nw_needs_cd(self, busy: Mmu) -> None:
        refused(busy, "cr0", busy.c.cr0 | CR0_NW)
        assert busy.write_cr0(busy.c.cr0 | CR0_NW | CR0_CD) == Outcome.OK

    def test_pg_needs_pe(self, busy: Mmu) -> None:
        refused(busy, "cr0", busy.c.cr0 & ~CR0_PE)

    def test_pcide_needs_pg(self, busy: Mmu) -> None:
        refused(busy, "cr0", busy.c.cr0 & ~CR0_PG)

    def test_cet_needs_wp(self, busy: Mmu) -> None:
        assert busy.write_cr4(busy.c.cr4 | CR4_CET) == Outcome.OK
        refused(busy, "cr0", busy.c.cr0 & ~CR0_WP)

    def test_long_mode_needs_pae(self, mmu: Mmu) -> None:
        off(mmu)
        assert mmu.write_cr4(mmu.c.cr4 & ~CR4_PAE) == Outcome.OK
        refused(mmu, "cr0", mmu.c.cr0 | CR0_PG)

    def test_without_lme_it_is_legacy_paging(self, mmu: Mmu) -> None:
        """32-bit and PAE paging are not modelled, and said not to be."""
        off(mmu)
        assert mmu.write_efer(mmu.c.efer & ~EFER_LME) == Outcome.OK
        refused(mmu, "cr0", mmu.c.cr0 | CR0_PG, Outcome.LEGACY)

    def test_pg_carries_lma(self, mmu: Mmu) -> None:
        off(mmu)
        assert not mmu.c.efer & EFER_LMA
        assert mmu.write_cr0(mmu.c.cr0 | CR0_PG) == Outcome.OK
        assert mmu.c.efer & EFER_LMA

    def test_undefined_low_bits_are_ignored(self, mmu: Mmu) -> None:
        before = mmu.c.cr0
        assert mmu.write_cr0(before | 1 << 6 | 1 << 17 | 1 << 28) == Outcome.OK
        assert mmu.c.cr0 == before


class TestCr3:
    @pytest.mark.parametrize("bit", range(46, 63))
    def test_bits_from_maxphyaddr_on_are_reserved(self, busy: Mmu, bit: int) -> None:
        refused(busy, "cr3", 0x1000 | 1 << bit)

    def test_bit_63_needs_pcide(self, busy: Mmu) -> None:
        assert busy.write_cr3(0x1000 | 1 << 63) == Outcome.OK
        assert busy.write_cr4(busy.c.cr4 & ~CR4_PCIDE) == Outcome.OK
        refused(busy, "cr3", 0x1000 | 1 << 63)

    def test_the_highest_table(self, busy: Mmu) -> None:
        assert busy.write_cr3((1 << 46) - 4096) == Outcome.OK


class TestCr4:
    @pytest.mark.parametrize("bit", [15, 19, *range(25, 64)])
    def test_reserved_bits(self, busy: Mmu, bit: int) -> None:
        refused(busy, "cr4", busy.c.cr4 | 1 << bit)

    @pytest.mark.parametrize(
        ("feature", "bit"),
        [
            (Feature.PGE, CR4_PGE),
            (Feature.PCID, CR4_PCIDE),
            (Feature.SMEP, CR4_SMEP),
            (Feature.SMAP, CR4_SMAP),
            (Feature.PKU, CR4_PKE),
            (Feature.PKS, CR4_PKS),
            (Feature.CET_SS, CR4_CET),
        ],
    )
    def test_what_the_processor_lacks_is_reserved(
        self, busy: Mmu, feature: Feature, bit: int
    ) -> None:
        busy.c.cr4 &= ~bit
        busy.c.features &= ~feature
        refused(busy, "cr4", busy.c.cr4 | bit)
        busy.c.features |= feature
        assert busy.write_cr4(busy.c.cr4 | bit) == Outcome.OK

    def test_long_mode_keeps_pae_and_levels(self, busy: Mmu) -> None:
        refused(busy, "cr4", busy.c.cr4 & ~CR4_PAE)
        refused(busy, "cr4", busy.c.cr4 | CR4_LA57)

    @pytest.mark.parametrize("bit", [*range(5), 6, 8, 9, 10, 11, 13, 14, 16, 18])
    def test_bits_that_do_not_concern_paging(self, mmu: Mmu, bit: int) -> None:
        """VME, PVI, TSD, DE, PSE, MCE, PCE, OSFXSR, OSXMMEXCPT, UMIP, VMXE, SMXE, FSGSBASE,
        OSXSAVE.
        """
        value = mmu.c.cr4 ^ 1 << bit
        assert mmu.write_cr4(value) == Outcome.OK
        assert mmu.c.cr4 == value

    def test_la57_needs_the_feature(self, mmu: Mmu) -> None:
        off(mmu)
        mmu.c.features &= ~Feature.LA57
        refused(mmu, "cr4", mmu.c.cr4 | CR4_LA57)
        mmu.c.features |= Feature.LA57
        assert mmu.write_cr4(mmu.c.cr4 | CR4_LA57) == Outcome.OK

    def test_pcide_needs_pcid_0(self, tables: Tables, mmu: Mmu) -> None:
        mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
        assert (
            mmu.write_cr3(tables.root | 0x18) == Outcome.OK
        )  # PCD and PWT, of which PCIDE makes a PCID
        refused(mmu, "cr4", mmu.c.cr4 | CR4_PCIDE)
        mmu.write_cr3(tables.root)
        assert mmu.write_cr4(mmu.c.cr4 | CR4_PCIDE) == Outcome.OK

    def test_pcide_needs_long_mode(self, mmu: Mmu) -> None:
        off(mmu)
        refused(mmu, "cr4", mmu.c.cr4 | CR4_PCIDE)

    def test_cet_needs_wp(self, busy: Mmu) -> None:
        busy.write_cr0(busy.c.cr0 & ~CR0_WP)
        refused(busy, "cr4", busy.c.cr4 | CR4_CET)


class TestEfer:
    @pytest.mark.parametrize("bit", [1, 7, 9, 12, 16, 63])
    def test_reserved_bits(self, busy: Mmu, bit: int) -> None:
        refused(busy, "efer", busy.c.efer | 1 << bit)

    @pytest.mark.parametrize(("feature", "bit"), [(Feature.NX, EFER_NXE), (Feature.TCE, EFER_TCE)])
    def test_what_the_processor_lacks_is_reserved(
        self, busy: Mmu, feature: Feature, bit: int
    ) -> None:
        busy.c.efer &= ~bit
        busy.c.features &= ~feature
        refused(busy, "efer", busy.c.efer | bit)

    def test_lme_needs_paging_off(self, busy: Mmu) -> None:
        refused(busy, "efer", busy.c.efer & ~EFER_LME)

    def test_lma_is_the_processors(self, mmu: Mmu) -> None:
        assert mmu.write_efer(EFER_SCE | EFER_LME) == Outcome.OK
        assert mmu.c.efer == EFER_SCE | EFER_LME | EFER_LMA


class TestKeys:
    def test_pkrs_has_32_bits(self, busy: Mmu) -> None:
        refused(busy, "pkrs", 1 << 32)
        assert busy.write_pkrs(0xFFFF_FFFF) == Outcome.OK

    def test_no_pkrs_without_pks(self, busy: Mmu) -> None:
        busy.c.features &= ~Feature.PKS
        refused(busy, "pkrs", 0)

    def test_wrpkru(self, busy: Mmu) -> None:
        refused(busy, "pkru", 1, Outcome.INVALID_OPCODE)
        assert busy.write_cr4(busy.c.cr4 | CR4_PKE) == Outcome.OK
        refused(busy, "pkru", 1 << 32)
        assert busy.write_pkru(0xFFFF_FFFF) == Outcome.OK


@pytest.mark.parametrize(
    ("register", "bit"),
    [("cr0", CR0_WP), ("cr4", CR4_SMAP), ("efer", EFER_NXE), ("pkru", 1), ("pkrs", 1)],
)
def test_consumers_hear_of_a_change(busy: Mmu, register: str, bit: int) -> None:
    """What they learned may no longer hold (SDM 4.6); writing what was there already is no news."""
    assert busy.write_cr4(busy.c.cr4 | CR4_PKE) == Outcome.OK
    write = getattr(busy, f"write_{register}")
    value = getattr(busy.c, register) ^ bit
    busy.take_soft_flush()
    for expected in (True, False):
        assert write(value) == Outcome.OK
        assert getattr(busy.c, register) == value
        assert busy.take_soft_flush() == (expected, [])


def off(mmu: Mmu) -> None:
    """Turn paging off, and with it long mode."""
    assert mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE) == Outcome.OK
    assert mmu.write_cr0(mmu.c.cr0 & ~CR0_PG) == Outcome.OK
