# SPDX-License-Identifier: GPL-2.0-or-later
"""Paging-structure caches: walks that need not begin at CR3 (SDM 4.10.3).

An entry of level L stands for the table-referencing entries from the top level down to L on the way
to an address. It keeps the address of the table that the walk reads next, and the combined rights
so far::

    level   SDM's name       tag            leads to        the walk then reads
      5     (with LA57)      va[56:48]      a PML4 table   PML4E, PDPTE, PDE, PTE
      4     PML4-entry cache va[47:39]      a PDPT          PDPTE, PDE, PTE
      3     PDPTE cache      va[47:30]      a page directory     PDE, PTE
      2     PDE cache        va[47:21]      a page table              PTE

The deepest hit wins. Entries are made only from entries with P and A set and no reserved bit, are
tagged with the PCID and are never global. An array may hold nothing else, or pages too (AMD keeps
PDEs in its second-level data TLB). They outlive a change of the tables as TLB entries do, and an
entry to a table that was freed leads the walk into whatever its frame holds by then.

native/x86/caches.c is the same in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmu._native import lib
from mmu.x86.entries import X86_ADDR_MASK, vpn_of
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    DROP_ANY_PCID,
    TLB_PSC,
    TLB_RW,
    TLB_TABLE,
    TLB_US,
    TLB_VALID,
    TLB_XD,
    NewEntry,
    arrays_of,
    flags_of,
    take_out,
    tlb_fill_table,
    tlb_find_table,
)
from mmu.x86.walk import Rights, Walk, WalkStart, start_at_cr3

if TYPE_CHECKING:
    from mmu._native import struct_tlb_entry


def psc_start(u: Unit, va: int) -> tuple[WalkStart, struct_tlb_entry | None]:
    """Where a walk for va may begin, and the cache entry that this rests on (None: it begins at
    CR3).
    """
    for level in range(2, u.top_level + 1):
        entry = tlb_find_table(u, va, level)
        if entry is not None:
            flags = entry.flags
            rights = Rights(bool(flags & TLB_RW), bool(flags & TLB_US), bool(flags & TLB_XD))
            return WalkStart(entry.frame, level - 1, rights, entry.table_gen), entry
    return start_at_cr3(u), None


def psc_fill(u: Unit, walk: Walk, start: WalkStart) -> None:
    """Enter the table-referencing entries that a completed walk read, topmost first."""
    rights = start.rights
    for level in range(walk.top_level, walk.level, -1):
        entry = walk.entry[level]
        rights = rights.combine(entry)
        new = NewEntry(
            vpn=vpn_of(walk.va, level),
            frame=entry & X86_ADDR_MASK,
            table_gen=start.table_gen,
            pcid=u.pcid,
            flags=TLB_VALID | TLB_TABLE | flags_of(rights),
            level=level,
        )
        tlb_fill_table(u, new)


def _entries(u: Unit, pcid: int | None = None) -> list[struct_tlb_entry]:
    entries = u.c.tlb.entry
    return [
        entries[number]
        for _, array in arrays_of(u, TLB_PSC)
        for number in range(array.first, array.first + array.sets * array.ways)
        if entries[number].flags & TLB_TABLE and pcid in (None, entries[number].pcid)
    ]


def psc_drop_address(u: Unit, va: int, pcid: int) -> None:
    """Drop the entries of a PCID that a walk for va would use."""
    if u.c.check:
        lib.check_drop_tables(u.c, va, True, pcid, 0)
    for entry in _entries(u, pcid):
        if entry.vpn == vpn_of(va, entry.level):
            take_out(u, entry)


def psc_drop_context(u: Unit, pcid: int) -> None:
    """Drop every entry of a PCID: INVLPG does, whatever its address (SDM 4.10.4.1)."""
    if u.c.check:
        lib.check_drop_tables(u.c, 0, False, pcid, 0)
    for entry in _entries(u, pcid):
        take_out(u, entry)


def psc_drop_any(u: Unit, va: int, only_va: bool) -> None:
    """Drop the entries of every PCID; only those that a walk for va would use, if that is all
    (INVLPGB).
    """
    if u.c.check:
        lib.check_drop_tables(u.c, va, only_va, 0, DROP_ANY_PCID)
    for entry in _entries(u):
        if not only_va or entry.vpn == vpn_of(va, entry.level):
            take_out(u, entry)
