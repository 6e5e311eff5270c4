# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: changing CR4.PGE, clearing PCIDE or CR0.PG drops everything; changing PAE or setting SMEP
drops the current PCID's entries; no other change drops any (SDM 4.10.4.1). On AMD PAE and PSE drop
everything, and so does setting PG; SMEP drops nothing (APM vol. 2 5.5.3).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu, Outcome, Vendor
from mmu.x86.entries import X86_G
from mmu.x86.registers import (
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_PSE,
    CR4_SMAP,
    CR4_SMEP,
    CR4_TSD,
    EFER_LMA,
)
from ucmmu.testing.tables import USER, VA, Tables

pytestmark = pytest.mark.ucmmu(geometry="skylake")
GLOBAL = VA + 4096
ALL, CURRENT, NONE = "all", "current", "none"


def fill(tables: Tables, mmu: Mmu) -> None:
    """A page under PCIDs 1 and 2, a global page under each of them; 2 is current."""
    tables.map(VA)
    for pcid, va in ((1, GLOBAL), (2, GLOBAL + 4096)):
        tables.map(va, flags=USER | X86_G)
        tables.load(pcid)
        mmu.translate(VA, Access.READ)
        mmu.translate(va, Access.READ)
    mmu.take_soft_flush()


@pytest.mark.parametrize(
    ("bit", "before", "dropped"),
    [
        (CR4_PSE, False, NONE),
        (CR4_PGE, True, ALL),
        (CR4_PGE, False, ALL),
        (CR4_PCIDE, True, ALL),
        (CR4_PAE, True, CURRENT),
        (CR4_PAE, False, CURRENT),
        (CR4_SMEP, False, CURRENT),
        (CR4_SMEP, True, NONE),
        (CR4_SMAP, False, NONE),
        (CR4_SMAP, True, NONE),
        (CR4_TSD, True, NONE),
    ],
)
def test_cr4(
    tables: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    causes: Callable[[], list[str]],
    bit: int,
    before: bool,
    dropped: str,
) -> None:
    fill(tables, mmu)
    prepare(mmu, bit, before)
    causes()
    with counted({} if dropped == NONE else {"tlb_invalidations": 1}):
        mmu.write_cr4(mmu.c.cr4 ^ bit)
    left = {ALL: set(), CURRENT: {1}, NONE: {1, 2}}[dropped]
    assert {entry.pcid for entry in mmu.entries()} == left
    assert {entry.pcid for entry in mmu.paging_structure_caches()} == left
    assert mmu.take_soft_flush() == (True, [])
    value = mmu.c.cr4
    told = [f"mov_cr4 old={value ^ bit:#x} value={value:#x} flushed={int(dropped == CURRENT):#x}"]
    assert causes() == told + (["tlb_flush_all global=0x1"] if dropped == ALL else [])


def prepare(mmu: Mmu, bit: int, before: bool) -> None:
    """The bit as it is before the write, in a mode in which it may be written."""
    mmu.c.cr4 = mmu.c.cr4 & ~bit | (bit if before else 0)
    if bit == CR4_PAE:
        mmu.c.efer &= ~EFER_LMA  # in long mode PAE may not be cleared


@pytest.mark.parametrize(
    ("bit", "before", "dropped"),
    [
        (CR4_PGE, True, ALL),
        (CR4_PCIDE, True, ALL),
        (CR4_PAE, True, ALL),
        (CR4_PAE, False, ALL),
        (CR4_PSE, False, ALL),
        (CR4_PSE, True, ALL),
        (CR4_SMEP, False, NONE),
    ],
)
def test_cr4_on_amd(tables: Tables, mmu: Mmu, bit: int, before: bool, dropped: str) -> None:
    mmu.c.vendor = Vendor.AMD
    fill(tables, mmu)
    prepare(mmu, bit, before)
    assert mmu.write_cr4(mmu.c.cr4 ^ bit) == Outcome.OK
    left = {ALL: set(), NONE: {1, 2}}[dropped]
    assert {entry.pcid for entry in mmu.entries()} == left
    assert {entry.pcid for entry in mmu.paging_structure_caches()} == left


def test_setting_pcide_drops_nothing(tables: Tables, mmu: Mmu) -> None:
    mmu.write_cr4(mmu.c.cr4 & ~CR4_PCIDE)
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    mmu.write_cr4(mmu.c.cr4 | CR4_PCIDE)
    assert mmu.resident(VA) is not None


def test_writing_the_same_value_does_nothing(
    tables: Tables, mmu: Mmu, counted: Callable[..., AbstractContextManager[None]]
) -> None:
    fill(tables, mmu)
    with counted({}):
        mmu.write_cr4(mmu.c.cr4)
        mmu.write_cr0(mmu.c.cr0)
    assert mmu.take_soft_flush() == (False, [])


@pytest.mark.parametrize(("bit", "left"), [(CR0_PG, set()), (CR0_WP, {1, 2})])
def test_cr0(tables: Tables, mmu: Mmu, bit: int, left: set[int]) -> None:
    fill(tables, mmu)
    mmu.c.cr4 &= ~CR4_PCIDE  # under which PG may not be cleared
    assert mmu.write_cr0(mmu.c.cr0 ^ bit) == Outcome.OK
    assert {entry.pcid for entry in mmu.entries()} == left
    assert {entry.pcid for entry in mmu.paging_structure_caches()} == left
    assert mmu.take_soft_flush() == (True, [])


@pytest.mark.parametrize(("vendor", "left"), [(Vendor.INTEL, {1, 2}), (Vendor.AMD, set())])
def test_turning_paging_on(tables: Tables, mmu: Mmu, vendor: Vendor, left: set[int]) -> None:
    mmu.c.vendor = vendor
    fill(tables, mmu)
    mmu.c.cr0 &= ~CR0_PG
    assert mmu.write_cr0(mmu.c.cr0 | CR0_PG) == Outcome.OK
    assert {entry.pcid for entry in mmu.entries()} == left


def test_flush_all(
    tables: Tables,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    causes: Callable[[], list[str]],
) -> None:
    fill(tables, mmu)
    causes()
    with counted({"tlb_invalidations": 1}):
        mmu.flush_all()
    assert mmu.entries() == mmu.paging_structure_caches() == []
    assert mmu.take_soft_flush() == (True, [])
    assert causes() == ["tlb_flush_all global=0x1"]
