# SPDX-License-Identifier: GPL-2.0-or-later
"""Paging-structure caches: walks that need not begin at CR3 (SDM 4.10.3).

An entry of level L stands for the table-referencing entries from the top level down to L on the way to an
address. It keeps the address of the table that the walk reads next, and the combined rights so far::

    level   SDM's name       tag            leads to        the walk then reads
      5     (with LA57)      va[56:48]      a PML4 table   PML4E, PDPTE, PDE, PTE
      4     PML4-entry cache va[47:39]      a PDPT          PDPTE, PDE, PTE
      3     PDPTE cache      va[47:30]      a page directory     PDE, PTE
      2     PDE cache        va[47:21]      a page table              PTE

The deepest hit wins. Entries are made only from entries with P and A set and no reserved bit, are tagged with
the PCID and are never global. An array may hold nothing else, or pages too (AMD keeps PDEs in its second-level
data TLB). They outlive a change of the tables as TLB entries do, and an entry to a
table that was freed leads the walk into whatever its frame holds by then.

native/x86/caches.c is the same in C.
"""

from __future__ import annotations

from typing import Any

from mmu.x86.entries import X86_ADDR_MASK, vpn_of
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    TLB_PSC,
    TLB_RW,
    TLB_TABLE,
    TLB_US,
    TLB_VALID,
    TLB_XD,
    NewEntry,
    arrays_of,
    tlb_fill_table,
    tlb_find_table,
)
from mmu.x86.walk import Walk, WalkStart, start_at_cr3, top_level


def psc_start(u: Unit, va: int) -> tuple[WalkStart, Any | None]:
    """Where a walk for va may begin, and the cache entry that this rests on (None: it begins at CR3)."""
    for level in range(2, top_level(u) + 1):
        entry = tlb_find_table(u, va, level)
        if entry is not None:
            flags = entry.flags
            rights, xd = flags & (TLB_RW | TLB_US), bool(flags & TLB_XD)
            return WalkStart(entry.frame, level - 1, rights, xd, entry.table_gen), entry
    return start_at_cr3(u), None


def psc_fill(u: Unit, walk: Walk, start: WalkStart) -> None:
    """Enter the table-referencing entries that a completed walk read, topmost first."""
    rights, xd = start.rights, start.xd
    for level in range(walk.top_level, walk.level, -1):
        entry = walk.entry[level]
        rights &= entry
        xd |= bool(entry >> 63)
        new = NewEntry(
            vpn=vpn_of(walk.va, level),
            frame=entry & X86_ADDR_MASK,
            table_gen=start.table_gen,
            pcid=u.pcid,
            flags=TLB_VALID | TLB_TABLE | rights | (TLB_XD if xd else 0),
            level=level,
        )
        tlb_fill_table(u, new)


def _entries(u: Unit, pcid: int) -> list[Any]:
    tlb = u.c.tlb
    return [
        tlb.entry[number]
        for _, array in arrays_of(u, TLB_PSC)
        for number in range(array.first, array.first + array.sets * array.ways)
        if tlb.entry[number].flags & TLB_TABLE and tlb.entry[number].pcid == pcid
    ]


def psc_drop_address(u: Unit, va: int, pcid: int) -> None:
    """Drop the entries of a PCID that a walk for va would use."""
    for entry in _entries(u, pcid):
        if entry.vpn == vpn_of(va, entry.level):
            entry.flags = 0


def psc_drop_context(u: Unit, pcid: int) -> None:
    """Drop every entry of a PCID: INVLPG does, whatever its address (SDM 4.10.4.1)."""
    for entry in _entries(u, pcid):
        entry.flags = 0
