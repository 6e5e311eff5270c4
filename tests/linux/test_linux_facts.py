# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: each policy frees what Linux 6.18 (scan) and reference counting free, case by case.

Figures are PTE, PMD and PUD tables of a range in an empty PGD slot, as VmPTE counts them; those of
scan were measured on a 6.18 kernel with CONFIG_PT_RECLAIM.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmu.linux.policy import FreeTables
from mmu.units import PAGE_SIZE
from tests.linux.world import World

SLOT = 0x2000_0000_0000  # an empty PGD slot
K, M, G = 1 << 10, 1 << 20, 1 << 30


def touched(world: World, size: int, *, step: int = 2 * M) -> None:
    world.map(SLOT, size // PAGE_SIZE)
    for offset in range(0, size, step):
        world.touch(SLOT + offset)
        world.touch(SLOT + offset + step - PAGE_SIZE)


def dontneed(world: World, start: int, size: int, chunk: int | None = None) -> None:
    for offset in range(start, start + size, chunk or size):
        world.mm.madvise(SLOT + offset, chunk or size, 4)


def pieces(size: int, chunk: int) -> Callable[[World], None]:
    def run(world: World) -> None:
        touched(world, size)
        dontneed(world, 0, size, chunk)

    return run


def one(start: int, size: int) -> Callable[[World], None]:
    def run(world: World) -> None:
        touched(world, 16 * M)
        dontneed(world, start, size)

    return run


def sixteen_mib_in_turn(world: World) -> None:
    """2 MiB aligned, 4 MiB aligned, 2 MiB at +7 MiB, 4 MiB at +9 MiB: the last two together empty
    [8, 10) MiB.
    """
    touched(world, 16 * M, step=512 * K)
    for start, size in ((0, 2 * M), (2 * M, 4 * M), (7 * M, 2 * M), (9 * M, 4 * M)):
        dontneed(world, start, size)


def two_parts(world: World) -> None:
    touched(world, 2 * M)
    dontneed(world, 4 * K, 2 * M - 4 * K)
    dontneed(world, 0, 4 * K)


def split_vmas(world: World) -> None:
    touched(world, 2 * M)
    world.mm.mprotect(SLOT + M, PAGE_SIZE, 1)
    dontneed(world, 0, 2 * M)


def half_slot(world: World) -> None:
    world.map(SLOT, M // PAGE_SIZE)
    world.touch(SLOT)
    dontneed(world, 0, M)


def half_then_munmap(world: World) -> None:
    touched(world, 2 * M)
    world.map(SLOT + 4 * M, 1)
    world.mm.mprotect(SLOT, M, 1)
    dontneed(world, M, M)
    world.mm.munmap(SLOT, M)


def last_munmap(world: World) -> None:
    touched(world, 2 * M)
    world.mm.munmap(SLOT, 2 * M)


def zero_pages(world: World) -> None:
    world.map(SLOT, 512)
    for page in range(512):
        world.touch(SLOT + page * PAGE_SIZE, write=False)
    dontneed(world, 0, 2 * M)


def prot_none(world: World) -> None:
    touched(world, 2 * M)
    world.mm.mprotect(SLOT, 2 * M, 0)
    dontneed(world, 0, 2 * M)


def four_gib(world: World) -> None:
    touched(world, 4 * G, step=G)
    dontneed(world, 0, 4 * G)


def fixed_over_everything(world: World) -> None:
    touched(world, 8 * M)
    world.mm.mmap(SLOT, 8 * M, 0, 0x32)


CASES: list[tuple[str, Callable[[World], None], int, int]] = [
    ("4 KiB of 16 MiB", one(0, 4 * K), 10, 10),
    ("64 KiB of 16 MiB", one(0, 64 * K), 10, 10),
    ("1 MiB of 16 MiB", one(0, M), 10, 10),
    ("2 MiB aligned", one(0, 2 * M), 9, 9),
    ("4 MiB aligned", one(0, 4 * M), 8, 8),
    ("16 MiB, four purges in turn", sixteen_mib_in_turn, 6, 5),
    ("8 MiB by 4 KiB", pieces(8 * M, 4 * K), 6, 2),
    ("8 MiB by 64 KiB", pieces(8 * M, 64 * K), 6, 2),
    ("8 MiB by 1 MiB", pieces(8 * M, M), 6, 2),
    ("8 MiB by 2 MiB", pieces(8 * M, 2 * M), 2, 2),
    ("8 MiB by 4 MiB", pieces(8 * M, 4 * M), 2, 2),
    ("all but 4 KiB, then 4 KiB", two_parts, 3, 2),
    ("2 MiB in three VMAs", split_vmas, 3, 2),
    ("1 MiB VMA in a slot", half_slot, 3, 2),
    ("munmap of a half after DONTNEED of the other", half_then_munmap, 3, 2),
    ("last munmap", last_munmap, 0, 0),
    ("zero pages", zero_pages, 2, 2),
    ("PROT_NONE", prot_none, 2, 2),
    ("4 GiB: PMD and PUD tables stay", four_gib, 5, 5),
    ("MAP_FIXED PROT_NONE over everything", fixed_over_everything, 0, 0),
]


@pytest.mark.parametrize(
    ("name", "scenario", "scan", "refcount"), CASES, ids=[case[0] for case in CASES]
)
def test_tables_left(
    name: str, scenario: Callable[[World], None], scan: int, refcount: int
) -> None:
    for policy, expected in ((FreeTables.SCAN, scan), (FreeTables.REFCOUNT, refcount)):
        world = World("c", policy, ram=128 << 20, exact=False)
        before = world.tables()
        scenario(world)
        assert world.tables() - before == expected, policy.label
        world.exit()


def test_a_later_call_over_everything_mends_what_scan_left() -> None:
    world = World("c", FreeTables.SCAN, exact=False)
    before = world.tables()
    touched(world, 8 * M)
    dontneed(world, 0, 8 * M, 4 * K)
    assert world.tables() - before == 6
    dontneed(world, 0, 8 * M)
    assert world.tables() - before == 2


def test_never_keeps_all() -> None:
    world = World("c", FreeTables.NEVER, exact=False)
    before = world.tables()
    touched(world, 8 * M)
    dontneed(world, 0, 8 * M)
    assert world.tables() - before == 6
    world.exit()
