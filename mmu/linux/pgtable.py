# SPDX-License-Identifier: GPL-2.0-or-later
"""Reaching, making and changing entries of an mm's page tables (arch/x86/include/asm/pgtable*.h,
v6.18).

A virtual address of 4-level paging names one entry in each of four tables::

     63        48 47     39 38     30 29     21 20     12 11         0
    +------------+---------+---------+---------+---------+------------+
    | sign ext.  |   PGD   |   PUD   |   PMD   |   PTE   |   offset   |
    +------------+---------+---------+---------+---------+------------+
                   level 4   level 3   level 2   level 1

Pointers to entries (``pmd_t *``, ``pte_t *``) are guest-physical addresses here: EntryPa.

What Linux makes of the bits that the processor leaves to software, or that mean something else
while P is 0::

    present:    ... | 9 SPECIAL (no struct page to count: the zero page) | ... | 0 P = 1
    read-only:  ... | 58 SAVED_DIRTY (dirty; D with R/W clear would be a shadow stack's page)
    PROT_NONE:  ... | 8 PROTNONE                                         | ... | 0 P = 0
    guard:      PTE_GUARD_MARKER, the swap entry that MADV_GUARD_INSTALL sets
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.events import EVENT_ID
from mmu.linux.bug import Bug
from mmu.linux.state import MmStruct
from mmu.linux.tracepoint import emit
from mmu.twin import EntryPa
from mmu.units import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, U64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmu._native import struct_page
    from mmu.memory import Memory

PMD_SHIFT: Final = 21
PMD_SIZE: Final = lib.PMD_SIZE
PMD_MASK: Final[int] = ~(PMD_SIZE - 1)
PTRS_PER_PTE: Final = lib.PTRS_PER_PTE
TLB_FLUSH_ALL: Final = lib.TLB_FLUSH_ALL

P: Final = lib.X86_P
RW: Final = lib.X86_RW
US: Final = lib.X86_US
A: Final = lib.X86_A
D: Final = lib.X86_D
PS: Final = lib.X86_PS
G: Final = lib.X86_G
XD: Final = lib.X86_XD
PROTNONE: Final = lib._PAGE_PROTNONE
SPECIAL: Final = lib._PAGE_SPECIAL
SAVED_DIRTY: Final = lib._PAGE_SAVED_DIRTY
DIRTY_BITS: Final = lib._PAGE_DIRTY_BITS
TABLE: Final = lib._PAGE_TABLE
PTE_GUARD_MARKER: Final = lib.PTE_GUARD_MARKER
ADDR_MASK: Final = lib.X86_ADDR_MASK

_SET_PTE: Final = EVENT_ID["set_pte"]
_SET_PMD: Final = EVENT_ID["set_pmd"]
_RSS_STAT: Final = EVENT_ID["rss_stat"]


def pmd_none(value: int) -> bool:
    """Whether a PMD entry refers to nothing."""
    return value == 0


def pmd_huge(value: int) -> bool:
    """Whether an entry maps a large page itself (PS set) instead of referring to a table. P is
    clear while it is being split (mmu.linux.huge_memory).
    """
    return value & PS != 0


def pte_of_huge_pmd(pmdval: int, addr: int) -> int:
    """What addr's PTE would be if the huge PMD of this value were split.

    ::

        63 62     59 58          57  52 51     21 20      12 11   8  7   6 5 4 ... 0
        +--+--------+-----------+------+---------+----------+------+---+---+-+-------+
        |XD|        |SAVED_DIRTY|      |  frame  |    0     |      |PS |D  |A|  ... P|  PMD
        |XD|        |SAVED_DIRTY|      |  frame  | of addr  |      |PAT|D  |A|  ... P|  PTE
        +--+--------+-----------+------+---------+----------+------+---+---+-+-------+
    """
    return pmdval & ~PS | addr & PMD_SIZE - PAGE_SIZE


def not_none(memory: Memory, pte: int, nr: int) -> Iterator[int]:
    """Which of nr PTEs from guest-physical pte on are not none, from 0 up; each is looked at when
    it is asked for.
    """
    at = 0
    while at < nr:
        at += memory.nr_zero_words(pte + at * 8, nr - at)
        if at < nr:
            yield at
            at += 1


def pte_none(value: int) -> bool:
    """Whether a PTE holds nothing at all: no page, no swap entry, no marker. It then counts no
    reference.
    """
    return value == 0


def pte_present(value: int) -> bool:
    """Whether a PTE maps a frame, if only for the kernel (PROT_NONE pages are present to Linux)."""
    return value & (P | PROTNONE) != 0


def pte_mksaveddirty(value: int) -> int:
    """A present PTE's value with its dirtiness where it belongs: in D if R/W is set, in SAVED_DIRTY
    if not (pte_mksaveddirty(), pte_clear_saveddirty()).
    """
    if not value & DIRTY_BITS:
        return value
    return value & ~DIRTY_BITS | (D if value & RW else SAVED_DIRTY)


def pte_wrprotect(value: int) -> int:
    """A present PTE's value without the right to write; what is dirty stays dirty."""
    return pte_mksaveddirty(value & ~RW)


