# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: PageTables maps what it is asked to, page by page as a dictionary would, in as few entries
as can be; what it refuses leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unicorn import UC_PROT_ALL, UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE

from cpu.page_tables import X86_OURS, PageTables, rights
from mmu.errors import MmuError, OutOfMemory
from mmu.memory import Memory
from mmu.x86 import Access, Mmu, Outcome
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_RW, X86_US, X86_XD

PAGE, LARGE, HUGE = 4096, 2 << 20, 1 << 30
VA = 0x7F0040000000
UPPER = 0xFFFF_8000_0000_0000
PA = 5 << 30
DATA = X86_RW | X86_US | X86_XD
CODE = X86_US


class World:
    """Page tables of ours, in RAM of ours."""

    def __init__(self, ram: int = 1 << 20, geometry: str = "golden_cove") -> None:
        self.memory = Memory(ram)
        self.mmu = Mmu(self.memory, geometry=geometry)
        self.tables = PageTables(self.memory, self.mmu)
        self.mmu.write_cr3(self.tables.root)

    def level(self, va: int) -> int:
        """Of the page at va; 0: there is none."""
        walk = self.mmu.walk(va)
        return walk.level if walk.ok else 0

    def at(self, va: int) -> tuple[int, bool, bool] | None:
        """Where va leads, whether it may be written, whether executed; None: nowhere."""
        walk = self.mmu.walk(va)
        return (walk.pa, bool(walk.rights & X86_RW), not walk.xd) if walk.ok else None


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.memory.close()


# As a dictionary of pages.

spots = st.sampled_from(
    [0, 1, 5, 510, 511, 512, 513, 1023, 1024, 512 * 511, 512 * 512 - 1, 512 * 512, 512 * 513]
)
counts = st.sampled_from([1, 2, 3, 511, 512, 513, 1024, 1537])
perms = st.sampled_from([UC_PROT_READ, UC_PROT_READ | UC_PROT_WRITE, UC_PROT_ALL])
frames = st.sampled_from([0, 0, 512, 1, 512 * 512])
steps = st.tuples(
    st.sampled_from(["map", "map", "map", "unmap", "protect", "maps"]), spots, counts, perms, frames
)


def _expected(va: int, pa: int, perms: int) -> tuple[int, bool, bool]:
    return pa, bool(perms & UC_PROT_WRITE), bool(perms & UC_PROT_EXEC)


def _step(
    world: World, pages: dict[int, tuple[int, bool, bool]], step: tuple[str, int, int, int, int]
) -> None:
    """One operation on both; they must agree on what is refused."""
    what, spot, count, perms, frame = step
    va, size = VA + spot * PAGE, count * PAGE
    inside = range(va, va + size, PAGE)
    if what == "map":
        pa = PA + spot * PAGE + frame * PAGE
        new = {at: _expected(at, pa + at - va, perms) for at in inside}
        if any(at in pages and pages[at] != new[at] for at in inside):
            with pytest.raises(MmuError, match="is mapped already"):
                world.tables.map(va, size, rights(perms) | X86_US, pa)
        else:
            world.tables.map(va, size, rights(perms) | X86_US, pa)
            pages |= new
    elif what == "unmap":
        gone = world.tables.unmap(va, size)
        assert (gone > 0) == any(at in pages for at in inside)
        for at in inside:
            pages.pop(at, None)
    elif what == "protect" and not all(at in pages for at in inside):
        with pytest.raises(MmuError, match="is not mapped"):
            world.tables.protect(va, size, perms)
    elif what == "protect":
        world.tables.protect(va, size, perms)
        pages |= {at: _expected(at, pages[at][0], perms) for at in inside}
    else:
        assert world.tables.maps(va, size) == all(at in pages for at in inside)


@given(st.lists(steps, max_size=12))
def test_as_a_dictionary_of_pages(script: list[tuple[str, int, int, int, int]]) -> None:
    world = World()
    used = world.memory.frames_in_use
    pages: dict[int, tuple[int, bool, bool]] = {}
    for step in script:
        _step(world, pages, step)
        edges = {step[1] + d for d in (-1, 0, 1, step[2] - 1, step[2], step[2] + 1)}
        for spot in edges | {0, 511, 512, 512 * 512}:
            at = VA + spot * PAGE
            assert world.at(at) == pages.get(at), hex(at)
    world.tables.unmap(VA - HUGE, 4 * HUGE)
    assert world.memory.frames_in_use == used
    world.memory.close()


# As few entries as can be.


