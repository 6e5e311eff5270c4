# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: INVPCID drops by address (0), by PCID (1), everything with (2) or without (3) global
entries (SDM vol. 2A).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_G
from mmu.x86.registers import CR4_PCIDE, Feature
from ucmmu.testing.tables import USER, VA, Tables

pytestmark = pytest.mark.ucmmu(geometry="skylake")
NEXT, GLOBAL = VA + 4096, VA + 8192


@pytest.fixture
def resident(tables: Tables, mmu: Mmu) -> Callable[[], set[tuple[int, int]]]:
    """Two pages and a global one read under PCIDs 1 and 2, 2 current; calling it tells who is left:
    (page, PCID).
    """
    tables.map(VA)
    tables.map(NEXT)
    tables.map(GLOBAL, flags=USER | X86_G)
    for pcid in (1, 2):
        tables.load(pcid)
        for va in (VA, NEXT, GLOBAL):
            mmu.translate(va, Access.READ)
    mmu.take_soft_flush()
    return lambda: {(entry.va, entry.pcid) for entry in mmu.entries()}


ALL = {(VA, 1), (NEXT, 1), (GLOBAL, 1), (VA, 2), (NEXT, 2)}
Resident = Callable[[], set[tuple[int, int]]]


def caches(mmu: Mmu) -> set[int]:
    return {entry.pcid for entry in mmu.paging_structure_caches()}


def test_the_start(resident: Resident, mmu: Mmu) -> None:
    assert resident() == ALL
    assert caches(mmu) == {1, 2}


@pytest.mark.parametrize("pcid", [1, 2])
def test_type_0_the_address_in_the_pcid(resident: Resident, mmu: Mmu, pcid: int) -> None:
    """With the paging-structure cache entries that a walk for it would use, not all."""
    assert mmu.invpcid(0, pcid, VA) == Outcome.OK
    assert resident() == ALL - {(VA, pcid)}
    assert caches(mmu) == {1, 2} - {pcid}
    assert mmu.take_soft_flush() == (False, [VA] if pcid == 2 else [])


def test_type_0_keeps_other_paging_structure_caches(tables: Tables, mmu: Mmu) -> None:
    far = VA ^ (1 << 30)
    for va in (VA, far):
        tables.map(va)
        mmu.translate(va, Access.READ)
    mmu.invpcid(0, 0, VA)
    assert {entry.level for entry in mmu.paging_structure_caches()} == {2, 3}
    assert {entry.va & -(1 << 30) for entry in mmu.paging_structure_caches()} == {far & -(1 << 30)}


def test_type_0_keeps_global_translations(resident: Resident, mmu: Mmu) -> None:
    mmu.invpcid(0, 1, GLOBAL)
    assert resident() == ALL


@pytest.mark.parametrize("pcid", [1, 2])
def test_type_1_the_pcid(resident: Resident, mmu: Mmu, pcid: int) -> None:
    mmu.invpcid(1, pcid)
    assert resident() == {(va, tag) for va, tag in ALL if tag != pcid or va == GLOBAL}
    assert caches(mmu) == {1, 2} - {pcid}
    assert mmu.take_soft_flush() == (pcid == 2, [])


def test_type_2_everything(resident: Resident, mmu: Mmu, causes: Callable[[], list[str]]) -> None:
    causes()
    mmu.invpcid(2)
    assert resident() == set()
    assert caches(mmu) == set()
    assert mmu.take_soft_flush() == (True, [])
    assert causes() == [
        "invpcid type=0x2 pcid=0x0 address=0x0",
        "tlb_flush_all global=0x1",
    ]


def test_type_3_everything_but_global(
    resident: Resident, mmu: Mmu, causes: Callable[[], list[str]]
) -> None:
    causes()
    mmu.invpcid(3)
    assert resident() == {(GLOBAL, 1)}
    assert caches(mmu) == set()
    assert mmu.take_soft_flush() == (True, [])
    assert causes() == [
        "invpcid type=0x3 pcid=0x0 address=0x0",
        "tlb_flush_all global=0x0",
    ]


@pytest.mark.parametrize(
    ("kind", "pcid", "va", "pcide"),
    [
        (4, 0, 0, True),
        (0, 0x1000, VA, True),
        (1, 1 << 63, 0, True),
        (2, 0x1000, 0, True),
        (3, 0x1000, 0, True),
        (0, 1, VA, False),
        (1, 1, 0, False),
        (0, 1, 1 << 47, True),
    ],
)
def test_illegal_descriptors(
    resident: Resident,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    kind: int,
    pcid: int,
    va: int,
    pcide: bool,
) -> None:
    """#GP, and nothing is dropped."""
    if not pcide:
        mmu.c.cr4 = mmu.c.cr4 & ~CR4_PCIDE
    with counted({}):
        assert mmu.invpcid(kind, pcid, va) == Outcome.GENERAL_PROTECTION
    assert resident() == ALL
    assert mmu.take_soft_flush() == (False, [])


@pytest.mark.parametrize(("kind", "va"), [(1, 1 << 47), (2, 1 << 47), (3, 1 << 47)])
def test_the_address_matters_to_type_0_only(
    resident: Resident,
    mmu: Mmu,
    counted: Callable[..., AbstractContextManager[None]],
    kind: int,
    va: int,
) -> None:
    with counted({"tlb_invalidations": 1}):
        assert mmu.invpcid(kind, 1, va) == Outcome.OK


@pytest.mark.parametrize("kind", range(4))
def test_it_is_counted(
    resident: Resident, mmu: Mmu, counted: Callable[..., AbstractContextManager[None]], kind: int
) -> None:
    with counted({"tlb_invalidations": 1}):
        mmu.invpcid(kind, 1, VA)


@pytest.mark.parametrize(("kind", "pcid"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_without_pcide(resident: Resident, mmu: Mmu, kind: int, pcid: int) -> None:
    """PCID 0 is always there; types 2 and 3 have no use for theirs."""
    mmu.c.cr4 &= ~CR4_PCIDE
    assert mmu.invpcid(kind, pcid, VA) == Outcome.OK


def test_without_the_feature(resident: Resident, mmu: Mmu) -> None:
    mmu.c.features &= ~Feature.INVPCID
    assert mmu.invpcid(2) == Outcome.INVALID_OPCODE
    assert resident() == ALL
