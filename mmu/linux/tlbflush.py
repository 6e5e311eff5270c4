# SPDX-License-Identifier: GPL-2.0-or-later
"""Dropping translations of an mm from the TLB (arch/x86/mm/tlb.c, v6.18), on one CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import EVENT_ID, MM_COUNTER_ID
from mmu.linux.pgtable import TLB_FLUSH_ALL, emit

if TYPE_CHECKING:
    from mmu.linux.mm import MmStruct

_TLB_FLUSH: Final = EVENT_ID["tlb_flush"]
_FLUSH_ALL: Final = MM_COUNTER_ID["nr_tlb_local_flush_all"]
_FLUSH_ONE: Final = MM_COUNTER_ID["nr_tlb_local_flush_one"]

tlb_single_page_flush_ceiling: Final[int] = lib.TLB_SINGLE_PAGE_FLUSH_CEILING
"""Pages; a flush of more of them is one of the whole address space."""


def flush_tlb_mm_range(
    mm: MmStruct, start: int, end: int, stride_shift: int, freed_tables: int
) -> None:
    """Drop the translations of [start, end), in steps of ``1 << stride_shift`` bytes.

    Up to tlb_single_page_flush_ceiling steps, one INVLPG each; above, or with end TLB_FLUSH_ALL, a
    MOV to CR3 that drops the whole address space. Either drops every paging-structure-cache entry
    of the address space; freed_tables (0 or 1) says that tables were freed, so that CPUs with a
    lazy TLB may not be spared.
    """
    if end == TLB_FLUSH_ALL or (end - start) >> stride_shift > tlb_single_page_flush_ceiling:
        emit(mm, _TLB_FLUSH, 0, TLB_FLUSH_ALL, freed_tables)
        mm.c.counter[_FLUSH_ALL] += 1
        mm.mmu.write_cr3(mm.mmu.c.cr3 & ~lib.CR3_NOFLUSH)
        return
    emit(mm, _TLB_FLUSH, start, end, freed_tables)
    for addr in range(start, end, 1 << stride_shift):
        mm.c.counter[_FLUSH_ONE] += 1
        mm.mmu.invlpg(addr)
