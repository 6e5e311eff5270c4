# SPDX-License-Identifier: GPL-2.0-or-later
"""Page tables for an instance without a kernel: map, unmap and protect ranges in real entries.

These write entries and nothing else; whoever caches translations is told by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from unicorn import UC_PROT_EXEC, UC_PROT_READ, UC_PROT_WRITE

from mmu.errors import MmuError
from mmu.units import PAGE_SHIFT, PAGE_SIZE
from mmu.x86.entries import X86_ADDR_MASK, X86_P, X86_PS, X86_RW, X86_US, X86_XD
from mmu.x86.registers import is_canonical

if TYPE_CHECKING:
    from mmu.memory import Memory

LARGE_PAGE: Final = 2 << 20
X86_OURS: Final = 1 << 9
"""Software bit: the page was allocated by map(), and unmap() frees it."""
_TOP_LEVEL: Final = 4
_RIGHTS: Final = X86_RW | X86_XD
_TABLE: Final = X86_P | X86_RW | X86_US


def rights(perms: int) -> int:
    """R/W and XD of an entry for UC_PROT_* permissions; x86 has no page that is not readable."""
    if not perms & UC_PROT_READ:
        raise MmuError(f"permissions {perms:#x} without UC_PROT_READ: x86 has no such page")
    return (X86_RW if perms & UC_PROT_WRITE else 0) | (0 if perms & UC_PROT_EXEC else X86_XD)


class PageTables:
    """Four-level tables in ``memory``, from a PML4 of their own at guest-physical ``root``."""

    def __init__(self, memory: Memory) -> None:
        """Take an empty PML4."""
        self.memory = memory
        self.root = memory.alloc_pages() << PAGE_SHIFT

    def map(self, va: int, size: int, entry_bits: int, pa: int | None = None) -> None:
        """Map [va, va + size) to guest-physical pa on, or, without pa, to fresh zeroed frames.

        ``entry_bits`` go into every leaf. Where va, pa and size allow, 2 MiB pages are used. Raises
        MmuError if a page in the range is mapped already, OutOfMemory with what was mapped so far
        in place.
        """
        _check_range(va, size)
        for page in self._leaves(va, size):
            if self._read(page.entry_pa) & X86_P:
                raise MmuError(f"{page.va:#x} is mapped already")
        end = va + size
        while va < end:
            large = pa is not None and not (va | pa) & (LARGE_PAGE - 1) and end - va >= LARGE_PAGE
            if large and not self._read(self._entry(va, 2)) & X86_P:
                assert pa is not None
                self._write(self._entry(va, 2), pa | entry_bits | X86_PS | X86_P)
                step = LARGE_PAGE
            else:
                frame = (
                    pa if pa is not None else (self.memory.alloc_pages() << PAGE_SHIFT) | X86_OURS
                )
                self._write(self._entry(va, 1), frame | entry_bits | X86_P)
                step = PAGE_SIZE
            va += step
            pa = None if pa is None else pa + step

    def maps(self, va: int, size: int) -> bool:
        """Whether every page of [va, va + size) is mapped."""
        _check_range(va, size)
        covered = va
        for page in self._leaves(va, size):
            if page.va > covered or not self._read(page.entry_pa) & X86_P:
                return False
            covered = page.va + page.size
        return covered >= va + size

    def unmap(self, va: int, size: int) -> int:
        """Take every page out of [va, va + size) and free those that map() allocated; holes are no
        error. Returns how many entries that were present are not any more.
        """
        _check_range(va, size)
        nr = 0
        for page in self._leaves(va, size):
            entry = self._read(page.entry_pa)
            self._write(page.entry_pa, 0)
            nr += entry & X86_P
            if entry & X86_P and entry & X86_OURS:
                self.memory.put_page((entry & X86_ADDR_MASK) >> PAGE_SHIFT)
        return nr

    def protect(self, va: int, size: int, perms: int) -> None:
        """Give the mapped pages of [va, va + size) these UC_PROT_* permissions; MmuError at a
        hole.
        """
        _check_range(va, size)
        bits = rights(perms)
        covered = va
        leaves = list(self._leaves(va, size))
        for page in leaves:
            if page.va > covered or not self._read(page.entry_pa) & X86_P:
                raise MmuError(f"{covered:#x} is not mapped")
            covered = page.va + page.size
        if covered < va + size:
            raise MmuError(f"{covered:#x} is not mapped")
        for page in leaves:
            self._write(page.entry_pa, self._read(page.entry_pa) & ~_RIGHTS | bits)

    def _leaves(self, va: int, size: int) -> Iterator[_Leaf]:
        """The leaf entries that exist for [va, va + size); a large page that sticks out is split
        first.
        """
        end = va + size
        while va < end:
            level, entry_pa = self._lowest(va)
            span = 1 << (12 + 9 * (level - 1))
            start = va & ~(span - 1)
            if level == 1:
                yield _Leaf(va, PAGE_SIZE, entry_pa)
            elif level == 2 and self._read(entry_pa) & X86_P:
                if start < va or start + span > end:
                    self._split(entry_pa)
                    continue
                yield _Leaf(va, span, entry_pa)
            va = start + span

    def _lowest(self, va: int) -> tuple[int, int]:
        """Level and place of the lowest entry for va that exists."""
        table = self.root
        for level in range(_TOP_LEVEL, 0, -1):
            entry_pa = table + _offset(va, level)
            entry = self._read(entry_pa)
            if level == 1 or not entry & X86_P or entry & X86_PS:
                return level, entry_pa
            table = entry & X86_ADDR_MASK
        raise AssertionError

    def _entry(self, va: int, target: int) -> int:
        """Place of va's entry of that level; missing tables above it are made, a large page is
        split.
        """
        table = self.root
        for level in range(_TOP_LEVEL, target, -1):
            entry_pa = table + _offset(va, level)
            entry = self._read(entry_pa)
            if not entry & X86_P:
                entry = self.memory.alloc_pages() << PAGE_SHIFT | _TABLE
                self._write(entry_pa, entry)
            elif entry & X86_PS:
                self._split(entry_pa)
                entry = self._read(entry_pa)
            table = entry & X86_ADDR_MASK
        return table + _offset(va, target)

    def _split(self, entry_pa: int) -> None:
        """Replace a 2 MiB leaf by a table of 512 pages that translate alike."""
        leaf = self._read(entry_pa)
        table = self.memory.alloc_pages() << PAGE_SHIFT
        small = leaf & ~X86_PS
        for i in range(512):
            self._write(table + 8 * i, small + i * PAGE_SIZE)
        self._write(entry_pa, table | _TABLE)

    def _read(self, pa: int) -> int:
        if not self.memory.holds(pa, 8):
            raise MmuError(f"a paging structure at {pa:#x} lies outside our RAM")
        return self.memory.read_u64(pa)

    def _write(self, pa: int, value: int) -> None:
        self.memory.write_u64(pa, value)


class _Leaf:
    """An entry that maps, or could map, a page: where it lies and what it covers."""

    __slots__ = ("entry_pa", "size", "va")

    def __init__(self, va: int, size: int, entry_pa: int) -> None:
        self.va = va
        self.size = size
        self.entry_pa = entry_pa


def _offset(va: int, level: int) -> int:
    return (va >> (12 + 9 * (level - 1)) & 511) * 8


def _check_range(va: int, size: int) -> None:
    if (va | size) & (PAGE_SIZE - 1) or size <= 0:
        raise MmuError(f"a range is whole pages of 4096 bytes, not {size:#x} bytes at {va:#x}")
    if not is_canonical(va) or not is_canonical(va + size - 1) or (va ^ (va + size - 1)) >> 63:
        raise MmuError(f"[{va:#x}, {va + size:#x}) is not canonical")