@pytest.mark.parametrize(
    ("va", "pa", "size", "levels"),
    [
        (VA, PA, PAGE, {0: 1}),
        (VA, PA, LARGE, {0: 2}),
        (VA, PA + PAGE, LARGE, {0: 1, LARGE - PAGE: 1}),
        (VA + PAGE, PA + PAGE, 2 * LARGE, {0: 1, LARGE - PAGE: 2, 2 * LARGE - PAGE: 1}),
        (VA, PA, HUGE, {0: 3, HUGE - PAGE: 3}),
        (VA, PA, HUGE + LARGE + PAGE, {0: 3, HUGE: 2, HUGE + LARGE: 1}),
        (VA - LARGE, PA - LARGE, LARGE + HUGE, {0: 2, LARGE: 3}),
        (VA, PA + LARGE, HUGE, {0: 2, HUGE - PAGE: 2}),
    ],
)
def test_the_largest_pages_that_fit(
    world: World, va: int, pa: int, size: int, levels: dict[int, int]
) -> None:
    world.tables.map(va, size, DATA, pa)
    assert {offset: world.level(va + offset) for offset in levels} == levels
    assert [world.at(va - PAGE), world.at(va + size)] == [None, None]
    for offset in (0, size // 2 & -PAGE, size - PAGE):
        assert world.at(va + offset) == (pa + offset, True, False)


def test_a_processor_without_1_gib_pages() -> None:
    world = World(geometry="tiny")
    world.mmu.c.features = 0
    without = PageTables(world.memory, world.mmu)
    world.mmu.write_cr3(without.root)
    without.map(VA, HUGE, DATA, PA)
    assert world.level(VA) == 2
    world.memory.close()


def test_large_pages_are_cut_where_a_part_changes(world: World) -> None:
    """A page in the middle of a GiB: what is beside it goes on translating, by large pages."""
    world.tables.map(VA, HUGE, DATA, PA)
    middle = VA + HUGE // 2 + 5 * PAGE
    world.tables.protect(middle, PAGE, UC_PROT_READ | UC_PROT_EXEC)
    assert world.at(middle) == (PA + middle - VA, False, True)
    assert world.at(middle - PAGE) == (PA + middle - PAGE - VA, True, False)
    assert [world.level(at) for at in (VA, middle, VA + HUGE - PAGE)] == [2, 1, 2]
    assert world.tables.unmap(middle + PAGE, HUGE // 4) > 0
    assert world.at(middle + PAGE) is None
    assert world.at(middle + PAGE + HUGE // 4) is not None


def test_thousands_of_regions(world: World) -> None:
    """With a hole behind each; then every one goes, and no table is left."""
    used = world.memory.frames_in_use
    regions = [VA + i * 3 * PAGE for i in range(5000)]
    for va in regions:
        world.tables.map(va, 2 * PAGE, DATA, va & (HUGE - 1) | PA)
    assert all(world.at(va) and not world.at(va + 2 * PAGE) for va in regions[::97])
    for va in regions:
        assert world.tables.unmap(va, 2 * PAGE) >= 2
    assert world.memory.frames_in_use == used


def test_tables_are_freed_for_ever_new_addresses(world: World) -> None:
    """256 frames of RAM are enough to map and unmap a thousand places, with fresh frames or not."""
    for i in range(1000):
        va = VA + i * HUGE
        world.tables.map(va, PAGE, DATA)
        world.tables.map(va + PAGE, PAGE, DATA, PA)
        assert world.at(va) and world.at(va + PAGE)
        world.tables.unmap(va, 2 * PAGE)


# What is refused.


@pytest.mark.parametrize(
    ("pa", "size"),
    [
        (-PAGE, PAGE),
        (-1, PAGE),
        (0x1002, PAGE),
        (X86_ADDR_MASK + 1, PAGE),
        (1 << 46, PAGE),
        ((1 << 46) - PAGE, 2 * PAGE),
        (1 << 63, PAGE),
        (1 << 64, PAGE),
        (1 << 70, PAGE),
    ],
)
def test_a_physical_address_that_cannot_be(world: World, pa: int, size: int) -> None:
    before = world.memory.frames_in_use
    assert world.mmu.maxphyaddr == 46
    with pytest.raises(MmuError, match=r"^guest-physical .* is no place for .* fits 46 bits$"):
        world.tables.map(VA, size, DATA, pa)
    assert world.at(VA) is None
    assert world.memory.frames_in_use == before


def test_wider_physical_addresses(world: World) -> None:
    world.mmu.maxphyaddr = 48
    world.tables.map(VA, PAGE, DATA, 1 << 46)
    assert world.at(VA) == (1 << 46, True, False)


@pytest.mark.parametrize(
    ("va", "size"),
    [
        (VA, 0),
        (VA, -PAGE),
        (VA, PAGE + 1),
        (VA + 1, PAGE),
        (-PAGE, PAGE),
        (-PAGE, 2 * PAGE),
        (1 << 47, PAGE),
        ((1 << 47) - PAGE, 2 * PAGE),
        (VA, 1 << 63),
        (VA, UPPER - VA + PAGE),
        ((1 << 64) - PAGE, 2 * PAGE),
        (1 << 64, PAGE),
    ],
)
@pytest.mark.parametrize("what", ["map", "fresh", "unmap", "protect", "maps"])
def test_a_range_that_cannot_be(world: World, what: str, va: int, size: int) -> None:
    before = world.memory.frames_in_use
    with pytest.raises(MmuError) as caught:
        if what in ("map", "fresh"):
            world.tables.map(va, size, DATA, PA if what == "map" else None)
        elif what == "protect":
            world.tables.protect(va, size, UC_PROT_READ)
        else:
            getattr(world.tables, what)(va, size)
    assert "\n" not in str(caught.value)
    assert world.memory.frames_in_use == before


@pytest.mark.parametrize("va", [0, (1 << 47) - PAGE, UPPER, (1 << 64) - PAGE])
def test_the_ends_of_both_halves(world: World, va: int) -> None:
    world.tables.map(va, PAGE, DATA, PA)
    assert world.at(va) == (PA, True, False)
    world.tables.protect(va, PAGE, UC_PROT_READ)
    assert world.at(va) == (PA, False, False)
    assert world.tables.maps(va, PAGE)
    assert world.tables.unmap(va, PAGE) > 0
    assert world.at(va) is None


class TestMappedAlready:
    """Mapping again what is mapped."""

    def test_the_same_way(self, world: World) -> None:
        """It stays, A and D with it; holes between are filled."""
        world.tables.map(VA, 2 * LARGE, DATA, PA)
        world.mmu.translate(VA, Access.WRITE)
        world.tables.unmap(VA + PAGE, PAGE)
        world.tables.map(VA, 2 * LARGE + PAGE, DATA, PA)
        assert world.mmu.walk(VA).dirty
        for offset in (0, PAGE, 2 * PAGE, 2 * LARGE):
            assert world.at(VA + offset) == (PA + offset, True, False)

    @pytest.mark.parametrize("pages", [1, 512, 512 * 512])
    @pytest.mark.parametrize(("bits", "pa"), [(DATA, PA + LARGE), (CODE, PA), (DATA, None)])
    def test_otherwise(self, world: World, pages: int, bits: int, pa: int | None) -> None:
        """Refused, and what lies before it is not mapped either."""
        world.tables.map(VA, pages * PAGE, DATA, PA)
        before = world.memory.frames_in_use
        begin = None if pa is None else pa - PAGE
        with pytest.raises(MmuError, match=f"^{VA:#x} is mapped already"):
            world.tables.map(VA - PAGE, 2 * PAGE, bits, begin)
        assert world.at(VA - PAGE) is None
        assert world.at(VA) == (PA, True, False)
        assert world.memory.frames_in_use == before

    def test_a_frame_of_ours_is_not_somebody_elses(self, world: World) -> None:
        """Its page would be freed with the mapping."""
        world.tables.map(VA, PAGE, DATA)
        leaf = world.mmu.walk(VA).entry[1]
        assert leaf & X86_OURS
        with pytest.raises(MmuError, match="is mapped already"):
            world.tables.map(VA, PAGE, DATA, leaf & X86_ADDR_MASK)


@pytest.mark.parametrize("pa", [None, PA + PAGE])
def test_ram_that_is_out(pa: int | None) -> None:
    """Nothing stays mapped, and every frame is free again."""
    world = World(ram=64 << 12)
    world.tables.map(VA - PAGE, PAGE, DATA, PA)
    before = world.memory.frames_in_use
    with pytest.raises(OutOfMemory):
        world.tables.map(VA, HUGE, DATA, pa)
    assert world.at(VA) is None
    assert world.at(VA - PAGE) == (PA, True, False)
    assert world.memory.frames_in_use == before
    world.memory.close()


@pytest.mark.parametrize("level", [4, 3, 2])
@pytest.mark.parametrize("what", ["map", "unmap", "protect", "maps"])
def test_an_entry_that_leads_out_of_ram(world: World, what: str, level: int) -> None:
    """A guest wrote it; one line says so."""
    world.tables.map(VA, PAGE, DATA, PA)
    at = world.mmu.walk(VA).entry_pa[level]
    world.memory.write_u64(at, 1 << 40 | X86_P | X86_US | X86_RW)
    assert world.mmu.walk(VA).result == Outcome.BAD_TABLE
    with pytest.raises(
        MmuError, match=r"^a paging structure at 0x1000000\w+ lies outside our RAM$"
    ):
        if what == "map":
            world.tables.map(VA, PAGE, DATA, PA)
        elif what == "protect":
            world.tables.protect(VA, PAGE, UC_PROT_READ)
        else:
            getattr(world.tables, what)(VA, PAGE)


def test_permissions_that_x86_has_not() -> None:
    for perms in (0, UC_PROT_WRITE, UC_PROT_EXEC, UC_PROT_WRITE | UC_PROT_EXEC):
        with pytest.raises(MmuError, match="x86 has no such page"):
            rights(perms)


def test_what_map_hands_out_is_zeroed_and_freed(world: World) -> None:
    used = world.memory.frames_in_use
    for _ in range(3):
        world.tables.map(VA, 3 * PAGE, DATA)
        for va in range(VA, VA + 3 * PAGE, PAGE):
            frame = world.mmu.walk(va).pa
            assert world.memory.read(frame, PAGE) == bytes(PAGE)
            world.memory.write(frame, os.urandom(64))
        assert world.tables.unmap(VA, 3 * PAGE) >= 3
    assert world.memory.frames_in_use == used
