# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a large page may be entered as fragments, each with its own frame; what drops the page
drops them all (SDM 4.10.2.3, 4.10.4.1).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from mmu.x86 import Access, Mmu
from mmu.x86.entries import X86_D, X86_G, X86_P, X86_US
from tests.x86.arrays import array, geometry
from ucmmu.testing.tables import USER, VA, Tables

ZEN = geometry(
    array("L1", "dtlb", 4, 4, "4K 2M 1G"),
    array("L2", "stlb", 16, 4, "4K 2M", smash=((3, 2),)),
)
"""As on Zen: the second level holds 1 GiB pages in pieces of 2 MiB, the first holds them whole."""
SMALL = geometry(array("L1", "dtlb", 8, 8, smash=((3, 1), (2, 1))))
"""4 KiB pieces of everything."""
M2, G1 = 1 << 21, 1 << 30
pytestmark = pytest.mark.ucmmu(geometry=SMALL)


def pieces(mmu: Mmu, name: str = "L1") -> list[tuple[int, int, int, int]]:
    return sorted((e.va, e.pa, e.level, e.page_level) for e in mmu.entries() if e.array == name)


@pytest.mark.parametrize(("level", "size"), [(2, M2), (3, G1)])
def test_a_piece_has_the_frame_of_its_part(tables: Tables, mmu: Mmu, level: int, size: int) -> None:
    base = VA & -size
    tables.map(VA, 3 * size, level=level)
    for offset in (0x7008, size - 1):
        assert mmu.translate(base + offset, Access.READ).pa == 3 * size + offset
    assert pieces(mmu) == [
        (base + 0x7000, 3 * size + 0x7000, 1, level),
        (base + size - 4096, 4 * size - 4096, 1, level),
    ]


def test_a_piece_serves_its_part_only(
    tables: Tables, mmu: Mmu, counted: Callable[..., AbstractContextManager[None]]
) -> None:
    base = VA & -M2
    tables.map(VA, 0, level=2)
    mmu.translate(base, Access.READ)
    with counted({"dTLB-loads": 1}):
        assert mmu.translate(base + 4095, Access.READ).pa == 4095
    misses = mmu.counters()["dtlb_load_misses.miss_causes_a_walk"]
    assert mmu.translate(base + 4096, Access.READ).pa == 4096
    assert mmu.counters()["dtlb_load_misses.miss_causes_a_walk"] == misses + 1


def test_an_answer_names_the_page(tables: Tables, mmu: Mmu) -> None:
    """Whether it comes from the walk or from a fragment."""
    tables.map(VA, 0, level=2)
    assert [mmu.translate(VA, Access.READ).level for _ in range(2)] == [2, 2]
    assert mmu.refill(VA, Access.READ).level == 2
    entry = mmu.resident(VA)
    assert entry is not None and "4 KiB of 2 MiB" in str(entry)


@pytest.mark.ucmmu(geometry=ZEN)
def test_a_reload_restores_the_page(tables: Tables, mmu: Mmu) -> None:
    base = VA & -G1
    tables.map(VA, G1, level=3)
    mmu.translate(base + 5 * M2, Access.READ)
    mmu.translate(base + 9 * M2, Access.READ)
    assert pieces(mmu) == [(base, G1, 3, 3)]
    assert pieces(mmu, "L2") == [
        (base + 5 * M2, G1 + 5 * M2, 2, 3)
    ]  # the second read hit the whole page
    for i in range(4):
        tables.map(VA + G1 + (i << 12))
        mmu.translate(VA + G1 + (i << 12), Access.READ)
    assert base not in [va for va, *_ in pieces(mmu)]
    hits = mmu.counters()["dtlb_load_misses.stlb_hit"]
    assert mmu.translate(base + 5 * M2 + 1, Access.READ).pa == G1 + 5 * M2 + 1
    assert mmu.counters()["dtlb_load_misses.stlb_hit"] == hits + 1
    assert (base, G1, 3, 3) in pieces(mmu)


@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("drop", ["invlpg", "invpcid", "fault", "rights"])
def test_every_piece_goes(tables: Tables, mmu: Mmu, level: int, drop: str) -> None:
    """Whatever address in the page is named; another page's pieces stay."""
    size = {2: M2, 3: G1}[level]
    base, other = VA & -size, (VA & -size) + 2 * size
    tables.map(base, 0, level=level)
    tables.map(other, 0, level=level)
    for va in (base, base + 0x5000, base + size - 4096, other + 0x9000):
        mmu.translate(va, Access.READ)
    assert len(mmu.entries()) == 4
    address = base + 0x7000
    if drop == "invlpg":
        mmu.invlpg(address)
    elif drop == "invpcid":
        mmu.invpcid(0, 0, address)
    elif drop == "fault":
        tables.put(base, level, 0)
        assert not mmu.translate(address, Access.READ).ok
    else:
        tables.change(base, level, clear=X86_US)
        assert not mmu.translate(base + 0x5000, Access.WRITE).ok
    assert [va for va, *_ in pieces(mmu)] == [other + 0x9000]


