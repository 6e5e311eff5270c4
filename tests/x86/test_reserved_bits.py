# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a present entry with a reserved bit set faults with RSVD (SDM 4.7, table 4-19).

Reserved are address bits from MAXPHYADDR up, XD without EFER.NXE, PS in a PML5E or PML4E, on AMD
bit 8 there too, and in a large leaf the address bits below its size but for bit 12. Each of the 64
bits is tried at each level.
"""

from __future__ import annotations

import pytest

from mmu.x86 import Access, Mmu, Outcome, Vendor, WalkMode
from mmu.x86.entries import X86_G, X86_P, X86_PS, entry_offset
from mmu.x86.faults import PF_P, PF_RSVD, PF_US
from mmu.x86.registers import CR4_LA57, EFER_NXE, Feature
from ucmmu.testing.tables import USER, VA, Tables


def reserved(bit: int, level: int, leaf_level: int, maxphyaddr: int, nxe: bool) -> bool:
    if maxphyaddr <= bit <= 51 or (bit == 63 and not nxe):
        return True
    if level == 4:
        return bit == 7
    if level == leaf_level == 3:
        return 13 <= bit <= 29
    if level == leaf_level == 2:
        return 13 <= bit <= 20
    return False


@pytest.mark.parametrize("nxe", [False, True])
@pytest.mark.parametrize("maxphyaddr", [36, 46, 52])
@pytest.mark.parametrize("leaf_level", [1, 2, 3])
def test_each_bit_of_each_level(
    tables: Tables, mmu: Mmu, leaf_level: int, maxphyaddr: int, nxe: bool
) -> None:
    mmu.c.maxphyaddr = maxphyaddr
    mmu.c.efer = mmu.c.efer & ~EFER_NXE | (EFER_NXE if nxe else 0)
    tables.map(VA, level=leaf_level)
    for level in range(4, leaf_level - 1, -1):
        right = tables.get(VA, level)
        for bit in range(64):
            if 1 << bit == X86_P or (1 << bit == X86_PS and leaf_level < level < 4):
                continue
            tables.memory.write_u64(mmu.walk(VA).entry_pa[level], right | 1 << bit)
            faults = bool(mmu.walk(VA, mode=WalkMode.QUIET).error_code & PF_RSVD)
            assert faults == reserved(bit, level, leaf_level, maxphyaddr, nxe), (
                f"bit {bit} of level {level}"
            )
            assert bool(mmu.refill(VA, Access.READ).error_code & PF_RSVD) == faults
            tables.memory.write_u64(mmu.walk(VA).entry_pa[level], right)


@pytest.mark.parametrize("vendor", Vendor)
@pytest.mark.parametrize("level", [5, 4, 3, 2])
def test_bit_8_of_an_upper_entry(tables: Tables, mmu: Mmu, level: int, vendor: Vendor) -> None:
    """AMD reserves it in a PML4E and a PML5E (APM vol. 2 5.3.3); elsewhere G means nothing where a
    table follows.
    """
    mmu.c.vendor = vendor
    tables.map(VA)
    tables.change(VA, min(level, 4), set=X86_G if level < 5 else 0)
    if level == 5:
        under_la57(tables, mmu, X86_G)
    fault = mmu.walk(VA).error_code
    assert fault == (PF_P | PF_RSVD | PF_US if vendor == Vendor.AMD and level >= 4 else 0)


def test_ps_of_a_pml5e(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    under_la57(tables, mmu, X86_PS)
    assert mmu.walk(VA).error_code == PF_P | PF_RSVD | PF_US


def under_la57(tables: Tables, mmu: Mmu, bits: int) -> None:
    """Put a PML5 table above the others, whose entry for VA has these bits set."""
    top = tables.frame()
    tables.memory.write_u64(top + entry_offset(VA, 5), tables.root | USER | bits)
    mmu.c.cr4 |= CR4_LA57
    assert mmu.write_cr3(top) == Outcome.OK


@pytest.mark.parametrize("level", [3, 2])
def test_without_1_gib_pages(tables: Tables, mmu: Mmu, level: int) -> None:
    """PS is reserved in a PDPTE then; a PDE's is as ever."""
    mmu.c.features &= ~Feature.PAGE1GB
    tables.map(VA, level=level)
    assert mmu.walk(VA).error_code == (PF_P | PF_RSVD | PF_US if level == 3 else 0)


def test_an_entry_with_a_reserved_bit_is_never_cached(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    tables.change(VA, 1, set=1 << 51)
    assert mmu.translate(VA, Access.READ).result == Outcome.PAGE_FAULT
    assert mmu.entries() == mmu.paging_structure_caches() == []


def test_a_reserved_bit_below_is_not_reached(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | 1 << 51)
    tables.put(VA, 2, 0)
    assert not mmu.walk(VA).error_code & PF_RSVD
