# SPDX-License-Identifier: GPL-2.0-or-later
"""An encoding taken apart (SDM vol. 2 2.1), and what the processor modelled makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import capstone
from capstone import x86_const as x86

from tests.oracles.instructions.state import CODE

LEGACY_PREFIXES: Final = frozenset(b"\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65")
_MAPS: Final = {0x38: "0f38", 0x3A: "0f3a"}


@cache
def decoder() -> Any:
    """A capstone handle with details."""
    made = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    made.detail = True
    return made


def decode(code: bytes) -> Any:
    """The instruction that code is, where it stands; None if capstone knows none of exactly this
    length.
    """
    for insn in decoder().disasm(code, CODE, 1):
        return insn if insn.size == len(code) else None
    return None


@dataclass(frozen=True)
class Encoding:
    """Prefixes, map, opcode and ModRM of an instruction; ``map`` is "", "0f", "0f38", "0f3a", "vex"
    or "evex".
    """

    code: bytes
    prefixes: bytes
    rex: int
    map: str
    op: int
    modrm: int
    rest: bytes
    """What follows the opcode, ModRM first; zeros behind."""
    insn: Any
    """capstone's; None if it knows none."""

    @classmethod
    def of(cls, code: bytes) -> Encoding:
        """Take the bytes of one instruction, or what is none, apart."""
        at = rex = 0
        while at < len(code) - 1 and (code[at] in LEGACY_PREFIXES or code[at] & 0xF0 == 0x40):
            rex = code[at] if code[at] & 0xF0 == 0x40 else 0
            at += 1
        prefixes, body = bytes(b for b in code[:at] if b in LEGACY_PREFIXES), code[at:] + bytes(4)
        if body[0] in (0xC4, 0xC5):
            name, body = "vex", body[3 if body[0] == 0xC4 else 2 :] + bytes(2)
        elif body[0] == 0x62:
            name, body = "evex", body[4:] + bytes(2)
        elif body[0] == 0x0F:
            name = _MAPS.get(body[1], "0f")
            body = body[1 if name == "0f" else 2 :]
        else:
            name = ""
        return cls(code, prefixes, rex, name, body[0], body[1], body[1:], decode(code))

    @property
    def mnemonic(self) -> str:
        """capstone's, without REP and the like; empty if there is none."""
        return self.insn.mnemonic.split()[-1] if self.insn is not None else ""

    @property
    def has66(self) -> bool:
        """Whether there is an operand-size prefix."""
        return 0x66 in self.prefixes

    @property
    def rep(self) -> int:
        """The last of F2 and F3, 0 if there is none."""
        return next((byte for byte in reversed(self.prefixes) if byte in (0xF2, 0xF3)), 0)

    @property
    def reg(self) -> int:
        """ModRM.reg without REX.R."""
        return self.modrm >> 3 & 7

    @property
    def is_register_form(self) -> bool:
        """ModRM.mod is 3."""
        return self.modrm >= 0xC0

    @property
    def is_x87(self) -> bool:
        """D8 to DF."""
        return self.map == "" and 0xD8 <= self.op <= 0xDF

    def is_0f(self, *ops: int) -> bool:
        """Whether it is one of these opcodes of the 0F map."""
        return self.map == "0f" and self.op in ops

    @property
    def uses_mmx(self) -> bool:
        """An MMX register is an operand, or it is a 3DNow! encoding."""
        if self.is_0f(0x0F, 0x77) or (self.is_0f(0x2A, 0x2C, 0x2D) and not self.rep):
            return True
        if self.insn is None:
            return self.map.startswith("0f") and not self.has66 and not self.rep
        return any(
            operand.type == x86.X86_OP_REG and x86.X86_REG_MM0 <= operand.reg <= x86.X86_REG_MM7
            for operand in self.insn.operands
        )


# The processor modelled: a Westmere.

_DENIED_GROUPS: Final = frozenset(
    {
        x86.X86_GRP_3DNOW,
        x86.X86_GRP_ADX,
        x86.X86_GRP_AVX,
        x86.X86_GRP_AVX2,
        x86.X86_GRP_AVX512,
        x86.X86_GRP_BMI,
        x86.X86_GRP_BMI2,
        x86.X86_GRP_F16C,
        x86.X86_GRP_FMA,
        x86.X86_GRP_FMA4,
        x86.X86_GRP_FSGSBASE,
        x86.X86_GRP_RTM,
        x86.X86_GRP_SGX,
        x86.X86_GRP_SHA,
        x86.X86_GRP_SMAP,
        x86.X86_GRP_SSE4A,
        x86.X86_GRP_TBM,
        x86.X86_GRP_XOP,
    }
)
_DENIED: Final = frozenset(
    {
        *(
            "clflushopt",
            "clgi",
            "clwb",
            "clzero",
            "gf2p8affineinvqb",
            "gf2p8affineqb",
            "gf2p8mulb",
            "invlpga",
        ),
        *(
            "invpcid",
            "movbe",
            "movdir64b",
            "movdiri",
            "ptwrite",
            "rdpid",
            "rdpru",
            "rdrand",
            "rdseed",
            "serialize",
        ),
        *(
            "skinit",
            "stgi",
            "vmload",
            "vmmcall",
            "vmrun",
            "vmsave",
            "xabort",
            "xbegin",
            "xend",
            "xtest",
        ),
        *(
            "xgetbv",
            "xsetbv",
            "xrstor",
            "xrstor64",
            "xrstors",
            "xrstors64",
            "xsave",
            "xsave64",
            "xsavec",
        ),
        *("xsavec64", "xsaveopt", "xsaveopt64", "xsaves", "xsaves64"),
    }
)
_AS_BSF_BSR: Final = frozenset({"tzcnt", "lzcnt"})


def is_denied(encoding: Encoding) -> bool:
    """Whether CPUID of the processor modelled says that there is no such instruction: then it is
    #UD.
    """
    if encoding.map in ("vex", "evex"):
        return True
    if encoding.map == "" and encoding.op in (0xC6, 0xC7) and encoding.reg == 7:
        return True  # XABORT, XBEGIN
    if encoding.insn is None or encoding.mnemonic in _AS_BSF_BSR:
        return False
    return encoding.mnemonic in _DENIED or not _DENIED_GROUPS.isdisjoint(encoding.insn.groups)


def for_host(encoding: Encoding) -> bytes:
    """What the host must execute: TZCNT and LZCNT are BSF and BSR to a processor without them,
    which ignores the F3.
    """
    if encoding.is_0f(0xBC, 0xBD) and encoding.rep == 0xF3:
        opcode = encoding.code.index(0x0F)
        return encoding.code[:opcode].replace(b"\xf3", b"\x3e") + encoding.code[opcode:]
    return encoding.code
