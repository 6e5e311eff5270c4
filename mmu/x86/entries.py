# SPDX-License-Identifier: GPL-2.0-or-later
"""Paging-structure entries: their bits, which of them are reserved, and their text.

The entry of every level (SDM figure 4-11)::

     63 62    59 58    52 51      M M-1                12 11  9 8  7  6 5  4   3   2   1   0
    +--+--------+--------+---------+--------------------+-----+-+---+-+-+---+---+---+---+---+
    |XD| PK/ign | ignored|rsvd (0) | physical address   | ign |G|PS |D|A|PCD|PWT|U/S|R/W| P |
    +--+--------+--------+---------+--------------------+-----+-+---+-+-+---+---+---+---+---+
    M is MAXPHYADDR.  Bit 7 is PS in a PDPTE or PDE, PAT in a PTE, reserved in a PML4E or PML5E.
    PK, G and D are ignored where the entry refers to a table (AMD reserves bit 8 of a PML4E and
    PML5E). With P = 0 no other bit has a meaning.

The linear address that selects one entry in each of the tables (SDM figures 4-8 and 4-11)::

     63      57 56     48 47     39 38     30 29     21 20     12 11          0
    +----------+---------+---------+---------+---------+---------+-------------+
    |copies of |  PML5   |  PML4   |  PDPT   |   PD    |   PT    |   offset    |
    | bit 56   |  index  |  index  |  index  |  index  |  index  |             |
    +----------+---------+---------+---------+---------+---------+-------------+
       level        5         4         3         2         1

With 4 levels (CR4.LA57 clear) bits 63:48 are copies of bit 47.
"""

from __future__ import annotations

from typing import Final

from mmu.units import PAGE_SHIFT

X86_P: Final = 1 << 0
X86_RW: Final = 1 << 1
X86_US: Final = 1 << 2
X86_PWT: Final = 1 << 3
X86_PCD: Final = 1 << 4
X86_A: Final = 1 << 5
X86_D: Final = 1 << 6
X86_PS: Final = 1 << 7
X86_PAT: Final = 1 << 7
X86_PAT_LARGE: Final = 1 << 12
"""PAT of a 2 MiB or 1 GiB leaf, whose bit 7 is PS."""
X86_G: Final = 1 << 8
X86_PK_SHIFT: Final = 59
"""Bits 62:59 of a leaf: its protection key (SDM 4.6.2)."""
X86_XD: Final = 1 << 63
X86_ADDR_MASK: Final = 0x000F_FFFF_FFFF_F000

LEVEL_NAMES: Final = {5: "PML5E", 4: "PML4E", 3: "PDPTE", 2: "PDE", 1: "PTE"}
SIZE_NAMES: Final = {1: "4 KiB", 2: "2 MiB", 3: "1 GiB"}

_FLAG_NAMES: Final = (
    (X86_P, "P"),
    (X86_RW, "R/W"),
    (X86_US, "U/S"),
    (X86_PWT, "PWT"),
    (X86_PCD, "PCD"),
    (X86_A, "A"),
    (X86_D, "D"),
    (X86_G, "G"),
    (X86_XD, "XD"),
)


def entry_offset(va: int, level: int) -> int:
    """Byte offset of va's entry in its table of that level."""
    return (va >> (PAGE_SHIFT + 9 * (level - 1)) & 511) * 8


def level_size(level: int) -> int:
    """Bytes that a leaf of that level maps: 4 KiB, 2 MiB, 1 GiB."""
    return 1 << (PAGE_SHIFT + 9 * (level - 1))


def vpn_of(va: int, level: int) -> int:
    """The number (in units of 4 KiB) of the first page that va's entry of that level maps or leads
    to.
    """
    shift = 9 * (level - 1)
    return va >> PAGE_SHIFT >> shift << shift


def is_leaf(entry: int, level: int) -> bool:
    """Whether a present entry maps a page itself instead of referring to a table."""
    return level == 1 or (level <= 3 and bool(entry & X86_PS))


def reserved_always(maxphyaddr: int, nxe: bool) -> int:
    """Bits that must be 0 in a present entry of any level (SDM table 4-19): 51:M, and XD without
    EFER.NXE.
    """
    reserved = X86_ADDR_MASK & -(1 << maxphyaddr)
    return reserved if nxe else reserved | X86_XD


def reserved_bits(
    entry: int, level: int, maxphyaddr: int, nxe: bool, *, page1gb: bool = True, amd: bool = False
) -> int:
    """Bits that must be 0 in this present entry (SDM table 4-19).

    Besides those of every level: PS in a PML5E or PML4E, on AMD bit 8 too (APM vol. 2 5.3.3); PS in
    a PDPTE of a processor without 1-GiB pages; in a large leaf the address bits below its size,
    except bit 12, its PAT.
    """
    reserved = reserved_always(maxphyaddr, nxe)
    if level >= 4:
        return reserved | X86_PS | (X86_G if amd else 0)
    if level == 1 or not entry & X86_PS:
        return reserved
    if level == 3 and not page1gb:
        return reserved | X86_PS
    return reserved | (level_size(level) - 1) & X86_ADDR_MASK & ~X86_PAT_LARGE


def pkey_of(leaf: int) -> int:
    """The protection key of a leaf, 0 to 15 (SDM 4.6.2)."""
    return leaf >> X86_PK_SHIFT & 15


def pat_index_of(leaf: int, level: int) -> int:
    """The index into IA32_PAT that a leaf gives, 0 to 7: PAT, PCD, PWT (SDM 4.9.2)."""
    pat = bool(leaf & (X86_PAT if level == 1 else X86_PAT_LARGE))
    return pat << 2 | bool(leaf & X86_PCD) << 1 | bool(leaf & X86_PWT)


def entry_flags(entry: int, level: int) -> list[str]:
    """The names of the bits that are set in a present entry, P first; of a leaf's also PAT and its
    protection key, as PK=5.
    """
    flags = [name for bit, name in _FLAG_NAMES if entry & bit]
    if is_leaf(entry, level):
        if level > 1:
            flags.append("PS")
        if entry & (X86_PAT if level == 1 else X86_PAT_LARGE):
            flags.append("PAT")
        if pkey := pkey_of(entry):
            flags.append(f"PK={pkey}")
    return flags


def leads_to(entry: int, level: int) -> int:
    """The guest-physical address of the table or page that a present entry refers to."""
    size = level_size(level) if is_leaf(entry, level) else 1 << PAGE_SHIFT
    return entry & X86_ADDR_MASK & -size


def describe_entry(entry: int, level: int) -> str:
    """One line about an entry: its value, its flags, and where it leads."""
    if not entry & X86_P:
        return f"{entry:#018x}  not present"
    flags = " ".join(flag for flag in entry_flags(entry, level) if flag != "PS")
    to = f"{SIZE_NAMES[level]} page" if is_leaf(entry, level) else "table"
    return f"{entry:#018x}  {flags} -> {to} {leads_to(entry, level):#x}"
