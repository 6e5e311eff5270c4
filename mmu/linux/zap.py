# SPDX-License-Identifier: GPL-2.0-or-later
"""Unmapping a range: clear PTEs, gather frames, free tables as the policy says (mm/memory.c,
v6.18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.linux.locks import pte_unlock
from mmu.linux.mmu_gather import (
    Gather,
    tlb_flush_mmu,
    tlb_flush_mmu_tlbonly,
    tlb_remove_page,
    tlb_remove_tlb_entry,
)
from mmu.linux.pgtable import (
    DIRTY_BITS,
    PMD_SIZE,
    SPECIAL,
    add_mm_counter,
    addr_end,
    entry_pfn,
    hole_end,
    is_guard_pte_marker,
    mm_counter,
    not_none,
    pmd_none,
    pte_present,
    ptep_get_and_clear,
    table_entry,
)
from mmu.linux.pmd_ref import pmd_put, pmd_put_tlb, pmd_tryget
from mmu.linux.policies import policy_of
from mmu.linux.pt_reclaim import free_pte
from mmu.linux.pte_ref import TryGet, pte_put_many_tlb, pte_put_tlb, pte_relock, pte_try_get
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import spanned
from mmu.twin import EntryPa
from mmu.units import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator


def each_pmd(
    mm: MmStruct, start: int, end: int, tlb: Gather | None = None
) -> Iterator[tuple[EntryPa, int, int]]:
    """(pmd, addr, next) of each 2 MiB slot of [start, end) whose PMD is not none.

    Holes are passed by their upper entry. The next slot is looked up when it is asked for,
    so the body may free the table it was given. Meanwhile the PMD table is visited, where those
    are counted; if nothing is left in it, it is freed after the body, by the gather if there is
    one.
    """
    addr = start
    while addr < end:
        pmd = pmd_tryget(mm, addr)
        following = addr_end(addr, end, 2) if pmd is not None else hole_end(mm, addr, end)
        if pmd is not None:
            try:
                if not pmd_none(mm.memory.read_u64(pmd)):
                    yield pmd, addr, following
            finally:
                if tlb is not None:
                    pmd_put_tlb(tlb, pmd, addr)
                else:
                    pmd_put(mm, pmd, addr)
        addr = following


@spanned(lambda tlb, start, end, details: (tlb.mm, start, end))
def unmap_page_range(tlb: Gather, start: int, end: int, details: int) -> None:
    """Clear what maps [start, end) of one VMA: bytes, page-aligned; mmap_lock is held, no
    page-table lock.

    Frames go to the gather, entries and tables lose their references. details, struct zap_details:
    ZAP_RECLAIM_PT if it is MADV_DONTNEED; ZAP_DROP_MARKER if guard markers go as well;
    ZAP_KEEP_COWS if private copies of a file's pages stay.
    """
    for pmd, addr, following in each_pmd(tlb.mm, start, end, tlb):
        zap_pte_range(tlb, pmd, addr, following, details)


def zap_pte_range(tlb: Gather, pmd: EntryPa, start: int, end: int, details: int) -> None:
    """Clear the PTEs of [start, end), all in the table under pmd.

    The zap visits: it holds one reference, and drops those of the entries it cleared in one go once
    the PTE lock is dropped. When the gather is full the lock is dropped midway and all is flushed
    and freed before it goes on. A page of a file that was written is flushed before the lock is
    dropped (tlb_delay_rmap()): nobody may find it clean and unmapped while it can be written.
    """
    mm = tlb.mm
    policy = policy_of(mm.kernel)
    can_reclaim = policy.reclaim_pt_is_enabled(mm, start, end, details)
    direct, pmdval = end - start == PMD_SIZE, None
    result, table = pte_try_get(mm, pmd)
    if result != TryGet.SUCCEEDED:
        return
    addr = start
    while addr < end:
        table = pte_relock(mm, pmd, table)
        if not table:
            return
        addr, cleared, skipped, full = _zap_stretch(tlb, table, addr, end, details)
        can_reclaim = can_reclaim and not skipped
        direct = direct and not full
        if can_reclaim and direct:
            pmdval = policy.try_get_and_clear_pmd(mm, pmd, start)
            direct = pmdval is not None
        flush = full or tlb.c.delayed_rmap
        if flush:
            tlb_flush_mmu_tlbonly(tlb)
            tlb.c.delayed_rmap = 0
        pte_unlock(mm, table)
        if flush:
            tlb_flush_mmu(tlb)
        pte_put_many_tlb(tlb, table, start, cleared)
    if pmdval is not None:
        free_pte(tlb, pmd, pmdval, start)
    elif can_reclaim:
        policy.try_to_free_pte(tlb, pmd, start)
    else:
        pte_put_tlb(tlb, table, start)


def _zap_stretch(
    tlb: Gather, table: int, addr: int, end: int, details: int
) -> tuple[int, int, int, bool]:
    """Clear under one hold of the PTE lock; where it ended, entries cleared and left, whether the
    gather is full.
    """
    mm, memory = tlb.mm, tlb.mm.memory
    pte: int = table_entry(table, addr)
    rss = [0] * lib.NR_MM_RSS
    cleared, skipped, full = 0, 0, False
    for at in not_none(memory, pte, (end - addr) // PAGE_SIZE):
        if _zap_skips(mm, memory.read_u64(pte + at * 8), details):
            skipped += 1
            continue
        full = _zap_pte(tlb, EntryPa(pte + at * 8), addr + at * PAGE_SIZE, rss)
        cleared += 1
        if full:
            end = addr + (at + 1) * PAGE_SIZE
            break
    for member, nr in enumerate(rss):
        if nr:
            add_mm_counter(mm, member, nr)
    return end, cleared, skipped, full


def _zap_skips(mm: MmStruct, value: int, details: int) -> bool:
    """Whether this zap leaves the non-none entry alone: a guard marker, or a private copy of a
    file's page.
    """
    if is_guard_pte_marker(value):
        return not details & lib.ZAP_DROP_MARKER
    if not details & lib.ZAP_KEEP_COWS or not pte_present(value) or value & SPECIAL:
        return False
    return bool(mm.memory.page(entry_pfn(value)).flags & lib.PG_anon)


def _zap_pte(tlb: Gather, pte: EntryPa, addr: int, rss: list[int]) -> bool:
    mm = tlb.mm
    old = ptep_get_and_clear(mm, addr, pte)
    if not pte_present(old):
        return False
    tlb_remove_tlb_entry(tlb, addr)
    if old & SPECIAL:
        return False
    page = mm.memory.page(entry_pfn(old))
    page._mapcount -= 1
    if old & DIRTY_BITS and not page.flags & lib.PG_anon:
        page.flags |= lib.PG_dirty
        tlb.c.delayed_rmap = 1
    rss[mm_counter(page)] -= 1
    return tlb_remove_page(tlb, entry_pfn(old))
