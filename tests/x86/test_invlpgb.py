# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: INVLPGB drops by address or all, of a PCID or any, global ones if asked, upper levels
unless told not to (APM vol. 3 INVLPGB); here what it does to the processor that executes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_G
from mmu.x86.invalidate import (
    INVLPGB_ASID,
    INVLPGB_COUNT_MAX,
    INVLPGB_FINAL_ONLY,
    INVLPGB_GLOBAL,
    INVLPGB_NESTED,
    INVLPGB_PCID,
    INVLPGB_STRIDE_2M,
    INVLPGB_VA,
)
from mmu.x86.registers import CR4_PCIDE, EFER_TCE, Feature
from ucmmu.testing.tables import USER, VA, Tables

pytestmark = pytest.mark.ucmmu(geometry="skylake")
BASE = VA & -(1 << 21)
NEXT, GLOBAL, FAR = BASE + 4096, BASE + 8192, BASE + (1 << 21)
PAGES = (BASE, NEXT, GLOBAL, FAR)
ALL = {(va, pcid) for va in (BASE, NEXT, FAR) for pcid in (1, 2)} | {(GLOBAL, 1)}


@pytest.fixture
def resident(tables: Tables, mmu: Mmu) -> Mmu:
    """Pages and a global one read under PCIDs 1 and 2, 2 current."""
    mmu.c.features |= Feature.INVLPGB | Feature.TCE | Feature.PCID
    for va in PAGES:
        tables.map(va, flags=USER | (X86_G if va == GLOBAL else 0))
    for pcid in (1, 2):
        tables.load(pcid, keep=True)
        for va in PAGES:
            mmu.translate(va, Access.READ)
    mmu.take_soft_flush()
    assert entries(mmu) == ALL
    return mmu


def entries(mmu: Mmu) -> set[tuple[int, int]]:
    return {(entry.va, entry.pcid) for entry in mmu.entries()}


def caches(mmu: Mmu) -> set[int]:
    return {entry.pcid for entry in mmu.paging_structure_caches()}


def test_an_address_of_a_pcid(resident: Mmu) -> None:
    assert resident.invlpgb(BASE | INVLPGB_VA | INVLPGB_PCID, 0, 1 << 16) == Outcome.OK
    assert entries(resident) == ALL - {(BASE, 1)}
    assert caches(resident) == {2}
    assert resident.take_soft_flush() == (False, [])


def test_an_address_of_any_pcid(resident: Mmu) -> None:
    resident.invlpgb(BASE | INVLPGB_VA)
    assert entries(resident) == ALL - {(BASE, 1), (BASE, 2)}
    assert caches(resident) == set()
    assert resident.take_soft_flush() == (False, [BASE])


def test_global_ones_only_if_asked(resident: Mmu) -> None:
    resident.invlpgb(GLOBAL | INVLPGB_VA)
    assert entries(resident) == ALL
    resident.invlpgb(GLOBAL | INVLPGB_VA | INVLPGB_GLOBAL)
    assert entries(resident) == ALL - {(GLOBAL, 1)}


def test_several_pages(resident: Mmu) -> None:
    resident.invlpgb(BASE | INVLPGB_VA | INVLPGB_PCID | INVLPGB_GLOBAL, 2, 2 << 16)
    assert entries(resident) == ALL - {(BASE, 2), (NEXT, 2), (GLOBAL, 1)}
    assert resident.take_soft_flush() == (False, [BASE, NEXT, GLOBAL])


def test_stride_of_2_mib(resident: Mmu) -> None:
    resident.invlpgb(BASE | INVLPGB_VA | INVLPGB_PCID, 1 | INVLPGB_STRIDE_2M, 2 << 16)
    assert entries(resident) == ALL - {(BASE, 2), (FAR, 2)}


def test_final_only_keeps_the_upper_levels(resident: Mmu) -> None:
    resident.invlpgb(BASE | INVLPGB_VA | INVLPGB_FINAL_ONLY)
    assert caches(resident) == {1, 2}