def test_pieces_of_another_pcid_stay(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA, 0, level=2)
    for pcid in (1, 2):
        tables.load(pcid)
        mmu.translate(VA, Access.READ)
    mmu.invlpg(VA ^ 0x10_0000)
    assert [entry.pcid for entry in mmu.entries()] == [1]
    mmu.invpcid(0, 1, VA ^ 0x10_0000)
    assert mmu.entries() == []


def test_global_pieces(tables: Tables, mmu: Mmu) -> None:
    """INVPCID 0 spares them, INVLPG drops them under any PCID."""
    tables.map(VA, 0, USER | X86_G, level=2)
    tables.load(1)
    mmu.translate(VA, Access.READ)
    mmu.invpcid(0, 1, VA ^ 0x10_0000)
    assert len(mmu.entries()) == 1
    tables.load(2)
    mmu.invlpg(VA ^ 0x10_0000)
    assert mmu.entries() == []


@pytest.mark.ucmmu(geometry=geometry(array("L1", "dtlb", 8, 8, "4K 2M", smash=((3, 2),))))
def test_the_page_and_what_was_there_before(tables: Tables, mmu: Mmu) -> None:
    """The tables mapped 4 KiB first and 1 GiB now, without a flush in between: INVLPG drops entries
    of every size.
    """
    base = VA & -G1
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    tables.map(base, 0, level=3)
    mmu.translate(base, Access.READ)
    mmu.translate(base + G1 - 1, Access.READ)
    assert {level for _, _, level, _ in pieces(mmu)} == {1, 2}
    mmu.invlpg(VA)
    assert mmu.entries() == []


def test_a_stale_piece_that_goes_is_to_be_forgotten(tables: Tables, mmu: Mmu) -> None:
    """The page is stale as a whole, but a consumer can have learned from each piece its own part
    only.
    """
    base = VA & -M2
    tables.map(VA, 0, level=2)
    for i in range(8):
        mmu.translate(base + (i << 12), Access.READ)
    tables.map(VA, M2, level=2)
    mmu.tables_changed()
    mmu.take_soft_flush()
    mmu.translate(base + (8 << 12), Access.READ)
    assert mmu.take_soft_flush() == (False, [base])


def test_stale_pieces_that_a_better_entry_replaces_are_to_be_forgotten(
    tables: Tables, mmu: Mmu
) -> None:
    """A write lacks D: all the page's pieces go; a consumer may have cached any of them."""
    base = VA & -M2
    tables.map(VA, 0, level=2)
    for va in (base, base + 0x5000):
        mmu.translate(va, Access.READ)
    tables.map(VA, M2, level=2)
    mmu.tables_changed()
    mmu.take_soft_flush()
    assert mmu.translate(base + 0x5000, Access.WRITE).pa == M2 + 0x5000
    everything, pages = mmu.take_soft_flush()
    assert not everything and set(pages) == {base, base + 0x5000}
    assert [va for va, *_ in pieces(mmu)] == [base + 0x5000]


def test_invlpg_names_large_pages_once(tables: Tables, mmu: Mmu) -> None:
    """INVLPG drops everything, for a large page was handed out; not single stale pieces."""
    base = VA & -M2
    tables.map(VA, 0, level=2)
    mmu.translate(base, Access.READ)
    tables.map(VA, M2, level=2)
    mmu.tables_changed()
    mmu.take_soft_flush()
    mmu.c.large = 0
    mmu.invlpg(base + 0x5000)
    assert mmu.entries() == []
    assert mmu.take_soft_flush() == (False, [base + 0x5000])


def test_a_fault_drops_global_pieces(tables: Tables, mmu: Mmu) -> None:
    """Under another PCID, and at an address that has no piece."""
    base = VA & -M2
    tables.map(VA, 0, X86_P | X86_US | X86_G, level=2)
    tables.load(1)
    mmu.translate(base, Access.READ)
    tables.load(2)
    assert not mmu.translate(base + 0x5000, Access.WRITE).ok
    assert mmu.entries() == []


def test_a_fresh_piece_leaves_quietly(tables: Tables, mmu: Mmu) -> None:
    base = VA & -M2
    tables.map(VA, 0, USER | X86_D, level=2)
    for i in range(8):
        mmu.translate(base + (i << 12), Access.READ)
    mmu.tables_changed()
    mmu.take_soft_flush()
    mmu.translate(base + (8 << 12), Access.READ)
    assert mmu.take_soft_flush() == (False, [])


def test_invlpg_tells_a_consumer_of_every_piece(tables: Tables, mmu: Mmu) -> None:
    """The consumer was emptied since the walk; it then learned two parts from pieces."""
    tables.map(VA, 0, level=2)
    for va in (VA, VA ^ 0x1000):
        mmu.translate(va, Access.READ)
    mmu.soft_flush(0, 1000)
    mmu.take_soft_flush()
    for va in (VA, VA ^ 0x1000):
        mmu.refill(va, Access.READ)
    mmu.invlpg(VA)
    assert mmu.take_soft_flush() == (True, [])


def test_no_search_where_none_was_entered(tables: Tables, mmu: Mmu) -> None:
    tables.map(VA)
    mmu.translate(VA, Access.READ)
    assert not mmu.c.tlb.fragments
    tables.map(VA + G1, 0, level=2)
    mmu.translate(VA + G1, Access.READ)
    assert mmu.c.tlb.fragments
