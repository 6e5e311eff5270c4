# SPDX-License-Identifier: GPL-2.0-or-later
"""Our C page walk against four loads without a check, over the same tables.

Each walk waits for the one before, as the access that needs it would.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import peers
from benchmarks.measure import Result, compare
from mmu import _native
from mmu.memory import Memory
from mmu.x86 import Mmu

ENTRY_BITS = 0x67
"""P, R/W, U/S, A and D: nothing is left for a walk to set."""
TABLE_SPAN = 2 << 20
WARM_TABLES, WARM_PAGES = 4, 256
COLD_TABLES = 1 << 17
"""PTE tables of 4 KiB: 512 MiB of them, each full, many times the last-level cache."""


@dataclass
class AddressSpace:
    """Tables in guest RAM that map ``nr_tables`` spans of 2 MiB from 0 on to one frame."""

    memory: Memory
    mmu: Mmu
    nr_tables: int


@contextmanager
def address_space(nr_tables: int) -> Iterator[AddressSpace]:
    module = peers.load()
    memory = Memory(4 << 30)
    mmu = Mmu(memory)
    data = memory.alloc_pages() << 12
    upper: dict[tuple[int, int], int] = {}

    def table_at(level: int, index: int) -> int:
        """The table of ``level`` (3 PDPT, 2 PD, 1 PT) below entry ``index`` of the level above."""
        if (level, index) not in upper:
            upper[level, index] = table = memory.alloc_pages() << 12
            parent = cr3 if level == 3 else table_at(level + 1, index >> 9)
            memory.write_u64(parent + (index & 511) * 8, table | ENTRY_BITS)
        return upper[level, index]

    cr3 = memory.alloc_pages() << 12
    for number in range(nr_tables):
        module.lib.fill_table(
            module.ffi.cast("uint8_t *", _ram(memory)), table_at(1, number), data | ENTRY_BITS
        )
    mmu.write_cr3(cr3)
    try:
        yield AddressSpace(memory, mmu, nr_tables)
    finally:
        del mmu
        memory.close()


def _ram(memory: Memory) -> int:
    """Host address of guest-physical 0."""
    return int(_native.ffi.cast("uintptr_t", memory.c.ram)) - memory.base


def walk_warm() -> Iterator[Result]:
    """Tables that stay in the first-level cache."""
    yield _measure("walk_warm", WARM_TABLES, WARM_PAGES, walks=500_000, rounds=41, goal="<= 1.6")


def walk_cold() -> Iterator[Result]:
    """Random pages of an address space whose tables no cache holds."""
    yield _measure("walk_cold", COLD_TABLES, 1 << 18, walks=1 << 18, rounds=15, goal="<= 1.1")


def _measure(
    name: str, nr_tables: int, nr_addresses: int, *, walks: int, rounds: int, goal: str
) -> Result:
    chance = random.Random(1)
    module = peers.load()
    with address_space(nr_tables) as space:
        pages = [
            chance.randrange(nr_tables * 512) << 12 | chance.randrange(4096)
            for _ in range(nr_addresses)
        ]
        va = module.ffi.new("uint64_t[]", pages)
        cr3 = int(space.mmu.c.cr3)
        ram = module.ffi.cast("uint8_t *", _ram(space.memory))
        walk = module.ffi.cast("walk_fn", peers.address_of(_native.ffi, _native.lib, "mmu_walk"))
        unit = module.ffi.cast("void *", int(_native.ffi.cast("uintptr_t", space.mmu.c)))
        mode = _native.lib.WALK_QUIET
        _check(module, space, ram, cr3, pages[:1000])
        return compare(
            name,
            lambda: float(module.lib.time_walks(walk, unit, mode, va, nr_addresses, walks)),
            lambda: float(module.lib.time_radix_walks(ram, cr3, va, nr_addresses, walks)),
            unit="ns",
            goal=goal,
            rounds=rounds,
            note=f"mmu_walk (WALK_QUIET) against four bare loads; {nr_tables} PTE tables,"
            " dependent walks",
        )


def _check(module: Any, space: AddressSpace, ram: Any, cr3: int, pages: list[int]) -> None:
    """Both walks must say the same."""
    found = [space.mmu.walk(va).pa for va in pages]
    if not module.lib.radix_agrees(ram, cr3, pages, found, len(pages)):
        raise AssertionError("the bare walk and mmu_walk disagree")
