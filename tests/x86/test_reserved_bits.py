# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a present entry with a reserved bit set faults with RSVD (SDM 4.7, table 4-19).

Reserved are address bits from MAXPHYADDR up, XD without EFER.NXE, PS in a PML4E, and in a large leaf the address
bits below its size but for bit 12. Each of the 64 bits is tried at each level, against that list.
"""

from __future__ import annotations

import pytest

from mmu.x86 import Access, Mmu, Outcome, WalkMode
from mmu.x86.entries import X86_P, X86_PS
from mmu.x86.faults import PF_RSVD
from mmu.x86.registers import EFER_NXE
from tests.x86.tables import USER, VA, Tables


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
            assert faults == reserved(bit, level, leaf_level, maxphyaddr, nxe), f"bit {bit} of level {level}"
            assert bool(mmu.refill(VA, Access.READ).error_code & PF_RSVD) == faults
            tables.memory.write_u64(mmu.walk(VA).entry_pa[level], right)


def test_an_entry_with_a_reserved_bit_is_never_cached(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    tables.change(VA, 1, set=1 << 51)
    assert mmu.translate(VA, Access.READ).result == Outcome.PAGE_FAULT
    assert mmu.entries() == mmu.paging_structure_caches() == []


def test_a_reserved_bit_below_is_not_reached(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, flags=USER | 1 << 51)
    tables.put(VA, 2, 0)
    assert not mmu.walk(VA).error_code & PF_RSVD
