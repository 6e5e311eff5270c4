# SPDX-License-Identifier: GPL-2.0-or-later
"""The registers that paging depends on, what of them matters to it, and their values after reset.

CR3 with CR4.PCIDE set (SDM table 4-13); bit 63 exists only in the operand of MOV to CR3::

     63  62    52 51        M M-1                          12 11           0
    +---+--------+-----------+-------------------------------+--------------+
    | N |    0   | rsvd (0)  |   address of the PML4 table   |     PCID     |
    +---+--------+-----------+-------------------------------+--------------+
    N: keep what is cached for this PCID.  M is MAXPHYADDR.
"""

from __future__ import annotations

from typing import Final

CR0_PE: Final = 1 << 0
CR0_WP: Final = 1 << 16
"""Supervisor writes respect R/W too (SDM 2.5)."""
CR0_PG: Final = 1 << 31

CR3_NOFLUSH: Final = 1 << 63
CR3_PCID_MASK: Final = 0xFFF

CR4_TSD: Final = 1 << 2
CR4_PAE: Final = 1 << 5
CR4_PGE: Final = 1 << 7
"""G in a leaf makes its translation global (SDM 4.10.2.4)."""
CR4_LA57: Final = 1 << 12
"""Five levels of tables (SDM 4.5)."""
CR4_PCIDE: Final = 1 << 17
CR4_SMEP: Final = 1 << 20
"""No supervisor fetch from a user page (SDM 4.6.1)."""
CR4_SMAP: Final = 1 << 21
"""No supervisor data access to a user page, unless RFLAGS.AC (SDM 4.6.1)."""

EFER_SCE: Final = 1 << 0
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_NXE: Final = 1 << 11
"""Bit 63 of an entry is XD; without it the bit is reserved (SDM table 4-19)."""

RFLAGS_AC: Final = 1 << 18

RESET_CR0: Final = CR0_PE | CR0_WP | CR0_PG
RESET_CR4: Final = CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_TSD
RESET_EFER: Final = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
DEFAULT_MAXPHYADDR: Final = 46
ARCHITECTURAL_MAXPHYADDR: Final = 52


def is_canonical(va: int) -> bool:
    """Whether bits 63:47 of a 64-bit linear address are all equal (SDM vol. 1 3.3.7.1)."""
    return va >> 47 in (0, 0x1FFFF)