@pytest.mark.parametrize("rax", [INVLPGB_VA, INVLPGB_VA | INVLPGB_PCID])
def test_under_tce_only_upper_levels_that_lead_to_the_page(resident: Mmu, rax: int) -> None:
    assert resident.write_efer(resident.c.efer | EFER_TCE) == Outcome.OK
    resident.invlpgb(BASE | rax, 0, 2 << 16 if rax & INVLPGB_PCID else 0)
    left = {
        (entry.va, entry.pcid) for entry in resident.paging_structure_caches() if entry.level == 2
    }
    assert left == {(FAR, 1), (FAR, 2)} | ({(BASE, 1)} if rax & INVLPGB_PCID else set())


@pytest.mark.parametrize(
    ("rax", "left"),
    [
        (0, {(GLOBAL, 1)}),
        (INVLPGB_GLOBAL, set()),
        (INVLPGB_PCID, {(va, pcid) for va, pcid in ALL if pcid == 1}),
        (INVLPGB_PCID | INVLPGB_ASID, {(va, pcid) for va, pcid in ALL if pcid == 1}),
    ],
)
def test_without_an_address(resident: Mmu, rax: int, left: set[tuple[int, int]]) -> None:
    resident.invlpgb(rax, 0, 2 << 16 if rax & INVLPGB_PCID else 0)
    assert entries(resident) == left
    assert resident.take_soft_flush() == (True, [])


def test_another_asid_is_not_here(resident: Mmu) -> None:
    assert resident.invlpgb(INVLPGB_ASID | INVLPGB_GLOBAL | INVLPGB_NESTED, 0, 7) == Outcome.OK
    assert entries(resident) == ALL


@pytest.mark.parametrize(
    ("rax", "ecx", "edx", "pcide"),
    [
        *((1 << bit, 0, 0, True) for bit in range(6, 12)),
        (INVLPGB_VA, INVLPGB_COUNT_MAX + 1, 0, True),
        (INVLPGB_PCID, 0, 1 << 28, True),
        (INVLPGB_PCID, 0, 1 << 16, False),
    ],
)
def test_illegal_operands(resident: Mmu, rax: int, ecx: int, edx: int, pcide: bool) -> None:
    if not pcide:
        resident.c.cr4 &= ~CR4_PCIDE
    assert resident.invlpgb(rax, ecx, edx) == Outcome.GENERAL_PROTECTION
    assert entries(resident) == ALL


def test_it_is_counted_and_told(
    resident: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    causes: Callable[[], list[str]],
) -> None:
    causes()
    with counted({"tlb_invalidations": 1}):
        resident.invlpgb(BASE | INVLPGB_VA, 1, 0)
    assert causes() == [f"invlpgb rax={BASE | INVLPGB_VA:#x} ecx=0x1 edx=0x0"]


def test_a_count_without_an_address(resident: Mmu) -> None:
    """Means nothing, and is not looked at."""
    assert resident.invlpgb(INVLPGB_GLOBAL, INVLPGB_COUNT_MAX + 1) == Outcome.OK
    assert entries(resident) == set()


def test_an_asid_that_was_not_asked_for(resident: Mmu) -> None:
    assert resident.invlpgb(INVLPGB_GLOBAL, 0, 7) == Outcome.OK
    assert entries(resident) == set()


def test_an_address_that_is_not_canonical(resident: Mmu) -> None:
    """Nothing can be cached for it; of several pages the others go."""
    resident.invlpgb(1 << 47 | INVLPGB_VA)
    assert entries(resident) == ALL
    assert caches(resident) == {1, 2}
    assert resident.take_soft_flush() == (False, [])


@pytest.mark.parametrize(("rax", "named"), [(0, []), (INVLPGB_GLOBAL, [GLOBAL])])
def test_a_global_page_under_another_pcid(resident: Mmu, rax: int, named: list[int]) -> None:
    """Consumers hold what is of the current PCID, and what is of every one."""
    resident.invlpgb(GLOBAL | INVLPGB_VA | INVLPGB_PCID | rax, 0, 1 << 16)
    assert resident.take_soft_flush() == (False, named)


def test_without_the_feature(resident: Mmu) -> None:
    resident.c.features &= ~Feature.INVLPGB
    assert resident.invlpgb(0) == Outcome.INVALID_OPCODE
    assert entries(resident) == ALL
