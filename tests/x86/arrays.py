# SPDX-License-Identifier: GPL-2.0-or-later
"""TLB geometries made by hand, array by array."""

from __future__ import annotations

from typing import Any

from mmu.x86 import Geometry
from mmu.x86.geometry import Array, Choice, Figure

PAGES = {"4K": 1, "2M": 2, "1G": 3}
TABLES = {"PDE": 2, "PDPTE": 3, "PML4E": 4, "PML5E": 5}


def figure(value: int) -> Figure:
    return Figure(value, "this test", "chosen")


def array(
    name: str,
    kind: str,
    entries: int,
    ways: int,
    holds: str = "4K",
    *,
    index: str = "linear",
    replacement: str = "lru",
    pcids: int | None = None,
    smash: tuple[tuple[int, int], ...] = (),
) -> Array:
    words = holds.split()
    return Array(
        name,
        kind,
        tuple(PAGES[word] for word in words if word in PAGES),
        figure(entries),
        figure(ways),
        tuple(TABLES[word] for word in words if word in TABLES),
        Choice(index),
        Choice(replacement),
        None if pcids is None else figure(pcids),
        smash,
    )


def geometry(*arrays: Array, **more: Any) -> Geometry:
    return Geometry("by hand", "made in a test", arrays, **more)


def one_set(ways: int, replacement: str, **more: Any) -> Geometry:
    """One data array of one set, and nothing else: every page meets every other."""
    return geometry(array("only", "dtlb", ways, ways, replacement=replacement), **more)
