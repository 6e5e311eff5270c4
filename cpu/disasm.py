# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text, and the addresses they touch, by capstone.

Importing capstone takes time, and most runs need none of this: import this module where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

import capstone
from capstone import x86_const as x86
from unicorn import x86_const as uc_x86

from mmu.units import MAX_INSTRUCTION, PAGE_MASK, U32, U64
from mmu.x86 import Access

_STACK_BASES: Final = (x86.X86_REG_RSP, x86.X86_REG_RBP, x86.X86_REG_ESP, x86.X86_REG_EBP)
_PUSHES: Final = frozenset({"push", "call", "pushfq", "pushf", "pushfw", "enter"})


class Registers(Protocol):
    """What an instruction's addresses are made of: a processor's registers, and its code."""

    @property
    def fs_base(self) -> int:
        """Base of FS."""

    @property
    def gs_base(self) -> int:
        """Base of GS."""

    def read_reg(self, reg: int, /) -> int:
        """Return a register of at most 64 bits, by its UC_X86_REG_* number."""

    def peek(self, va: int, /) -> bytes:
        """Return up to MAX_INSTRUCTION bytes of code at va, without side effects."""


class Operand(NamedTuple):
    """A place in memory that an instruction reads or writes: linear address and size in bytes."""

    address: int
    size: int
    stack: bool = False
    """Whether it is reached through the stack segment, SS."""

    def holds(self, address: int) -> bool:
        """Whether the address is one of its bytes'."""
        return (address - self.address) & U64 < self.size


@cache
def _decoder(detail: bool) -> Any:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = detail
    return decoder


def disassemble_one(code: bytes, rip: int) -> str:
    """The first instruction of code, which lies at rip, as one line; its bytes if it is none."""
    for _, size, mnemonic, operands in _decoder(False).disasm_lite(code, rip, 1):
        del size
        return f"{mnemonic} {operands}".rstrip()
    return f"(bad) {code[:MAX_INSTRUCTION].hex(' ')}".rstrip()


_LEGACY_PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_ENCODINGS: Final = {0xC4: "AVX", 0xC5: "AVX", 0x62: "AVX-512", 0x8F: "XOP"}
"""What an opcode byte that only begins a longer encoding stands for (SDM vol. 2 2.3, 2.7; APM vol.
3 1.2.6).
"""
_FEATURE_GROUPS: Final = {
    x86.X86_GRP_AVX: "AVX",
    x86.X86_GRP_AVX2: "AVX2",
    x86.X86_GRP_AVX512: "AVX-512",
    x86.X86_GRP_FMA: "FMA",
    x86.X86_GRP_FMA4: "FMA4",
    x86.X86_GRP_F16C: "F16C",
    x86.X86_GRP_XOP: "XOP",
    x86.X86_GRP_TBM: "TBM",
    x86.X86_GRP_BMI: "BMI1",
    x86.X86_GRP_BMI2: "BMI2",
    x86.X86_GRP_ADX: "ADX",
    x86.X86_GRP_SHA: "SHA",
    x86.X86_GRP_RTM: "RTM",
    x86.X86_GRP_HLE: "HLE",
    x86.X86_GRP_SSE4A: "SSE4A",
    x86.X86_GRP_3DNOW: "3DNow!",
    x86.X86_GRP_FSGSBASE: "FSGSBASE",
    x86.X86_GRP_SMAP: "SMAP",
    x86.X86_GRP_SGX: "SGX",
    x86.X86_GRP_VM: "VMX",
}
"""By capstone's group, most special last where an instruction has several."""
_FMA_MNEMONICS: Final = ("vfmadd", "vfmsub", "vfnmadd", "vfnmsub")
_FEATURE_MNEMONICS: Final = {
    "MOVBE": "movbe",
    "RDRAND": "rdrand",
    "RDSEED": "rdseed",
    "RDPID": "rdpid",
    "FSGSBASE": "rdfsbase rdgsbase wrfsbase wrgsbase",
    "XSAVE": "xgetbv xsave xsave64 xrstor xrstor64 xsavec xsavec64 xsaveopt xsaveopt64",
    "SVM": "vmmcall vmrun vmload vmsave stgi clgi skinit invlpga",
    "CLFLUSHOPT": "clflushopt",
    "CLWB": "clwb",
    "CLZERO": "clzero",
    "PKU": "rdpkru wrpkru",
    "MONITORX": "monitorx mwaitx",
    "GFNI": "gf2p8mulb gf2p8affineqb gf2p8affineinvqb",
    "INVPCID": "invpcid",
    "PREFETCHWT1": "prefetchwt1",
    "LZCNT": "lzcnt",
    "BMI1": "tzcnt",
}
_FEATURE_NAMES: Final = {
    mnemonic: feature
    for feature, mnemonics in _FEATURE_MNEMONICS.items()
    for mnemonic in mnemonics.split()
}


