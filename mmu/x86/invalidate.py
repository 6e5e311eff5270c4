# SPDX-License-Identifier: GPL-2.0-or-later
"""What invalidates translations: INVLPG, INVPCID, INVLPGB, and writes of registers (SDM 4.10.4.1,
APM vol. 2 5.5).

====================== =========================== ===================== =========================
operation              TLB entries                 global ones           paging-structure cache
                                                                         entries
====================== =========================== ===================== =========================
INVLPG                 the page's, current PCID    the page's, any PCID  all of current PCID
with EFER.TCE (AMD)    the same                    the same              the address's,
                                                                         current PCID
INVPCID 0              the page's, PCID named      no                    the address's
INVPCID 1              all of the PCID named       no                    all of the PCID
INVPCID 2              all                         yes                   all
INVPCID 3              all                         no                    all
INVLPGB                by its operands: the pages', or all; of a PCID, or any; global ones too, or
                       not; the paging-structure caches as INVLPG, unless "final translation only"
MOV CR3, bit 63 clear  all of the new PCID         no                    all of the PCID
MOV CR3, bit 63 set    none (only under CR4.PCIDE) no                    none
CR4.PGE changes        all                         yes                   all
CR4.PCIDE 1 to 0       all                         yes                   all
CR4.PAE changes, Intel all of the current PCID     of the current PCID   all of the PCID
CR4.SMEP 0 to 1, Intel all of the current PCID     of the current PCID   all of the PCID
CR4.PAE or PSE, AMD    all                         yes                   all
CR0.PG 1 to 0          all                         yes                   all
CR0.PG 0 to 1, AMD     all                         yes                   all
====================== =========================== ===================== =========================

Each also puts on the soft-flush list what a consumer of translations must drop: it holds those of
the current PCID only. The register writes themselves are in control.py. native/x86/invalidate.c
is the same in C.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.units import U64
from mmu.x86.caches import psc_drop_address, psc_drop_any, psc_drop_context
from mmu.x86.entries import level_size
from mmu.x86.registers import CR3_PCID_MASK, CR4_PCIDE, EFER_TCE, Feature
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    DROP_ANY_PCID,
    DROP_GLOBAL,
    mmu_soft_flush,
    tlb_drop_address,
    tlb_drop_context,
)
from mmu.x86.walk import Outcome

_INVLPG: Final = EVENT_ID["invlpg"]
_INVPCID: Final = EVENT_ID["invpcid"]
_INVLPGB: Final = EVENT_ID["invlpgb"]
_TLB_FLUSH_ALL: Final = EVENT_ID["tlb_flush_all"]
_TLB_INVALIDATIONS: Final = COUNTER_ID["tlb_invalidations"]
_EVERYTHING: Final[int] = lib.SOFT_FLUSH_MAX + 1

INVLPGB_VA: Final = 1 << 0
"""rAX: bits 63:12 hold an address; else everything of the PCID goes (APM vol. 3 INVLPGB, for all of
these).
"""
INVLPGB_PCID: Final = 1 << 1
"""rAX: only the PCID in EDX[27:16]; else any."""
INVLPGB_ASID: Final = 1 << 2
"""rAX: only the ASID in EDX[15:0]; else any. What this processor has is of ASID 0, the host's."""
INVLPGB_GLOBAL: Final = 1 << 3
"""rAX: global translations too."""
INVLPGB_FINAL_ONLY: Final = 1 << 4
"""rAX: leave the paging-structure caches alone."""
INVLPGB_NESTED: Final = 1 << 5
"""rAX: nested translations too; there are none here."""
INVLPGB_STRIDE_2M: Final = 1 << 31
"""ECX: the pages are 2 MiB apart instead of 4 KiB."""
INVLPGB_COUNT_MAX: Final = 7
"""The most that ECX[15:0], the number of pages after the first, may be: CPUID Fn8000_0008_EDX[15:0]
of Zen 3.
"""
_INVLPGB_RESERVED: Final = 0xFC0


def forget_everything(u: Unit) -> None:
    """Name everything in the list of what a consumer must forget."""
    mmu_soft_flush(u, 0, _EVERYTHING)


def _forget_page_of(u: Unit, va: int) -> None:
    """va's page, whose size the tables may no longer tell: everything, if any page was large."""
    if u.c.large:
        forget_everything(u)
    else:
        mmu_soft_flush(u, va, 1)


def drop_all(u: Unit, what: int) -> None:
    """Drop every entry of every PCID; what is DROP_GLOBAL or 0. Counted, with its event."""
    u.emit(_TLB_FLUSH_ALL, 1 if what & DROP_GLOBAL else 0)
    u.count(_TLB_INVALIDATIONS)
    tlb_drop_context(u, 0, what | DROP_ANY_PCID)
    forget_everything(u)


def _drop_upper(u: Unit, va: int, pcid: int) -> None:
    """The paging-structure caches that an invalidation of va's page drops: all of the PCID's, or
    with TCE va's.
    """
    if u.c.efer & EFER_TCE:
        psc_drop_address(u, va, pcid)
    else:
        psc_drop_context(u, pcid)


