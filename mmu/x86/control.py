# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes of the registers that paging depends on: which values are illegal, and what a change
invalidates.

============ ============================================================ =======================
write        #GP, and nothing is changed                                  source
============ ============================================================ =======================
MOV to CR0   a bit of 63:32; NW without CD; PG without PE; PG set while   SDM vol. 2B MOV to CR,
             CR4.PAE is clear; PG cleared while CR4.PCIDE is set; WP      4.1.2, 4.10.1
             cleared while CR4.CET is set
MOV to CR3   a bit of 62:MAXPHYADDR; bit 63 without CR4.PCIDE             SDM vol. 2B, 4.5
MOV to CR4   a bit that is reserved or whose feature the processor lacks; SDM vol. 2B, 2.5,
             in long mode PAE cleared, or LA57 changed; PCIDE set outside 4.10.1
             long mode or with CR3[11:0] not 0; CET with CR0.WP clear
WRMSR EFER   a reserved bit; LME changed while CR0.PG is set              SDM vol. 4, APM 3.1.7
WRMSR PAT    a byte that is no memory type                                SDM 12.12.4
WRMSR PKRS   a bit of 63:32; no such register without PKS                 SDM 4.6.2
WRPKRU       EDX not 0; #UD without CR4.PKE                               SDM vol. 2D
============ ============================================================ =======================

What the mode of the processor or its CPL forbids besides (MOV to CR at CPL 3, PG cleared in 64-bit
code) is checked by the caller, which executes the instruction. Invalidations are those of the table
in invalidate.py. native/x86/control.c is the same in C.
"""

from __future__ import annotations

from typing import Final

from mmu._native import lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.x86.entries import X86_ADDR_MASK
from mmu.x86.invalidate import drop_all, forget_everything, mmu_tables_changed
from mmu.x86.registers import (
    CR0_CD,
    CR0_NW,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR3_NOFLUSH,
    CR3_PCID_MASK,
    CR4_CET,
    CR4_LA57,
    CR4_PAE,
    CR4_PCIDE,
    CR4_PGE,
    CR4_PKE,
    CR4_PKS,
    CR4_PSE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFER_SCE,
    EFER_TCE,
    Feature,
    MemoryType,
)
from mmu.x86.state import Unit
from mmu.x86.tlb import DROP_GLOBAL, tlb_drop_context, tlb_switch_pcid
from mmu.x86.walk import Outcome

_MOV_CR3: Final = EVENT_ID["mov_cr3"]
_MOV_CR4: Final = EVENT_ID["mov_cr4"]
_TLB_INVALIDATIONS: Final = COUNTER_ID["tlb_invalidations"]

_CR0_DEFINED: Final = 0xE005_003F
"""The bits of CR0; those of 31:0 that are none are ignored (SDM 2.5)."""
_CR4_OTHERS: Final = 0x5_6F7F
"""Bits of CR4 that every processor here has: VME to PCE but PGE, OSFXSR to UMIP, VMXE, SMXE,
FSGSBASE, OSXSAVE.
"""
_CR4_OPTIONAL: Final = {
    CR4_PGE: Feature.PGE,
    CR4_PCIDE: Feature.PCID,
    CR4_SMEP: Feature.SMEP,
    CR4_SMAP: Feature.SMAP,
    CR4_PKE: Feature.PKU,
    CR4_PKS: Feature.PKS,
    CR4_CET: Feature.CET_SS,
    CR4_LA57: Feature.LA57,
}
_MEMORY_TYPES: Final = frozenset(MemoryType)


def cr4_legal(features: Feature) -> int:
    """The bits that may be set in CR4 of a processor with these features."""
    return _CR4_OTHERS | sum(bit for bit, feature in _CR4_OPTIONAL.items() if feature in features)


def efer_legal(features: Feature) -> int:
    """The bits that may be set in EFER of a processor with these features."""
    legal = EFER_SCE | EFER_LME | EFER_LMA
    if Feature.NX in features:
        legal |= EFER_NXE
    if Feature.TCE in features:
        legal |= EFER_TCE
    return legal


def _check_cr0(u: Unit, value: int) -> Outcome:
    c = u.c
    if (
        value >> 32
        or (value & CR0_NW and not value & CR0_CD)
        or (value & CR0_PG and not value & CR0_PE)
    ):
        return Outcome.GENERAL_PROTECTION
    if c.cr4 & CR4_CET and not value & CR0_WP:
        return Outcome.GENERAL_PROTECTION
    if not (c.cr0 ^ value) & CR0_PG:
        return Outcome.OK
    if not value & CR0_PG:
        return Outcome.GENERAL_PROTECTION if c.cr4 & CR4_PCIDE else Outcome.OK
    if not c.efer & EFER_LME:
        return Outcome.LEGACY
    return Outcome.OK if c.cr4 & CR4_PAE else Outcome.GENERAL_PROTECTION


def mmu_write_cr0(u: Unit, value: int) -> Outcome:
    """MOV to CR0; sets EFER.LMA with PG, for EFER.LME must be set. LEGACY, and no change, if it is
    not.
    """
    result = _check_cr0(u, value)
    if result != Outcome.OK:
        return result
    c = u.c
    value &= _CR0_DEFINED
    changed = c.cr0 ^ value
    c.cr0 = value
    c.efer = c.efer | EFER_LMA if value & CR0_PG else c.efer & ~EFER_LMA
    if changed & CR0_PG and (not value & CR0_PG or u.amd):
        drop_all(u, DROP_GLOBAL)
    if changed:
        forget_everything(u)
    return Outcome.OK


def mmu_write_cr3(u: Unit, value: int) -> Outcome:
    """MOV to CR3. Bit 63, under CR4.PCIDE, asks to keep the PCID's entries."""
    c = u.c
    pcide = bool(c.cr4 & CR4_PCIDE)
    reserved = (1 << 64) - (1 << c.maxphyaddr)
    if value & (reserved & ~CR3_NOFLUSH if pcide else reserved):
        return Outcome.GENERAL_PROTECTION
    u.emit(_MOV_CR3, value)
    if (c.cr3 ^ value) & X86_ADDR_MASK:
        c.table_gen += 1  # entries that stay are of other tables
    c.cr3 = value & ~CR3_NOFLUSH
    if c.check:
        lib.check_load(c, c.cr3 & X86_ADDR_MASK, u.pcid, bool(value & CR3_NOFLUSH))
    if not value & CR3_NOFLUSH:
        u.count(_TLB_INVALIDATIONS)
        tlb_drop_context(u, u.pcid, 0)
    tlb_switch_pcid(u, u.pcid)
    forget_everything(u)
    return Outcome.OK


