# SPDX-License-Identifier: GPL-2.0-or-later
"""The map of an address space: where its PTE tables lie, and how full each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from ucmmu.reading.report.figures import Table

TABLE_BYTES: Final = 2 << 20
"""What one PTE table maps."""
ENTRIES: Final = 512
SPARSE: Final = 64
"""A table with fewer entries than this is called sparse."""
MAX_CELLS: Final = 3000
"""Cells of a map; where there are more tables, a cell is of several that lie side by side."""
FILLS: Final = ("empty", "sparse", "partly", "full")


@dataclass
class Cell:
    """One table, or several neighbours: how full, and what is said of it."""

    fill: str
    title: str


@dataclass
class Stretch:
    """Tables whose 2 MiB follow one another, from ``begin`` on."""

    begin: int
    end: int
    cells: list[Cell]


@dataclass
class Space:
    """The tables of one address space, in stretches by address, and how many there are of each
    kind.
    """

    mm: int
    name: str
    stretches: list[Stretch] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def tables(self) -> int:
        """PTE tables in all."""
        return sum(self.counts.values())


def fill_of(entries: int) -> str:
    """What a table with so many entries is called."""
    if entries == 0:
        return "empty"
    if entries >= ENTRIES:
        return "full"
    return "sparse" if entries < SPARSE else "partly"


def spaces(tables: list[Table], names: dict[int, str]) -> list[Space]:
    """A map of each address space."""
    per_cell = -(-len(tables) // MAX_CELLS) or 1
    found = []
    by_mm = sorted(tables, key=lambda table: (table.mm, table.address))
    for mm, group in groupby(by_mm, key=lambda table: table.mm):
        mine = list(group)
        space = Space(mm, names.get(mm, f"mm {mm:#x}"))
        for table in mine:
            fill = fill_of(table.entries)
            space.counts[fill] = space.counts.get(fill, 0) + 1
        space.stretches = [_stretch(run, per_cell) for run in _runs(mine)]
        found.append(space)
    return found


def _runs(tables: list[Table]) -> list[list[Table]]:
    runs: list[list[Table]] = []
    for table in tables:
        if runs and table.address == runs[-1][-1].address + TABLE_BYTES:
            runs[-1].append(table)
        else:
            runs.append([table])
    return runs


def _stretch(tables: list[Table], per_cell: int) -> Stretch:
    cells = [_cell(tables[at : at + per_cell]) for at in range(0, len(tables), per_cell)]
    return Stretch(tables[0].address, tables[-1].address + TABLE_BYTES, cells)


def _cell(tables: list[Table]) -> Cell:
    entries = sum(table.entries for table in tables)
    fill = fill_of(-(-entries // len(tables)))
    if len(tables) == 1:
        table = tables[0]
        text = f"{entries} of {ENTRIES} entries, frame {table.pfn:#x}"
        return Cell(fill, f"{table.address:#x}: {text}")
    end = tables[-1].address + TABLE_BYTES
    return Cell(fill, f"{tables[0].address:#x}–{end:#x}: {len(tables)} tables, {entries} entries")
