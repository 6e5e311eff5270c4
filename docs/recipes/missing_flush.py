# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel that moves a page and forgets INVLPG: what the checker says of it."""

from __future__ import annotations

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import (
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_RBX,
    UC_X86_REG_RDI,
    UC_X86_REG_RSI,
)

import cpu

LOAD = bytes.fromhex(
    "48 8b 06            "  #     mov rax, [rsi]
)
MOVE = bytes.fromhex(
    "48 c7 07 03 30 20 00"  #     mov qword ptr [rdi], 0x203003
)
FLUSH = bytes.fromhex(
    "0f 01 3e            "  #     invlpg [rsi]
)
LOAD_AGAIN = bytes.fromhex(
    "48 8b 1e            "  #     mov rbx, [rsi]
)
PML4, PDPT, PD, PT = 0x10000, 0x11000, 0x12000, 0x13000
CODE, OLD, NEW = 0x1000, 0x202000, 0x203000
VIRTUAL = 0x402000
CR4_PAE, CR0_PG = 1 << 5, 1 << 31


def put(uc: Uc, address: int, value: int) -> None:
    """One table entry, or another 64-bit word."""
    uc.mem_write(address, value.to_bytes(8, "little"))


def run(code: bytes) -> None:
    """The kernel with tables of its own: the first 2 MiB at their own addresses, and one page."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0, 4 << 20)
    put(uc, PML4, PDPT | 3)
    put(uc, PDPT, PD | 3)
    put(uc, PD, 0x83)
    put(uc, PD + 8 * (VIRTUAL >> 21), PT | 3)
    put(uc, PT + 8 * (VIRTUAL >> 12 & 511), OLD | 3)
    put(uc, OLD, 1)
    put(uc, NEW, 2)
    uc.mem_write(CODE, code)
    uc.reg_write(UC_X86_REG_RSI, VIRTUAL)
    uc.reg_write(UC_X86_REG_RDI, PT + 8 * (VIRTUAL >> 12 & 511))
    uc.reg_write(UC_X86_REG_CR3, PML4)
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PAE)
    uc.reg_write(UC_X86_REG_CR0, uc.reg_read(UC_X86_REG_CR0) | CR0_PG)
    machine = cpu.attach(uc, fidelity="exact", check_tlb=True)
    uc.emu_start(CODE, CODE + len(code))
    print("reads", uc.reg_read(UC_X86_REG_RBX))
    for use in machine.stale_translations():
        print(use)


run(LOAD + MOVE + LOAD_AGAIN)
run(LOAD + MOVE + FLUSH + LOAD_AGAIN)