def _check_cr4(u: Unit, value: int) -> Outcome:
    c = u.c
    changed, lma = c.cr4 ^ value, bool(c.efer & EFER_LMA)
    if value & ~cr4_legal(Feature(c.features)) or (value & CR4_CET and not c.cr0 & CR0_WP):
        return Outcome.GENERAL_PROTECTION
    if lma and (not value & CR4_PAE or changed & CR4_LA57):
        return Outcome.GENERAL_PROTECTION
    if changed & value & CR4_PCIDE and (not lma or c.cr3 & CR3_PCID_MASK):
        return Outcome.GENERAL_PROTECTION
    return Outcome.OK


def mmu_write_cr4(u: Unit, value: int) -> Outcome:
    """MOV to CR4."""
    if _check_cr4(u, value) != Outcome.OK:
        return Outcome.GENERAL_PROTECTION
    c = u.c
    old, pcid = c.cr4, u.pcid
    changed = old ^ value
    drops_all = CR4_PSE | CR4_PAE | CR4_PGE if u.amd else CR4_PGE
    flush_all = bool(changed & drops_all or changed & old & CR4_PCIDE)
    flush_pcid = not u.amd and bool(changed & CR4_PAE or changed & value & CR4_SMEP)
    if changed:
        u.emit(_MOV_CR4, old, value, int(flush_pcid and not flush_all))
    c.cr4 = value
    if flush_all:
        drop_all(u, DROP_GLOBAL)
    elif flush_pcid:
        u.count(_TLB_INVALIDATIONS)
        tlb_drop_context(u, pcid, DROP_GLOBAL)
    if changed & CR4_PCIDE:
        tlb_switch_pcid(u, u.pcid)
    if changed:
        forget_everything(u)
    return Outcome.OK


def mmu_write_efer(u: Unit, value: int) -> Outcome:
    """WRMSR of EFER; LMA is the processor's own and stays."""
    c = u.c
    if value & ~efer_legal(Feature(c.features)) or ((c.efer ^ value) & EFER_LME and c.cr0 & CR0_PG):
        return Outcome.GENERAL_PROTECTION
    value = value & ~EFER_LMA | c.efer & EFER_LMA
    if value != c.efer:
        mmu_tables_changed(u)  # NXE decides what XD means
    c.efer = value
    return Outcome.OK


def mmu_write_pat(u: Unit, value: int) -> Outcome:
    """WRMSR of IA32_PAT: eight bytes, each a memory type."""
    if any(byte not in _MEMORY_TYPES for byte in value.to_bytes(8, "little")):
        return Outcome.GENERAL_PROTECTION
    u.c.pat = value
    return Outcome.OK


def mmu_write_pkru(u: Unit, value: int) -> Outcome:
    """WRPKRU with EDX:EAX = value."""
    if not u.c.cr4 & CR4_PKE:
        return Outcome.INVALID_OPCODE
    if value >> 32:
        return Outcome.GENERAL_PROTECTION
    if u.c.pkru != value:
        forget_everything(u)
    u.c.pkru = value
    return Outcome.OK


def mmu_write_pkrs(u: Unit, value: int) -> Outcome:
    """WRMSR of IA32_PKRS."""
    if value >> 32 or not u.has(Feature.PKS):
        return Outcome.GENERAL_PROTECTION
    if u.c.pkrs != value:
        forget_everything(u)
    u.c.pkrs = value
    return Outcome.OK