def feature_of(code: bytes) -> str | None:
    """The CPUID feature that the first instruction of code belongs to, if not every x86-64
    processor has it.

    None for an instruction of the common set, and for what is no instruction.
    """
    opcode = next(
        (byte for byte in code if byte not in _LEGACY_PREFIXES and byte & 0xF0 != 0x40), 0
    )
    encoding = _ENCODINGS.get(opcode)
    if opcode == 0x8F and not _is_xop(code):
        encoding = None
    for insn in _decoder(True).disasm(code, 0, 1):
        named = [name for group, name in _FEATURE_GROUPS.items() if group in insn.groups]
        if insn.mnemonic.startswith(_FMA_MNEMONICS) and "FMA4" not in named:
            return "FMA"
        return _FEATURE_NAMES.get(insn.mnemonic) or (named[-1] if named else encoding)
    return encoding


def _is_xop(code: bytes) -> bool:
    at = code.index(0x8F) + 1
    return at < len(code) and code[at] & 0x1F >= 8


def disassemble(code: bytes, rip: int) -> Iterator[tuple[int, int, str]]:
    """Address, length and text of each instruction of code, which lies at rip, up to the first
    invalid one.
    """
    for address, size, mnemonic, operands in _decoder(False).disasm_lite(code, rip):
        yield address, size, f"{mnemonic} {operands}".rstrip()


def instruction_length(code: bytes) -> int:
    """Length of the first instruction of code in bytes, 0 if it is none."""
    for _, size, _, _ in _decoder(False).disasm_lite(code, 0, 1):
        return int(size)
    return 0


def memory_operands(cpu: Registers, rip: int) -> list[Operand]:
    """What the instruction at rip touches in memory, from the registers as they are now.

    Operands come in the instruction's order; then the stack of a PUSH, CALL, POP or RET.
    """
    for insn in _decoder(True).disasm(cpu.peek(rip), rip, 1):
        found = [
            Operand(
                _effective_address(cpu, insn, operand.mem),
                operand.size,
                _in_stack_segment(operand.mem),
            )
            for operand in insn.operands
            if operand.type == x86.X86_OP_MEM and insn.id not in (x86.X86_INS_LEA, x86.X86_INS_NOP)
        ]
        return [*found, *_stack_operands(cpu, insn)]
    return []


def through_stack_segment(cpu: Registers, rip: int, address: int) -> bool:
    """Whether the instruction at rip touches address through SS: then #SS tells that it is not
    canonical.
    """
    for operand in memory_operands(cpu, rip):
        if operand.holds(address):
            return operand.stack
    return False


def accessed_address(cpu: Registers, rip: int, page: int, access: int) -> int:
    """The exact address of an access by the instruction at rip that is known only to be in page.

    An operand that runs into the page from the one before touches it at its first byte.
    """
    if access == Access.FETCH:
        return rip if rip & PAGE_MASK == page else page
    for operand in memory_operands(cpu, rip):
        if operand.address & PAGE_MASK == page:
            return operand.address
        if (operand.address + operand.size - 1) & PAGE_MASK == page:
            return page
    return page


def _in_stack_segment(mem: Any) -> bool:
    """SDM vol. 1 3.4.1, 3.7.4: SS is RSP's and RBP's as base; in 64-bit mode only FS and GS
    override it.
    """
    return mem.base in _STACK_BASES and mem.segment not in (x86.X86_REG_FS, x86.X86_REG_GS)


def _register(cpu: Registers, insn: Any, reg: int) -> int:
    name = insn.reg_name(reg).upper()
    if name in ("RIP", "EIP"):
        return int(insn.address + insn.size)
    return cpu.read_reg(getattr(uc_x86, f"UC_X86_REG_{name}"))


def _effective_address(cpu: Registers, insn: Any, mem: Any) -> int:
    """SDM vol. 1 3.7.5: segment base + base + index * scale + displacement."""
    address = mem.disp
    if mem.base != x86.X86_REG_INVALID:
        address += _register(cpu, insn, mem.base)
    if mem.index not in (x86.X86_REG_INVALID, x86.X86_REG_RIZ, x86.X86_REG_EIZ):
        address += _register(cpu, insn, mem.index) * mem.scale
    address &= U64 if insn.addr_size == 8 else U32
    if mem.segment == x86.X86_REG_FS:
        address += cpu.fs_base
    elif mem.segment == x86.X86_REG_GS:
        address += cpu.gs_base
    return int(address & U64)


def _stack_operands(cpu: Registers, insn: Any) -> list[Operand]:
    rsp = cpu.read_reg(uc_x86.UC_X86_REG_RSP)
    size = 2 if insn.prefix[2] == x86.X86_PREFIX_OPSIZE else 8
    if insn.mnemonic in _PUSHES:
        return [Operand((rsp - size) & U64, size, stack=True)]
    if insn.mnemonic.startswith(("pop", "ret", "iret")) and not insn.mnemonic.startswith("popcnt"):
        return [Operand(rsp, size, stack=True)]
    if insn.mnemonic == "leave":
        return [Operand(cpu.read_reg(uc_x86.UC_X86_REG_RBP), size, stack=True)]
    return []
