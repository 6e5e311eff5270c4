# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers that paging depends on, what of them matters to it, and their values after reset.

CR3 with CR4.PCIDE set (SDM table 4-13); bit 63 exists only in the operand of MOV to CR3::

     63  62    52 51        M M-1                          12 11           0
    +---+--------+-----------+-------------------------------+--------------+
    | N |    0   | rsvd (0)  |   address of the PML4 table   |     PCID     |
    +---+--------+-----------+-------------------------------+--------------+
    N: keep what is cached for this PCID.  M is MAXPHYADDR.

PKRU, and IA32_PKRS alike: two bits for each protection key (SDM 4.6.2)::

     31 30 29 28          3   2   1   0
    +--+--+--+--+- ... -+---+---+---+---+      AD  no data access to pages of this key
    |WD|AD|WD|AD|       |WD |AD |WD |AD |      WD  no write (of the supervisor only under CR0.WP)
    +--+--+--+--+- ... -+---+---+---+---+
     key 15 key 14        key 1   key 0

IA32_PAT: eight memory types of 3 bits each, every one in a byte of its own (SDM 12.12.2)::

     63 58  56      18  16 10   8  2   0
    +-----+---+ ... +----+-----+--+----+
    |  0  |PA7|     | PA2|  0  |PA1| 0 | PA0
    +-----+---+ ... +----+-----+--+----+
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from mmu._native import lib

CR0_PE: Final = 1 << 0
CR0_MP: Final = 1 << 1
CR0_ET: Final = 1 << 4
CR0_NE: Final = 1 << 5
"""An x87 exception is vector 16, and no interrupt from outside (SDM 2.5)."""
CR0_WP: Final = 1 << 16
"""Supervisor writes respect R/W too (SDM 2.5)."""
CR0_AM: Final = 1 << 18
CR0_NW: Final = 1 << 29
CR0_CD: Final = 1 << 30
CR0_PG: Final = 1 << 31

CR3_NOFLUSH: Final = 1 << 63
CR3_PCID_MASK: Final = 0xFFF

CR4_TSD: Final = 1 << 2
CR4_PSE: Final = 1 << 4
CR4_PAE: Final = 1 << 5
CR4_PGE: Final = 1 << 7
"""G in a leaf makes its translation global (SDM 4.10.2.4)."""
CR4_LA57: Final = 1 << 12
"""Five levels of tables, addresses of 57 bits (SDM 4.5)."""
CR4_PCIDE: Final = 1 << 17
CR4_SMEP: Final = 1 << 20
"""No supervisor fetch from a user page (SDM 4.6.1)."""
CR4_SMAP: Final = 1 << 21
"""No supervisor data access to a user page, unless RFLAGS.AC (SDM 4.6.1)."""
CR4_PKE: Final = 1 << 22
"""PKRU and the keys of user pages restrict data accesses (SDM 4.6.2)."""
CR4_CET: Final = 1 << 23
"""There are shadow-stack accesses, and pages that allow them (SDM 4.6.1)."""
CR4_PKS: Final = 1 << 24
"""IA32_PKRS and the keys of supervisor pages restrict data accesses (SDM 4.6.2)."""

EFER_SCE: Final = 1 << 0
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_NXE: Final = 1 << 11
"""Bit 63 of an entry is XD; without it the bit is reserved (SDM table 4-19)."""
EFER_TCE: Final = 1 << 15
"""AMD: invalidating an address drops only the upper-level entries that lead to it (APM vol. 2
3.1.7).
"""

RFLAGS_AC: Final = 1 << 18

RESET_CR0: Final = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG
"""Linux's CR0_STATE (arch/x86/include/uapi/asm/processor-flags.h)."""
RESET_CR4: Final = CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_TSD
RESET_EFER: Final = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
RESET_PAT: Final = 0x0007_0406_0007_0406
"""WB, WT, UC-, UC, and the same again (SDM table 12-12)."""
ARCHITECTURAL_MAXPHYADDR: Final = 52


PKR_AD: Final = 1
PKR_WD: Final = 2


class Vendor(IntEnum):
    """Whose rules, where the manuals differ."""

    INTEL = lib.VENDOR_INTEL
    AMD = lib.VENDOR_AMD


class Feature(IntFlag):
    """What a processor has of what CPUID makes optional."""

    NX = lib.FEATURE_NX
    PAGE1GB = lib.FEATURE_PAGE1GB
    PGE = lib.FEATURE_PGE
    PCID = lib.FEATURE_PCID
    INVPCID = lib.FEATURE_INVPCID
    SMEP = lib.FEATURE_SMEP
    SMAP = lib.FEATURE_SMAP
    PKU = lib.FEATURE_PKU
    PKS = lib.FEATURE_PKS
    CET_SS = lib.FEATURE_CET_SS
    LA57 = lib.FEATURE_LA57
    INVLPGB = lib.FEATURE_INVLPGB
    TCE = lib.FEATURE_TCE


class MemoryType(IntEnum):
    """Memory types, by their encodings (SDM table 12-2); UC_MINUS exists in IA32_PAT only."""

    UC = lib.MEMORY_UC
    WC = lib.MEMORY_WC
    WT = lib.MEMORY_WT
    WP = lib.MEMORY_WP
    WB = lib.MEMORY_WB
    UC_MINUS = lib.MEMORY_UC_MINUS


def is_canonical(va: int, levels: int = 4) -> bool:
    """Whether bits 63:47, with 5 levels 63:56, of a 64-bit linear address are all equal (SDM vol. 1
    3.3.7.1).
    """
    unused = 7 if levels == 5 else 16
    return va >> 63 - unused in (0, (1 << unused + 1) - 1)
