# SPDX-License-Identifier: GPL-2.0-or-later
"""What invalidates translations: INVLPG, INVPCID, and MOV to CR3, CR4 and CR0 (SDM 4.10.4.1).

======================== ============================== ========================== ===================
operation                TLB entries                    global ones                paging-structure
                                                                                   cache entries
======================== ============================== ========================== ===================
INVLPG                   the page's, current PCID       the page's, any PCID       all of current PCID
INVPCID 0                the page's, PCID named         no                         the address's
INVPCID 1                all of the PCID named          no                         all of the PCID
INVPCID 2                all                            yes                        all
INVPCID 3                all                            no                         all
MOV CR3, bit 63 clear    all of the new PCID            no                         all of the PCID
MOV CR3, bit 63 set      none (only under CR4.PCIDE)    no                         none
CR4.PGE changes          all                            yes                        all
CR4.PCIDE 1 to 0         all                            yes                        all
CR4.PAE changes          all of the current PCID        of the current PCID        all of the PCID
CR4.SMEP 0 to 1          all of the current PCID        of the current PCID        all of the PCID
CR0.PG 1 to 0            all                            yes                        all
======================== ============================== ========================== ===================

Each also names, in the soft-flush list, what a consumer of our answers must forget: it holds those of
the current PCID only.  native/x86/unit.c is the same in C.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.x86.caches import psc_drop_address, psc_drop_context
from mmu.x86.registers import (
    CR0_PG,
    CR3_NOFLUSH,
    CR3_PCID_MASK,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_SMEP,
    is_canonical,
)
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    DROP_ANY_PCID,
    DROP_GLOBAL,
    mmu_soft_flush,
    tlb_drop_address,
    tlb_drop_context,
    tlb_switch_pcid,
)
from mmu.x86.walk import Outcome

_INVLPG: Final = EVENT_ID["invlpg"]
_MOV_CR3: Final = EVENT_ID["mov_cr3"]
_TLB_FLUSH_ALL: Final = EVENT_ID["tlb_flush_all"]
_TLB_INVALIDATIONS: Final = COUNTER_ID["tlb_invalidations"]
_EVERYTHING: Final[int] = lib.SOFT_FLUSH_MAX + 1


def _forget_everything(u: Unit) -> None:
    mmu_soft_flush(u, 0, _EVERYTHING)


def _forget_page_of(u: Unit, va: int) -> None:
    """va's page, whose size the tables may no longer tell: everything, if any page was large."""
    if u.c.large:
        _forget_everything(u)
    else:
        mmu_soft_flush(u, va, 1)


def _drop_all(u: Unit, what: int) -> None:
    u.emit(_TLB_FLUSH_ALL, 1 if what & DROP_GLOBAL else 0)
    u.count(_TLB_INVALIDATIONS)
    tlb_drop_context(u, 0, what | DROP_ANY_PCID)
    _forget_everything(u)


def mmu_invlpg(u: Unit, va: int) -> None:
    """INVLPG; a NOP if va is not canonical (SDM vol. 2A, INVLPG)."""
    if not is_canonical(va):
        return
    pcid = u.pcid
    u.emit(_INVLPG, va)
    u.count(_TLB_INVALIDATIONS)
    tlb_drop_address(u, va, pcid, DROP_GLOBAL)
    psc_drop_context(u, pcid)
    _forget_page_of(u, va)


def mmu_invpcid(u: Unit, kind: int, pcid: int, va: int) -> Outcome:
    """INVPCID of type ``kind`` (SDM vol. 2A, INVPCID); ``pcid`` is the descriptor's low quadword.

    GENERAL_PROTECTION, and nothing else, for an unknown type, a set bit among the descriptor's 63:12, a
    PCID other than 0 in types 0 and 1 without CR4.PCIDE, or a non-canonical address in type 0.
    """
    if kind > 3 or pcid & ~CR3_PCID_MASK:
        return Outcome.GENERAL_PROTECTION
    if kind <= 1 and pcid and not u.c.cr4 & CR4_PCIDE:
        return Outcome.GENERAL_PROTECTION
    if kind == 0 and not is_canonical(va):
        return Outcome.GENERAL_PROTECTION
    if kind == 0:
        _invpcid_address(u, pcid, va)
    elif kind == 1:
        _invpcid_context(u, pcid)
    else:
        _drop_all(u, DROP_GLOBAL if kind == 2 else 0)
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
        _forget_everything(u)


def mmu_write_cr3(u: Unit, value: int) -> None:
    """MOV to CR3. Bit 63 asks to keep the PCID's entries; without CR4.PCIDE it asks for nothing."""
    c = u.c
    keep = value & CR3_NOFLUSH and c.cr4 & CR4_PCIDE
    u.emit(_MOV_CR3, value)
    c.cr3 = value & ~CR3_NOFLUSH
    if not keep:
        u.count(_TLB_INVALIDATIONS)
        tlb_drop_context(u, u.pcid, 0)
    tlb_switch_pcid(u, u.pcid)
    _forget_everything(u)


def mmu_write_cr4(u: Unit, value: int) -> None:
    """MOV to CR4."""
    c = u.c
    old, pcid = int(c.cr4), u.pcid
    changed = old ^ value
    c.cr4 = value
    if changed & CR4_PGE or changed & old & CR4_PCIDE:
        _drop_all(u, DROP_GLOBAL)
    elif changed & CR4_PAE or changed & value & CR4_SMEP:
        u.count(_TLB_INVALIDATIONS)
        tlb_drop_context(u, pcid, DROP_GLOBAL)
    if changed & CR4_PCIDE:
        tlb_switch_pcid(u, u.pcid)
    if changed:
        _forget_everything(u)


def mmu_write_cr0(u: Unit, value: int) -> None:
    """MOV to CR0."""
    c = u.c
    changed = int(c.cr0) ^ value
    c.cr0 = value
    if changed & CR0_PG and not value & CR0_PG:
        _drop_all(u, DROP_GLOBAL)
    if changed:
        _forget_everything(u)


def mmu_flush_all(u: Unit) -> None:
    """Drop every entry, global ones too."""
    _drop_all(u, DROP_GLOBAL)


def mmu_tables_changed(u: Unit) -> None:
    """Entries of tables changed without a flush: consumers must ask again, the model keeps what it has."""
    u.c.table_gen += 1
    _forget_everything(u)