def is_guard_pte_marker(value: int) -> bool:
    """Whether a PTE is the marker of a guard region: an access there is SIGSEGV (mm/madvise.c)."""
    return value == PTE_GUARD_MARKER


def mm_counter(page: struct_page) -> int:
    """The ``rss_stat`` member that a mapped page counts in: anonymous, shared memory or file
    (mm_counter_file()).
    """
    if page.flags & lib.PG_anon:
        return lib.MM_ANONPAGES
    return lib.MM_SHMEMPAGES if page.flags & lib.PG_swapbacked else lib.MM_FILEPAGES


def entry_pfn(value: int) -> int:
    """The frame that an entry refers to (bits 51:12)."""
    return (value & ADDR_MASK) >> PAGE_SHIFT


def entry_offset(addr: int, level: int) -> int:
    """Byte offset of addr's entry in its table of this level (1 PTE .. 4 PGD)."""
    return (addr >> (12 + 9 * (level - 1)) & 511) * 8


def level_size(level: int) -> int:
    """The bytes that one entry of a table of this level reaches: 4 KiB, 2 MiB, 1 GiB, 512 GiB."""
    return 1 << PAGE_SHIFT + 9 * (level - 1)


def addr_end(addr: int, end: int, level: int) -> int:
    """The end of the reach of level's entry for addr, or end if that is nearer (pmd_addr_end() and
    kin).
    """
    size = 1 << (12 + 9 * (level - 1))
    return min((addr + size) & -size, end)


def table_page(mm: MmStruct, entry: int) -> struct_page:
    """The ``struct page`` of the table in which the entry at this address lies."""
    return mm.memory.page(entry >> PAGE_SHIFT)


def pte_offset(pmdval: int, addr: int) -> EntryPa:
    """Address of addr's PTE in the table that the PMD value refers to (pte_offset_map())."""
    return EntryPa((pmdval & ADDR_MASK) + entry_offset(addr, 1))


def table_entry(table: int, addr: int) -> EntryPa:
    """Address of addr's PTE in the PTE table in frame ``table``."""
    return EntryPa((table << PAGE_SHIFT) + entry_offset(addr, 1))


def pte_table(pte: EntryPa) -> int:
    """The frame of the PTE table that an entry lies in."""
    return pte >> PAGE_SHIFT


def xchg_pmd(mm: MmStruct, addr: int, pmd: EntryPa, value: int, site: str = "") -> int:
    """Exchange the PMD entry of addr atomically (hardware may set A at the same time); returns what
    it was. The PMD lock is held. ``site`` as emit()'s.
    """
    old = mm.memory.xchg_u64(pmd, value)
    emit(mm.kernel, _SET_PMD, addr & PMD_MASK, old, value, pmd, site)
    return old


def table_is_empty(memory: Memory, table: int) -> bool:
    """Whether all 512 entries of the table at this guest-physical address are none."""
    return not any(memory.read(table, PAGE_SIZE))


def mm_find_pmd(mm: MmStruct, addr: int) -> EntryPa | None:
    """Return the address of addr's PMD entry; None where its PUD or PMD table is missing."""
    table = mm.c.pgd
    for level in (4, 3):
        entry = mm.memory.read_u64(table + entry_offset(addr, level))
        if not entry & P:
            return None
        table = entry & ADDR_MASK
    return EntryPa(table + entry_offset(addr, 2))


