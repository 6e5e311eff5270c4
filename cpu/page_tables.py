# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables for an instance without a kernel: map, unmap and protect ranges in real entries.

These write entries, and free tables that are empty then; whoever caches translations is told by the
caller.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from unicorn import UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE

from mmu.errors import MmuError, OutOfMemory
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86.entries import (
    X86_A,
    X86_ADDR_MASK,
    X86_D,
    X86_P,
    X86_PS,
    X86_RW,
    X86_US,
    X86_XD,
    entry_offset,
    is_leaf,
    level_size,
)
from mmu.x86.registers import ARCHITECTURAL_MAXPHYADDR, Feature, is_canonical

if TYPE_CHECKING:
    from mmu.memory import Memory
    from mmu.x86 import Mmu

LARGE_PAGE: Final = 2 << 20
X86_OURS: Final = 1 << 9
"""Software bit: the page was allocated by map(), and unmap() frees it."""
_TOP_LEVEL: Final = 4
_ENTRIES: Final = 512
_RIGHTS: Final = X86_RW | X86_XD
_TABLE: Final = X86_P | X86_RW | X86_US
_EMPTY: Final = bytes(PAGE_SIZE)
_WHAT_MATTERS: Final = X86_RW | X86_US | X86_XD | X86_OURS
"""In what two leaves of one frame may differ."""


def rights(perms: int) -> int:
    """R/W and XD of an entry for UC_PROT_* permissions; x86 has no page that is not readable."""
    if not perms & UC_PROT_READ:
        raise MmuError(f"permissions {perms:#x} without UC_PROT_READ: x86 has no such page")
    return (X86_RW if perms & UC_PROT_WRITE else 0) | (0 if perms & UC_PROT_EXEC else X86_XD)


