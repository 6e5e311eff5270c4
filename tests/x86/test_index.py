# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a page's set is its number modulo the sets or, with an XOR index, its lowest bits XOR the
next ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmu.memory import Memory
from mmu.x86 import Access, Mmu
from mmu.x86.tlb import set_number
from tests.x86.arrays import array, geometry
from ucmmu.testing.tables import VA, Tables

canonical = st.one_of(
    st.integers(0, (1 << 47) - 1), st.integers(0xFFFF_8000_0000_0000, (1 << 64) - 1)
)


def xor_by_bits(va: int, level: int, bits: int) -> int:
    """Bit i of the set is bit i of the page number XOR bit i + bits: "XOR-7" of 128 sets."""
    first = 12 + 9 * (level - 1)
    return sum((va >> first + i & 1 ^ va >> first + bits + i & 1) << i for i in range(bits))


@pytest.fixture(scope="module")
def shaped() -> Iterator[Mmu]:
    memory = Memory(1 << 20)
    arrays = array("xor 128", "dtlb", 128 * 2, 2, index="xor"), array("seven", "itlb", 3 * 7, 3)
    yield Mmu(memory, geometry=geometry(*arrays))
    memory.close()


@given(va=canonical, level=st.sampled_from([1, 2, 3]))
def test_xor_7_of_128_sets(shaped: Mmu, va: int, level: int) -> None:
    assert set_number(shaped.c.tlb.array[0], va >> 12, level) == xor_by_bits(va, level, 7)


@given(va=canonical, level=st.sampled_from([1, 2, 3]))
def test_linear_of_seven_sets(shaped: Mmu, va: int, level: int) -> None:
    assert (
        set_number(shaped.c.tlb.array[1], va >> 12, level) == (va // (4096 << 9 * (level - 1))) % 7
    )


@pytest.mark.parametrize("engine", ["c", "python"])
@pytest.mark.parametrize(
    ("sets", "index"),
    [
        (1, "linear"),
        (7, "linear"),
        (16, "linear"),
        (1, "xor"),
        (2, "xor"),
        (16, "xor"),
        (128, "xor"),
    ],
)
@pytest.mark.parametrize("level", [1, 2, 3])
def test_where_a_page_goes(sets: int, index: str, level: int, engine: str) -> None:
    """Both engines put it where the formula says, for pages of every size, and find it there."""
    shape = geometry(array("only", "dtlb", 2 * sets, 2, "4K 2M 1G", index=index))
    memory = Memory(1 << 20)
    mmu = Mmu(memory, geometry=shape, engine=engine, exact=True)
    tables = Tables(mmu)
    tables.load()
    size = 4096 << 9 * (level - 1)
    for va in (VA & -size, (VA & -size) + size, (VA & -size) ^ size << sets.bit_length(), 1 << 45):
        mmu.flush_all()
        tables.map(va, 0, level=level)
        assert mmu.translate(va, Access.READ).ok
        page = va // size
        bits = sets.bit_length() - 1
        expected = page % sets if index == "linear" else xor_by_bits(va, level, bits)
        assert [entry.set for entry in mmu.entries()] == [expected]
        entry = mmu.resident(va)
        assert entry is not None and entry.va == va
    memory.close()


@pytest.mark.ucmmu(geometry="skylake")
def test_skylakes_second_level_spreads_what_is_128_pages_apart(tables: Tables, mmu: Mmu) -> None:
    """A linear index would put these into one set."""
    for i in range(16):
        tables.map(VA + (i << 19))
        mmu.translate(VA + (i << 19), Access.READ)
    sets = {entry.set for entry in mmu.entries() if entry.array == "STLB"}
    assert len(sets) == 16
