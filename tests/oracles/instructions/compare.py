# SPDX-License-Identifier: GPL-2.0-or-later
"""What two outcomes of one instruction differ in, by parts with names, but for flags that it leaves
undefined.
"""

from __future__ import annotations

import signal
from typing import Final

from capstone import x86_const as x86

from tests.oracles.instructions.encoding import Encoding
from tests.oracles.instructions.state import (
    AF,
    CF,
    FLAG_NAMES,
    GPR_NAMES,
    OF,
    PF,
    RF,
    SEGMENT_NAMES,
    SF,
    TF,
    ZF,
    Fp,
    Outcome,
)

_UNDEFINED_BITS: Final = {
    CF: x86.X86_EFLAGS_UNDEFINED_CF,
    PF: x86.X86_EFLAGS_UNDEFINED_PF,
    AF: x86.X86_EFLAGS_UNDEFINED_AF,
    ZF: x86.X86_EFLAGS_UNDEFINED_ZF,
    SF: x86.X86_EFLAGS_UNDEFINED_SF,
    OF: x86.X86_EFLAGS_UNDEFINED_OF,
}
_WITH_ADDRESS: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE})
_FSW_PARTS: Final = {
    "IE": 1,
    "DE": 2,
    "ZE": 4,
    "OE": 8,
    "UE": 16,
    "PE": 32,
    "SF": 64,
    "ES": 0x8080,
    "TOP": 0x3800,
    "C0": 0x100,
    "C1": 0x200,
    "C2": 0x400,
    "C3": 0x4000,
}


def undefined_flags(encoding: Encoding) -> int:
    """Flags undefined after the instruction (SDM vol. 1 appendix A, as capstone has it)."""
    insn = encoding.insn
    if encoding.is_0f(0xBC, 0xBD):
        return CF | PF | AF | SF | OF
    if insn is None or x86.X86_GRP_FPU in insn.groups:
        return 0
    if insn.id == x86.X86_INS_IMUL:
        return SF | ZF | AF | PF
    return sum(flag for flag, bit in _UNDEFINED_BITS.items() if insn.eflags & bit)


def differences(native: Outcome, ours: Outcome, undefined: int = 0) -> frozenset[str]:
    """Names of the parts that differ: a register's, "CF", "memory", "signal"; empty if the outcomes
    are the same.
    """
    if native.ended != ours.ended:
        return frozenset({"ended"})
    if native.ended == "loop":
        return frozenset()
    found = set()
    if native.signal[:2] != ours.signal[:2]:
        found.add("signal")
    elif native.signal[0] in _WITH_ADDRESS and native.signal[2] != (ours.signal[2] or 0):
        found.add("si_addr")
    a, b = native.after, ours.after
    if a.rip != b.rip:
        found.add("rip")
    found |= {name for name, x, y in zip(GPR_NAMES, a.gpr, b.gpr, strict=True) if x != y}
    found |= {
        name for name, x, y in zip(SEGMENT_NAMES, a.segments, b.segments, strict=True) if x != y
    }
    flags = (a.rflags ^ b.rflags) & ~(RF | TF | undefined)
    found |= {name for flag, name in FLAG_NAMES.items() if flags & flag}
    if flags & ~sum(FLAG_NAMES):
        found.add("rflags")
    found |= {name for name in ("fs_base", "gs_base") if getattr(a, name) != getattr(b, name)}
    if native.memory != ours.memory:
        found.add("memory")
    return frozenset(found | _fp_differences(a.fp, b.fp))


def _fp_differences(a: Fp, b: Fp) -> set[str]:
    found = {f"fsw.{name}" for name, bits in _FSW_PARTS.items() if (a.fsw ^ b.fsw) & bits}
    found |= {name for name in ("fcw", "mxcsr") if getattr(a, name) != getattr(b, name)}
    if a.tags != b.tags:
        found.add("tags")
    if a.xmm != b.xmm:
        found.add("xmm")
    if a.st != b.st:
        same = all(x[0] == y[0] for x, y in zip(a.st, b.st, strict=True))
        found.add("st.exponent" if same else "st")
    return found