def mmu_invlpg(u: Unit, va: int) -> None:
    """INVLPG; a NOP if va is not canonical (SDM vol. 2A, INVLPG)."""
    if not u.canonical(va):
        return
    pcid = u.pcid
    u.emit(_INVLPG, va)
    u.count(_TLB_INVALIDATIONS)
    tlb_drop_address(u, va, pcid, DROP_GLOBAL)
    _drop_upper(u, va, pcid)
    _forget_page_of(u, va)


def mmu_invpcid(u: Unit, kind: int, pcid: int, va: int) -> Outcome:
    """INVPCID of type ``kind`` (SDM vol. 2A, INVPCID); ``pcid`` is the descriptor's low quadword.

    GENERAL_PROTECTION, and nothing else, for an unknown type, a set bit among the descriptor's
    63:12, a PCID other than 0 in types 0 and 1 without CR4.PCIDE, or a non-canonical address in
    type 0. INVALID_OPCODE on a processor without INVPCID.
    """
    if not u.has(Feature.INVPCID):
        return Outcome.INVALID_OPCODE
    if kind > 3 or pcid & ~CR3_PCID_MASK:
        return Outcome.GENERAL_PROTECTION
    if kind <= 1 and pcid and not u.c.cr4 & CR4_PCIDE:
        return Outcome.GENERAL_PROTECTION
    if kind == 0 and not u.canonical(va):
        return Outcome.GENERAL_PROTECTION
    u.emit(_INVPCID, kind, pcid, va)
    if kind == 0:
        _invpcid_address(u, pcid, va)
    elif kind == 1:
        _invpcid_context(u, pcid)
    else:
        drop_all(u, DROP_GLOBAL if kind == 2 else 0)
    return Outcome.OK


def _invpcid_address(u: Unit, pcid: int, va: int) -> None:
    u.count(_TLB_INVALIDATIONS)
    tlb_drop_address(u, va, pcid, 0)
    psc_drop_address(u, va, pcid)
    if pcid == u.pcid:
        _forget_page_of(u, va)


def _invpcid_context(u: Unit, pcid: int) -> None:
    u.count(_TLB_INVALIDATIONS)
    tlb_drop_context(u, pcid, 0)
    if pcid == u.pcid:
        forget_everything(u)


def mmu_invlpgb(u: Unit, rax: int, ecx: int, edx: int) -> Outcome:
    """INVLPGB (APM vol. 3): what it does to the processor that executes it.

    Its operands, INVLPGB_* naming the bits::

        rAX  63                        12 11      6  5  4  3  2  1  0
            +----------------------------+---------+--+--+--+--+--+--+
            |       virtual address      | 0 (MBZ) |NT|FO|G |AS|PC|VA|
            +----------------------------+---------+--+--+--+--+--+--+
        ECX  31: stride is 2 MiB; 15:0: pages after the first      EDX  27:16 PCID; 15:0 ASID

    GENERAL_PROTECTION for a reserved bit, too many pages, or a PCID other than 0 without CR4.PCIDE;
    INVALID_OPCODE on a processor without INVLPGB.
    """
    asid, pcid, count = edx & 0xFFFF, edx >> 16, ecx & 0xFFFF
    if not u.has(Feature.INVLPGB):
        return Outcome.INVALID_OPCODE
    too_many = rax & INVLPGB_VA and count > INVLPGB_COUNT_MAX
    if rax & _INVLPGB_RESERVED or pcid > CR3_PCID_MASK or too_many:
        return Outcome.GENERAL_PROTECTION
    if rax & INVLPGB_PCID and pcid and not u.c.cr4 & CR4_PCIDE:
        return Outcome.GENERAL_PROTECTION
    u.emit(_INVLPGB, rax, ecx, edx)
    if rax & INVLPGB_ASID and asid:
        return Outcome.OK
    u.count(_TLB_INVALIDATIONS)
    if not rax & INVLPGB_VA:
        tlb_drop_context(u, pcid, _invlpgb_what(rax))
        forget_everything(u)
        return Outcome.OK
    stride = level_size(2 if ecx & INVLPGB_STRIDE_2M else 1)
    for i in range(count + 1):
        _invlpgb_page(u, rax, pcid, (rax & -4096) + i * stride & U64)
    return Outcome.OK


def _invlpgb_what(rax: int) -> int:
    return (DROP_GLOBAL if rax & INVLPGB_GLOBAL else 0) | (
        0 if rax & INVLPGB_PCID else DROP_ANY_PCID
    )


def _invlpgb_page(u: Unit, rax: int, pcid: int, va: int) -> None:
    if not u.canonical(va):
        return
    tlb_drop_address(u, va, pcid, _invlpgb_what(rax))
    if not rax & INVLPGB_FINAL_ONLY:
        if rax & INVLPGB_PCID:
            _drop_upper(u, va, pcid)
        else:
            psc_drop_any(u, va, bool(u.c.efer & EFER_TCE))
    if not rax & INVLPGB_PCID or rax & INVLPGB_GLOBAL or pcid == u.pcid:
        _forget_page_of(u, va)


def mmu_flush_all(u: Unit) -> None:
    """Drop every entry, global ones too."""
    drop_all(u, DROP_GLOBAL)


def mmu_tables_changed(u: Unit) -> None:
    """Entries of tables changed without a flush: consumers must ask again, the model keeps what it
    has.
    """
    u.c.table_gen += 1
    forget_everything(u)
