# SPDX-License-Identifier: GPL-2.0-or-later
"""mmu_gather: unmap first, flush the TLB once, free after (mm/mmu_gather.c, asm-generic/tlb.h,
v6.18).

The order is what makes freeing safe: no frame goes back to the allocator, and no table to RCU,
while a TLB may still hold a way to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import ffi, lib
from mmu.events import MM_COUNTER_ID
from mmu.linux.bug import Bug
from mmu.linux.pgalloc import mm_dec_pgtables
from mmu.linux.pgtable import TLB_FLUSH_ALL
from mmu.linux.rcu import call_rcu
from mmu.linux.state import MmStruct
from mmu.linux.tlbflush import flush_tlb_mm_range
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_mmu_gather_ptr

_FREED = MM_COUNTER_ID["pte_tables_freed"]


class Gather:
    """One mmu_gather in progress for ``mm``; ``c`` is its ``struct mmu_gather *``, which both
    engines share. It belongs to the CPU that gathers.
    """

    __slots__ = ("c", "memory", "mm", "native")

    def __init__(self, mm: MmStruct, c: struct_mmu_gather_ptr) -> None:
        self.mm = mm
        self.memory = mm.memory
        self.native = mm.native
        self.c = c

    @classmethod
    def make_c(cls, mm: MmStruct) -> Gather:
        """A gather that tlb_gather_mmu() has yet to fill in."""
        return cls(mm, ffi.new("struct mmu_gather *"))

    def check(self) -> None:
        """See MmStruct.check()."""
        self.mm.check()


def tlb_gather_mmu(mm: MmStruct, fullmm: bool = False) -> Gather:
    """Begin to gather, on this CPU, what is unmapped from mm, whose mmap_lock is held.

    fullmm: all of it goes. A second gather of the same CPU is the bug GATHER_NESTED.
    """
    c = ffi.new("struct mmu_gather *")
    cpu = mm.kernel.c.this_cpu
    if cpu.gather:
        mm.kernel.bug(Bug.GATHER_NESTED)
    c.mm = mm.c
    c.fullmm = fullmm
    c.nr = c.nr_tables = 0
    c.max = lib.MMU_GATHER_BUNDLE
    _reset_range(c)
    c.cpu = cpu
    cpu.gather = c
    return Gather(mm, c)


def tlb_finish_mmu(tlb: Gather) -> None:
    """Flush what is to be flushed, free what was gathered, end."""
    tlb_flush_mmu(tlb)
    tlb.c.cpu.gather = ffi.NULL


def tlb_flush_mmu_tlbonly(tlb: Gather) -> None:
    """Flush the gathered range; nothing is freed yet."""
    c = tlb.c
    if c.start >= c.end:
        return
    if c.fullmm:
        flush_tlb_mm_range(tlb.mm, 0, TLB_FLUSH_ALL, PAGE_SHIFT, c.freed_tables)
    else:
        flush_tlb_mm_range(tlb.mm, c.start, c.end, c.stride_shift, c.freed_tables)
    _reset_range(c)


def flush_freed_tables(mm: MmStruct) -> None:
    """Flush what gathers of mm in progress, on any CPU, owe for freed tables (D4)."""
    for cpu in mm.kernel.cpus:
        c = cpu.c.gather
        if c and c.mm == mm.c and c.freed_tables:
            tlb_flush_mmu_tlbonly(Gather(mm, c))


def tlb_flush_mmu(tlb: Gather) -> None:
    """Flush, then hand the gathered tables to RCU and drop the gathered frames' references."""
    tlb_flush_mmu_tlbonly(tlb)
    c = tlb.c
    for i in range(c.nr_tables):
        call_rcu(tlb.mm.kernel, c.table[i])
    for i in range(c.nr):
        tlb.mm.memory.put_page(c.pfn[i])
    c.nr = c.nr_tables = 0


def tlb_remove_page(tlb: Gather, pfn: int) -> bool:
    """Gather a data frame, with the reference that its PTE held. True: full, to be flushed before
    the next.

    The gather itself has room for MMU_GATHER_BUNDLE frames and takes many more once it could get a
    batch; with no memory for one it goes on with the few.
    """
    c = tlb.c
    c.pfn[c.nr] = pfn
    c.nr += 1
    if c.nr == c.max and tlb.mm.memory.c.nr_free and tlb.mm.memory.c.fail_after:
        c.max = lib.MMU_GATHER_MAX
    return c.nr == c.max


def tlb_remove_tlb_entry(tlb: Gather, addr: int) -> None:
    """The PTE of addr was cleared or changed: its translation must be flushed."""
    _adjust_range(tlb.c, addr, PAGE_SHIFT)


def table_free_tlb(tlb: Gather, pfn: int, addr: int, level: int) -> None:
    """Gather a table (level 1 PTE, 2 PMD, 3 PUD) that was taken out of the entry for addr.

    One page at the start of its reach stands for all that was cached through it: any INVLPG drops
    the paging-structure caches (``__pte_free_tlb()``, arch/x86/mm/pgtable.c).
    """
    c = tlb.c
    shift = PAGE_SHIFT + 9 * level
    _adjust_range(c, addr >> shift << shift, shift)
    c.freed_tables = 1
    c.table[c.nr_tables] = pfn
    c.nr_tables += 1
    if c.nr_tables == lib.MMU_GATHER_MAX:
        tlb_flush_mmu(tlb)


def pte_free_tlb(tlb: Gather, pfn: int, addr: int) -> None:
    """Gather a PTE table that was taken out of addr's PMD."""
    table_free_tlb(tlb, pfn, addr, 1)


def mm_dec_nr_ptes(mm: MmStruct) -> None:
    """Count a PTE table that left the mm."""
    mm_dec_pgtables(mm)
    mm.c.counter[_FREED] += 1


def _reset_range(c: struct_mmu_gather_ptr) -> None:
    c.start, c.end = TLB_FLUSH_ALL, 0
    c.freed_tables = c.stride_shift = 0


def _adjust_range(c: struct_mmu_gather_ptr, addr: int, shift: int) -> None:
    c.start = min(c.start, addr)
    c.end = max(c.end, addr + PAGE_SIZE)
    if not c.stride_shift or shift < c.stride_shift:
        c.stride_shift = shift