def pmd_address(mm: MmStruct, pmd: EntryPa, addr: int) -> int:
    """An address that the entry at pmd, whose PTE table is held, maps: addr, unless that table was
    moved since it was looked up for addr (mremap()); then pmd is searched for in all of the tree.
    """
    if mm_find_pmd(mm, addr) == pmd:
        return addr
    for pgd in range(0, 1 << 47, level_size(4)):
        pgdval = mm.memory.read_u64(mm.c.pgd + entry_offset(pgd, 4))
        if not pgdval & P:
            continue
        for pud in range(pgd, pgd + level_size(4), level_size(3)):
            pudval = mm.memory.read_u64((pgdval & ADDR_MASK) + entry_offset(pud, 3))
            if pudval & P and entry_pfn(pudval) == pmd >> PAGE_SHIFT:
                return pud + pmd // 8 % 512 * PMD_SIZE
    return addr


def has_pud_table(mm: MmStruct, addr: int) -> bool:
    """Whether the PML4 entry of addr refers to a table."""
    return bool(mm.memory.read_u64(mm.c.pgd + entry_offset(addr, 4)) & P)


def hole_end(mm: MmStruct, addr: int, end: int) -> int:
    """The end of the span below which addr has no PMD table: the missing entry's reach, or end."""
    return addr_end(addr, end, 3 if has_pud_table(mm, addr) else 4)


def set_pte_at(mm: MmStruct, addr: int, pte: EntryPa, value: int) -> None:
    """Write the PTE of addr that lies at pte. The PTE lock is held; counts are the caller's to
    keep.
    """
    emit(mm.kernel, _SET_PTE, addr & PAGE_MASK, mm.memory.read_u64(pte), value, pte)
    mm.memory.write_u64(pte, value)


def ptep_get_and_clear(mm: MmStruct, addr: int, pte: EntryPa) -> int:
    """Exchange the PTE of addr with none atomically (hardware may set A or D at the same time);
    returns what it was. The PTE lock is held.
    """
    old = mm.memory.xchg_u64(pte, 0)
    emit(mm.kernel, _SET_PTE, addr & PAGE_MASK, old, 0, pte)
    return old


def pte_cmpxchg(mm: MmStruct, addr: int, pte: EntryPa, old: int, value: int) -> bool:
    """Change the PTE of addr from old to value atomically; False, and nothing is done, if hardware
    has set A or D meanwhile. The PTE lock is held.
    """
    if not mm.memory.cmpxchg_u64(pte, old, value):
        return False
    emit(mm.kernel, _SET_PTE, addr & PAGE_MASK, old, value, pte)
    return True


def ptep_set_wrprotect(mm: MmStruct, addr: int, pte: EntryPa) -> int:
    """Take W from the present PTE of addr atomically; returns what it is now. The PTE lock is
    held.
    """
    while True:
        old = mm.memory.read_u64(pte)
        value = pte_wrprotect(old)
        if pte_cmpxchg(mm, addr, pte, old, value):
            return value


def vm_page_prot(vm_flags: int) -> int:
    """The PTE bits of a present page in a VMA of these flags, without W for private ones, without
    D.

    protection_map[] of arch/x86/mm/pgprot.c: A is set at once, XD unless VM_EXEC.
    """
    if not vm_flags & (lib.VM_READ | lib.VM_WRITE | lib.VM_EXEC):
        return A | PROTNONE | XD
    prot = A | P | US
    if vm_flags & lib.VM_WRITE and vm_flags & lib.VM_SHARED:
        prot |= RW
    return prot if vm_flags & lib.VM_EXEC else prot | XD


def add_mm_counter(mm: MmStruct, member: int, nr: int) -> None:
    """Add nr pages to ``rss_stat[member]`` (MM_FILEPAGES ..), and keep hiwater_rss."""
    rss_stat = mm.c.rss_stat
    rss_stat[member] += nr
    if rss_stat[member] < 0:
        mm.kernel.bug(Bug.RSS_NEGATIVE)
    emit(mm.kernel, _RSS_STAT, mm.c.pgd, member, rss_stat[member] & U64)
    rss = rss_stat[lib.MM_FILEPAGES] + rss_stat[lib.MM_ANONPAGES] + rss_stat[lib.MM_SHMEMPAGES]
    if nr > 0 and rss > mm.c.hiwater_rss:
        mm.c.hiwater_rss = rss