class PageTables:
    """Four-level tables in ``memory``, from a PML4 of their own at guest-physical ``root``.

    ``mmu`` says how wide physical addresses are, and whether there are 1 GiB pages. Every method
    raises MmuError for a range that is no whole pages or not canonical, and if an entry leads to a
    table outside RAM.
    """

    def __init__(self, memory: Memory, mmu: Mmu | None = None) -> None:
        """Take an empty PML4."""
        self.memory = memory
        self._mmu = mmu
        self._largest = 3 if mmu is not None and mmu.has(Feature.PAGE1GB) else 2
        self.root = memory.alloc_pages() << PAGE_SHIFT

    def map(self, va: int, size: int, entry_bits: int, pa: int | None = None) -> None:
        """Map [va, va + size) to guest-physical pa on, or, without pa, to fresh zeroed frames.

        ``entry_bits`` go into every leaf. Where va, pa and size allow, 1 GiB and 2 MiB pages are
        used. What is mapped already to just this, with these rights, stays. Raises MmuError if a
        page is mapped otherwise, or pa is no address of a page or does not fit MAXPHYADDR;
        OutOfMemory if RAM is out; nothing is mapped then that was not before.
        """
        _check_range(va, size)
        if pa is not None:
            self._check_physical(pa, size)
        if size == PAGE_SIZE and self._map_page(va, entry_bits, pa):
            return
        holes = list(self._holes(va, va + size, entry_bits, pa))
        done: list[tuple[int, int]] = []
        try:
            for begin, end in holes:
                done.append((begin, end))
                self._fill(begin, end, entry_bits, None if pa is None else pa + begin - va)
        except OutOfMemory:
            for begin, end in done:
                self.unmap(begin, end - begin)
            raise

    def maps(self, va: int, size: int) -> bool:
        """Whether every page of [va, va + size) is mapped."""
        return self._first_hole(va, size) is None

    def _map_page(self, va: int, entry_bits: int, pa: int | None) -> bool:
        """Map one page whose table is there and whose entry is free; False if it is otherwise."""
        level, at, entry = self._lowest(va)
        if level > 1 or entry & X86_P:
            return False
        if pa is None:
            self._fresh(at, entry_bits)
        else:
            self._write(at, [pa | entry_bits | X86_P])
        return True

    def pieces(self, va: int, size: int, pa: int) -> list[tuple[int, int, bool]]:
        """What of [va, va + size) is mapped to pa on (True), and what is not mapped (False), in
        pieces: address, size. Pages that are mapped elsewhere are left out.
        """
        _check_range(va, size)
        pieces: list[tuple[int, int, bool]] = []
        for run in self._runs(va, va + size):
            for at, entry in run.places():
                first, last = max(at, va), min(at + run.step, va + size)
                frame = entry & X86_ADDR_MASK & -run.step
                if entry & X86_P and frame + first % run.step != pa + first - va:
                    continue
                mapped = bool(entry & X86_P)
                if pieces and sum(pieces[-1][:2]) == first and pieces[-1][2] == mapped:
                    first, _, _ = pieces.pop()
                pieces.append((first, last - first, mapped))
        return pieces

    def unmap(self, va: int, size: int) -> int:
        """Take every page out of [va, va + size) and free those that map() allocated; holes are no
        error. Returns how many entries that were present are not any more.
        """
        _check_range(va, size)
        self._cut(va)
        self._cut(va + size)
        nr = 0
        for run in self._runs(va, va + size):
            present = [entry for entry in run.entries if entry & X86_P]
            if not present:
                continue
            self._write(run.at, [0] * len(run.entries))
            nr += len(present)
            for entry in present:
                if entry & X86_OURS:
                    self.memory.put_page((entry & X86_ADDR_MASK) >> PAGE_SHIFT)
        return nr + self._prune(self.root, _TOP_LEVEL, va, va + size)

    def protect(self, va: int, size: int, perms: int) -> None:
        """Give the mapped pages of [va, va + size) these UC_PROT_* permissions; MmuError, and no
        change, at a hole.
        """
        bits = rights(perms)
        hole = self._first_hole(va, size)
        if hole is not None:
            raise MmuError(f"{hole:#x} is not mapped")
        self._cut(va)
        self._cut(va + size)
        for run in self._runs(va, va + size):
            self._write(run.at, [entry & ~_RIGHTS | bits for entry in run.entries])

    # Looking.

    def _lowest(self, va: int) -> tuple[int, int, int]:
        """Level, place and value of the lowest entry for va that exists."""
        table = self.root
        for level in range(_TOP_LEVEL, 0, -1):
            at = table + entry_offset(va, level)
            entry = self._read(at)
            if not entry & X86_P or is_leaf(entry, level):
                break
            table = entry & X86_ADDR_MASK
        return level, at, entry

    def _runs(self, va: int, end: int) -> Iterator[_Run]:
        """The lowest entries that exist for [va, end), in runs: those of one PTE table together,
        others one by one. The first and the last may reach further than the range.
        """
        while va < end:
            level, at, entry = self._lowest(va)
            if level > 1:
                run = _Run(va & -level_size(level), level, at, [entry])
            else:
                nr = min(end - va >> PAGE_SHIFT, _ENTRIES - (at >> 3) % _ENTRIES)
                run = _Run(va, 1, at, self._read_many(at, nr))
            yield run
            va = run.end

    def _holes(
        self, va: int, end: int, entry_bits: int, pa: int | None
    ) -> Iterator[tuple[int, int]]:
        """Begin and end of what is not mapped in [va, end); MmuError for what is mapped otherwise
        than to pa with these bits.
        """
        hole = va
        for run in self._runs(va, end):
            if pa is not None and run.is_just(va, pa, entry_bits):
                if hole < run.va:
                    yield hole, run.va
                hole = run.end
                continue
            for at, entry in run.places():
                if not entry & X86_P:
                    continue
                first = max(at, va)
                if hole < first:
                    yield hole, first
                hole = min(at + run.step, end)
                there = None if pa is None else pa + first - va
                self._check_same(run, first, entry, entry_bits, there)
        if hole < end:
            yield hole, end

    def _check_same(self, run: _Run, va: int, entry: int, entry_bits: int, pa: int | None) -> None:
        """MmuError unless va's leaf maps it to pa with these bits."""
        if pa is None:
            raise MmuError(f"{va:#x} is mapped already")
        frame = entry & X86_ADDR_MASK & -run.step
        if frame + va % run.step != pa or (entry ^ entry_bits) & _WHAT_MATTERS:
            raise MmuError(f"{va:#x} is mapped already, to another page or with other rights")

    def _first_hole(self, va: int, size: int) -> int | None:
        _check_range(va, size)
        for run in self._runs(va, va + size):
            for at, entry in run.places():
                if not entry & X86_P:
                    return max(at, va)
        return None

    # Changing.

    def _fill(self, va: int, end: int, entry_bits: int, pa: int | None) -> None:
        """Map [va, end), in which nothing is mapped."""
        while va < end:
            level = 1 if pa is None else self._level_for(va, end, pa)
            at = self._entry(va, level)
            step = level_size(level)
            nr = min((end - va) // step, _ENTRIES - (at >> 3) % _ENTRIES) if level == 1 else 1
            if pa is None:
                for number in range(nr):
                    self._fresh(at + 8 * number, entry_bits)
            else:
                bits = entry_bits | X86_P | (X86_PS if level > 1 else 0)
                self._write(at, range(pa | bits, (pa | bits) + nr * step, step))
                pa += nr * step
            va += nr * step

    def _fresh(self, at: int, entry_bits: int) -> None:
        """Map one fresh frame."""
        frame = self.memory.alloc_pages() << PAGE_SHIFT
        self._write(at, [frame | entry_bits | X86_OURS | X86_P])

    def _level_for(self, va: int, end: int, pa: int) -> int:
        """The level of the largest page that begins at va and pa, ends by end, and has no table in
        its place.
        """
        free = self._lowest(va)[0]
        for level in range(min(free, self._largest), 1, -1):
            size = level_size(level)
            if not (va | pa) & (size - 1) and end - va >= size:
                return level
        return 1

    def _entry(self, va: int, target: int) -> int:
        """Place of va's entry of that level; missing tables above it are made."""
        table = self.root
        for level in range(_TOP_LEVEL, target, -1):
            at = table + entry_offset(va, level)
            entry = self._read(at)
            if not entry & X86_P:
                entry = self.memory.alloc_pages() << PAGE_SHIFT | _TABLE
                self._write(at, [entry])
            table = entry & X86_ADDR_MASK
        return table + entry_offset(va, target)

    def _cut(self, va: int) -> None:
        """Let no large page reach over va: replace it by a table of pages that translate alike."""
        while is_canonical(va):
            level, at, leaf = self._lowest(va)
            if level == 1 or not leaf & X86_P or not va % level_size(level):
                return
            table = self.memory.alloc_pages() << PAGE_SHIFT
            small, step = leaf if level == 3 else leaf & ~X86_PS, level_size(level - 1)
            self._write(table, range(small, small + _ENTRIES * step, step))
            self._write(at, [table | _TABLE])

    def _prune(self, table: int, level: int, va: int, end: int) -> int:
        """Free the tables below this one that serve [va, end) and are empty; returns how many."""
        freed, step = 0, level_size(level)
        first = va & -step
        entries = self._read_many(table + entry_offset(va, level), -(-(end - first) // step))
        for number, entry in enumerate(entries):
            if level == 1 or not entry & X86_P or is_leaf(entry, level):
                continue
            begin, below = first + number * step, entry & X86_ADDR_MASK
            if level > 2:
                freed += self._prune(below, level - 1, max(va, begin), min(end, begin + step))
            if self.memory.read(below, PAGE_SIZE) == _EMPTY:
                self._write(table + entry_offset(begin, level), [0])
                self.memory.free_pages(below >> PAGE_SHIFT, zero=True)
                freed += 1
        return freed

    # Memory.

    def _read(self, pa: int) -> int:
        return self._read_many(pa, 1)[0]

    def _read_many(self, pa: int, nr: int) -> list[int]:
        if not self.memory.holds(pa, nr * 8):
            raise MmuError(f"a paging structure at {pa:#x} lies outside our RAM")
        first = pa - self.memory.base >> 3
        return self.memory.words[first : first + nr].tolist()

    def _write(self, pa: int, entries: Iterable[int]) -> None:
        words = array("Q", entries)
        first = pa - self.memory.base >> 3
        self.memory.words[first : first + len(words)] = memoryview(words)

    def _check_physical(self, pa: int, size: int) -> None:
        width = ARCHITECTURAL_MAXPHYADDR if self._mmu is None else self._mmu.maxphyaddr
        if pa & (PAGE_SIZE - 1) or not 0 <= pa <= (1 << width) - size:
            raise MmuError(
                f"guest-physical {pa:#x} is no place for {size:#x} bytes: it must be a multiple of"
                f" 4096 that fits {width} bits"
            )


class _Run(NamedTuple):
    """Entries side by side in one table, the first of them for ``va``, at guest-physical ``at``."""

    va: int
    level: int
    at: int
    entries: list[int]

    @property
    def step(self) -> int:
        """Bytes that one entry is for."""
        return level_size(self.level)

    @property
    def end(self) -> int:
        """Where the last of them ends."""
        return self.va + len(self.entries) * self.step

    def is_just(self, va: int, pa: int, entry_bits: int) -> bool:
        """Whether these are PTEs that map [va, …) to pa on, with these bits; A and D may be set."""
        first = pa + self.va - va | entry_bits | X86_P
        return self.level == 1 and [entry & ~(X86_A | X86_D) for entry in self.entries] == list(
            range(first, first + len(self.entries) * PAGE_SIZE, PAGE_SIZE)
        )

    def places(self) -> Iterator[tuple[int, int]]:
        """The address that each entry is for, and the entry."""
        return zip(range(self.va, self.end, self.step), self.entries, strict=True)


def _check_range(va: int, size: int) -> None:
    if (va | size) & (PAGE_SIZE - 1) or size <= 0:
        raise MmuError(f"a range is whole pages of 4096 bytes, not {size:#x} bytes at {va:#x}")
    last = va + size - 1
    if not (is_canonical(va) and is_canonical(last)) or (va ^ last) >> 47:
        raise MmuError(f"[{va:#x}, {va + size:#x}) is not canonical")
