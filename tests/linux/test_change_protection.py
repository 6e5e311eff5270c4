# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: mprotect changes the rights of what is mapped, counts nothing, and flushes what a TLB may
hold wrongly.
"""

from __future__ import annotations

import pytest

from mmu._native import lib
from mmu.linux.change_protection import pte_needs_flush
from mmu.linux.pgtable import PROTNONE, RW, SAVED_DIRTY, XD, A, D, P
from mmu.units import PAGE_SIZE
from tests.linux.world import BASE, World


@pytest.fixture(params=["c", "python"])
def world(request: pytest.FixtureRequest) -> World:
    world = World(request.param)
    world.map()
    return world


def pte(world: World, addr: int = BASE) -> int:
    walk = world.memory.read_u64(world.pmd(addr)) & lib.X86_ADDR_MASK
    return world.memory.read_u64(walk + (addr >> 12 & 511) * 8)


def test_read_only_and_back(world: World) -> None:
    """A page of one's own gets W back at once; A stays, and D waits in SAVED_DIRTY."""
    world.touch(BASE)
    before = pte(world)
    assert before & (RW | A | D) == RW | A | D
    world.mm.mprotect(BASE, PAGE_SIZE, 1)
    assert pte(world) == before & ~(RW | D) | SAVED_DIRTY
    world.mm.mprotect(BASE, PAGE_SIZE, 3)
    assert pte(world) == before


def test_the_zero_page_never_becomes_writable(world: World) -> None:
    world.touch(BASE, write=False)
    world.mm.mprotect(BASE, PAGE_SIZE, 1)
    world.mm.mprotect(BASE, PAGE_SIZE, 3)
    assert not pte(world) & RW


def test_prot_none_keeps_the_page(world: World) -> None:
    """P goes, PROTNONE marks it: the entry is not none, so the table keeps its reference."""
    world.touch(BASE)
    frame = pte(world) & lib.X86_ADDR_MASK
    world.mm.mprotect(BASE, PAGE_SIZE, 0)
    assert pte(world) & (P | PROTNONE) == PROTNONE
    assert pte(world) & lib.X86_ADDR_MASK == frame
    assert world.count() == world.entries() == 1


def test_execute(world: World) -> None:
    world.touch(BASE)
    world.mm.mprotect(BASE, PAGE_SIZE, 5)
    assert not pte(world) & XD
    world.mm.mprotect(BASE, PAGE_SIZE, 1)
    assert pte(world) & XD


def test_only_the_range_changes(world: World) -> None:
    for page in range(4):
        world.touch(BASE + page * PAGE_SIZE)
    world.mm.mprotect(BASE + PAGE_SIZE, 2 * PAGE_SIZE, 1)
    assert [bool(pte(world, BASE + page * PAGE_SIZE) & RW) for page in range(4)] == [
        True,
        False,
        False,
        True,
    ]


def test_no_stale_right_is_left_in_the_tlb(world: World) -> None:
    world.touch(BASE)
    world.events()
    world.mm.mprotect(BASE, PAGE_SIZE, 1)
    assert len(world.events("flush_tlb_mm_range")) == 1
    assert world.mmu.translate(BASE, lib.ACCESS_WRITE).result == lib.XLATE_PF


def test_no_table_is_made_or_kept(world: World) -> None:
    tables = world.tables()
    world.mm.mprotect(BASE, 512 * PAGE_SIZE, 1)
    assert world.tables() == tables
    assert not world.events("pte_get", "flush_tlb_mm_range")


@pytest.mark.parametrize(
    ("old", "new", "needed"),
    [
        (P | RW, P, True),
        (P, P | RW, True),
        (P, P | XD, True),
        (P | D, P, True),
        (P | A, P, False),
        (P, P | A | D, False),
        (P | SAVED_DIRTY, P, False),
        (P, PROTNONE, True),
        (PROTNONE, P, False),
        (P | RW, P | RW, False),
    ],
)
def test_what_needs_a_flush(old: int, new: int, needed: bool) -> None:
    assert pte_needs_flush(old, new) is needed
