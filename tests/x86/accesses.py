# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads of numbered pages through one TLB array, to watch what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmu.memory import Memory
from mmu.x86 import Access, Geometry, Mmu
from ucmmu.testing.tables import VA, Tables

ENGINES = ("c", "python")


class Pages:
    """Pages 0, 1, 2 … from VA on, mapped as they are first read."""

    def __init__(self, mmu: Mmu) -> None:
        self.mmu = mmu
        self.tables = Tables(mmu)
        self.tables.load()
        self._mapped: set[int] = set()

    def read(self, *pages: int) -> None:
        for page in pages:
            if page not in self._mapped:
                self.tables.map(VA + (page << 12), 0)
                self._mapped.add(page)
            assert self.mmu.translate(VA + (page << 12), Access.READ).ok

    def resident(self) -> dict[int, int]:
        """The pages that are resident in an array of one set, by their way."""
        return {entry.way: (entry.va - VA) >> 12 for entry in self.mmu.entries()}

    def _all(self) -> set[int]:
        return {(entry.va - VA) >> 12 for entry in self.mmu.entries()}

    def read_and_tell(self, page: int) -> int | None:
        """Read a page; the one that had to go for it."""
        before = self._all()
        self.read(page)
        gone = before - self._all()
        assert len(gone) <= 1
        return next(iter(gone), None)


@contextmanager
def pages_on(geometry: Geometry, engine: str) -> Iterator[Pages]:
    """Pages on an MMU of their own."""
    memory = Memory(1 << 20)
    try:
        yield Pages(Mmu(memory, geometry=geometry, engine=engine, exact=True))
    finally:
        memory.close()


class Permutations:
    """A policy told as published measurements tell it: a list of pages, the next victim last.

    A miss puts the new page first and drops the last; a hit at place i rearranges the list: the
    page at place vectors[i][j] goes to place j.
    """

    def __init__(self, vectors: list[list[int]], pages: list[int]) -> None:
        self.vectors, self.pages = vectors, pages

    def read(self, page: int) -> int | None:
        """The page that goes, if one does."""
        if page in self.pages:
            vector = self.vectors[self.pages.index(page)]
            self.pages = [self.pages[i] for i in vector]
            return None
        self.pages.insert(0, page)
        return self.pages.pop()
