# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text, and the addresses they touch, by capstone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import capstone
from capstone import x86_const as x86
from unicorn import x86_const as uc_x86

if TYPE_CHECKING:
    from cpu.vcpu import Processor

U64: Final = (1 << 64) - 1
PAGE_MASK: Final = U64 ^ 0xFFF
MAX_INSTRUCTION: Final = 15
_FETCH: Final = 2
_STACK_BASES: Final = (x86.X86_REG_RSP, x86.X86_REG_RBP, x86.X86_REG_ESP, x86.X86_REG_EBP)
_PUSHES: Final = frozenset({"push", "call", "pushfq", "pushf", "pushfw", "enter"})


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


def disassemble(code: bytes, rip: int) -> Iterator[tuple[int, int, str]]:
    """Address, length and text of each instruction of code, which lies at rip, up to the first invalid one."""
    for address, size, mnemonic, operands in _decoder(False).disasm_lite(code, rip):
        yield address, size, f"{mnemonic} {operands}".rstrip()


def instruction_length(code: bytes) -> int:
    """Length of the first instruction of code in bytes, 0 if it is none."""
    for _, size, _, _ in _decoder(False).disasm_lite(code, 0, 1):
        return int(size)
    return 0


def memory_operands(vcpu: Processor, rip: int) -> list[Operand]:
    """What the instruction at rip touches in memory, from the registers as they are now.

    Operands come in the instruction's order; then the stack of a PUSH, CALL, POP or RET.
    """
    for insn in _decoder(True).disasm(vcpu.peek(rip), rip, 1):
        found = [
            Operand(_effective_address(vcpu, insn, operand.mem), operand.size, _in_stack_segment(operand.mem))
            for operand in insn.operands
            if operand.type == x86.X86_OP_MEM and insn.id not in (x86.X86_INS_LEA, x86.X86_INS_NOP)
        ]
        return [*found, *_stack_operands(vcpu, insn)]
    return []


def through_stack_segment(vcpu: Processor, rip: int, address: int) -> bool:
    """Whether the instruction at rip touches address through SS: then #SS tells that it is not canonical."""
    for operand in memory_operands(vcpu, rip):
        if operand.holds(address):
            return operand.stack
    return False


def accessed_address(vcpu: Processor, rip: int, page: int, access: int) -> int:
    """The exact address of an access by the instruction at rip that is known only to be in page.

    An operand that runs into the page from the one before touches it at its first byte.
    """
    if access == _FETCH:
        return rip if rip & PAGE_MASK == page else page
    for operand in memory_operands(vcpu, rip):
        if operand.address & PAGE_MASK == page:
            return operand.address
        if (operand.address + operand.size - 1) & PAGE_MASK == page:
            return page
    return page


def _in_stack_segment(mem: Any) -> bool:
    """SDM vol. 1 3.4.1, 3.7.4: SS is RSP's and RBP's as base; in 64-bit mode only FS and GS override it."""
    return mem.base in _STACK_BASES and mem.segment not in (x86.X86_REG_FS, x86.X86_REG_GS)


def _register(vcpu: Processor, insn: Any, reg: int) -> int:
    name = insn.reg_name(reg).upper()
    if name in ("RIP", "EIP"):
        return int(insn.address + insn.size)
    return vcpu.read_reg(getattr(uc_x86, f"UC_X86_REG_{name}"))


def _effective_address(vcpu: Processor, insn: Any, mem: Any) -> int:
    """SDM vol. 1 3.7.5: segment base + base + index * scale + displacement."""
    address = mem.disp
    if mem.base != x86.X86_REG_INVALID:
        address += _register(vcpu, insn, mem.base)
    if mem.index not in (x86.X86_REG_INVALID, x86.X86_REG_RIZ, x86.X86_REG_EIZ):
        address += _register(vcpu, insn, mem.index) * mem.scale
    address &= U64 if insn.addr_size == 8 else 0xFFFFFFFF
    if mem.segment == x86.X86_REG_FS:
        address += vcpu.fs_base
    elif mem.segment == x86.X86_REG_GS:
        address += vcpu.gs_base
    return int(address & U64)


def _stack_operands(vcpu: Processor, insn: Any) -> list[Operand]:
    rsp = vcpu.read_reg(uc_x86.UC_X86_REG_RSP)
    size = 2 if insn.prefix[2] == x86.X86_PREFIX_OPSIZE else 8
    if insn.mnemonic in _PUSHES:
        return [Operand((rsp - size) & U64, size, stack=True)]
    if insn.mnemonic.startswith(("pop", "ret", "iret")) and not insn.mnemonic.startswith("popcnt"):
        return [Operand(rsp, size, stack=True)]
    if insn.mnemonic == "leave":
        return [Operand(vcpu.read_reg(uc_x86.UC_X86_REG_RBP), size, stack=True)]
    return []
