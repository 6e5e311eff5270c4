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
from mmu.linux.pgtable import TLB_FLUSH_ALL, level_size
from mmu.linux.rcu import call_rcu
from mmu.linux.smp import smp_call_function
from mmu.linux.state import Kernel, MmStruct, kernel_of
from mmu.linux.tlbflush import flush_tlb_mm_range
from mmu.linux.tracepoint import Span
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmu._native import struct_kernel_ptr, struct_mmu_gather_ptr, struct_page

_FREED = MM_COUNTER_ID["pte_tables_freed"]


class Gather:
    """One mmu_gather in progress for ``mm``; ``c`` is its ``struct mmu_gather *``, which both
    engines share. It belongs to the CPU that gathers.
    """

    __slots__ = ("c", "kernel", "memory", "mm", "native")

    def __init__(self, mm: MmStruct, c: struct_mmu_gather_ptr) -> None:
        self.mm = mm
        self.kernel = mm.kernel
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
    c.nr = c.nr_tables = c.delayed_rmap = 0
    c.max = lib.MMU_GATHER_BUNDLE
    _reset_range(c)
    c.cpu = cpu
    cpu.gather = c
    mm.kernel.instrument_write(mm, "tlb_flush_pending")
    mm.c.tlb_flush_pending += 1
    return Gather(mm, c)


def tlb_finish_mmu(tlb: Gather) -> None:
    """Flush what is to be flushed, free what was gathered, end.

    If another gather of the mm is in progress, everything is flushed: it may have cleared a PTE
    here without having flushed it, which this one, finding it none, has passed by
    (mm_tlb_flush_nested()).
    """
    c = tlb.c
    tlb.kernel.instrument_read(tlb.mm, "tlb_flush_pending")
    if c.mm.tlb_flush_pending > 1:
        c.fullmm = c.freed_tables = 1
        c.start, c.end = 0, TLB_FLUSH_ALL
    with Span(tlb.kernel, "tlb_finish_mmu", c.start, c.end, c.mm.pgd):
        tlb_flush_mmu(tlb)
        tlb.kernel.instrument_write(tlb.mm, "tlb_flush_pending")
        c.mm.tlb_flush_pending -= 1
        c.cpu.gather = ffi.NULL


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


def flush_pte_table(mm: MmStruct, addr: int) -> None:
    """The PTE table of addr left its PMD: flush what any CPU has cached of it, the PMD lock held.

    One page stands for the table. What gathers in progress still owe for addresses of its 2 MiB
    goes with it, so that afterwards nothing is cached that came through the table.
    """
    start, end = _with_owed(mm, addr, 1)
    flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, 1)


def flush_upper_table(mm: MmStruct, addr: int, level: int) -> None:
    """flush_pte_table() of a PMD table (level 2) or a PUD table (3); page_table_lock is held."""
    start, end = _with_owed(mm, addr, level)
    flush_tlb_mm_range(mm, start, end, PAGE_SHIFT, 1)


def _with_owed(mm: MmStruct, addr: int, level: int) -> tuple[int, int]:
    """The page that stands for the table of this level, and what is owed of its reach."""
    start = addr & -level_size(level + 1)
    end = start + PAGE_SIZE
    for first, last in _owed(mm, addr, None, level):
        start, end = min(start, first), max(end, last)
    return start, end


def tlb_gather_owed(tlb: Gather, addr: int, level: int) -> None:
    """The table of this level for addr is about to be gathered: what other gathers in progress owe
    for its addresses is made part of this one's flush.
    """
    for first, last in _owed(tlb.mm, addr, tlb, level):
        _adjust_range(tlb.c, first, PAGE_SHIFT)
        _adjust_range(tlb.c, last - PAGE_SIZE, PAGE_SHIFT)


def _owed(mm: MmStruct, addr: int, but: Gather | None, level: int) -> Iterator[tuple[int, int]]:
    """What each gather of mm in progress, but for one, has still to flush of what the table of this
    level reaches.
    """
    size = level_size(level + 1)
    slot = addr & -size
    for c in _gathers(mm, "gather_range"):
        start, end = max(slot, c.start), min(slot + size, c.end)
        if start < end and (but is None or c != but.c):
            yield start, end


def _gathers(mm: MmStruct, looks_at: str) -> Iterator[struct_mmu_gather_ptr]:
    """The gathers of mm in progress, each of which the caller looks at that part of."""
    for cpu in mm.kernel.cpus:
        mm.kernel.instrument_read(cpu, looks_at)
        if cpu.c.gather and cpu.c.gather.mm == mm.c:
            yield cpu.c.gather


def flush_freed_tables(mm: MmStruct, entry: EntryPa, addr: int, level: int = 1) -> None:
    """A table of this level comes into the empty entry of addr: flush what is still owed for the
    one before (D4).

    The lock of the entry is held, by who gathered the table too: no table leaves its entry unseen.
    The flush waits, and the gather's CPU may go on gathering meanwhile: its range is left alone,
    and it flushes once more.
    """
    page = _owed_table(mm, entry)
    if page is None:
        return
    page.pmd = 0
    if level == 1:
        flush_pte_table(mm, addr)
    else:
        flush_upper_table(mm, addr, level)


def flush_is_owed(mm: MmStruct, entry: EntryPa) -> bool:
    """Whether flush_freed_tables() would have something to flush."""
    return _owed_table(mm, entry) is not None


def _owed_table(mm: MmStruct, entry: EntryPa) -> struct_page | None:
    """A table that was taken out of the entry and whose flush is owed."""
    for c in _gathers(mm, "gather_tables"):
        for i in reversed(range(c.nr_tables)):
            page = mm.memory.page(c.table[i])
            if page.pmd == entry:
                return page
    return None


def tlb_remove_table_sync_one(kernel: Kernel) -> None:
    """Wait until every other CPU has had its interrupts on: who walks the tables without a lock has
    them off (mm/mmu_gather.c).
    """
    if len(kernel.cpus) > 1:
        smp_call_function(kernel, _tlb_remove_table_smp_sync)


def _tlb_remove_table_smp_sync(_: object) -> None:
    """That the interrupt was taken is all that is wanted."""


@ffi.def_extern()
def kernel_sync_one(c: struct_kernel_ptr) -> None:
    """What C calls for tlb_remove_table_sync_one()."""
    kernel = kernel_of(c)
    try:
        tlb_remove_table_sync_one(kernel)
    except BaseException as error:
        kernel.keep_error(error)


def tlb_flush_mmu(tlb: Gather) -> None:
    """Flush, then free the gathered tables and drop the gathered frames' references.

    Tables are freed as the policy says; PMD and PUD tables that are counted after a grace period.
    """
    tlb.mm.kernel.point("tlb_flush_mmu")
    tlb_flush_mmu_tlbonly(tlb)
    c = tlb.c
    tables = list(c.table[0 : c.nr_tables])
    c.nr_tables = 0  # their flush is not owed any more
    counted = [pfn for pfn in tables if tlb.memory.page(pfn).flags & lib.PG_upper]
    tlb.kernel.free_tables.tlb_remove_tables([pfn for pfn in tables if pfn not in counted])
    for pfn in counted:
        call_rcu(tlb.kernel, pfn)
    for i in range(c.nr):
        tlb.mm.memory.put_page(c.pfn[i])
    c.nr = 0


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
