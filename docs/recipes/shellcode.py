# SPDX-License-Identifier: GPL-2.0-or-later
"""Shellcode that decodes itself and overruns a heap block by one byte: guard pages tell where."""

from __future__ import annotations

from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_MODE_64, UC_PROT_READ, UC_PROT_WRITE, Uc
from unicorn.x86_const import UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDI, UC_X86_REG_RSP

import cpu
from mmu.errors import PageFault

PAGE = 4096
DECODER = bytes.fromhex(
    "eb 10         "  #     jmp 3f
    "5e            "  # 1:  pop rsi
    "b9 19 00 00 00"  #     mov ecx, 25
    "80 36 5a      "  # 2:  xor byte ptr [rsi], 0x5a
    "48 ff c6      "  #     inc rsi
    "e2 f8         "  #     loop 2b
    "eb 05         "  #     jmp 4f
    "e8 eb ff ff ff"  # 3:  call 1b
    "              "  # 4:
)
PAYLOAD = bytes.fromhex(
    "bf 64 00 00 00"  #     mov edi, 100
    "b8 00 00 00 70"  #     mov eax, 0x70000000
    "ff d0         "  #     call rax
    "48 89 c7      "  #     mov rdi, rax
    "b9 65 00 00 00"  #     mov ecx, 101
    "b0 41         "  #     mov al, 0x41
    "f3 aa         "  #     rep stosb
    "f4            "  #     hlt
)
CODE = 0x10000
STACK = range(0x7FFE0000, 0x7FFF0000)
MALLOC = 0x70000000
HEAP = 0x20000000

uc = Uc(UC_ARCH_X86, UC_MODE_64)
uc.mem_map(CODE, PAGE)
uc.mem_write(CODE, DECODER + bytes(byte ^ 0x5A for byte in PAYLOAD))
uc.mem_map(MALLOC, PAGE)
uc.mem_write(MALLOC, b"\xc3")  # ret: the hook does the rest
uc.reg_write(UC_X86_REG_RSP, STACK.stop)


def on_fault(fault: cpu.attached.Fault) -> bool:
    """Give the stack its pages when they are touched; any other fault is an error."""
    if fault.address not in STACK:
        return False
    uc.mem_map(fault.address & -PAGE, PAGE, UC_PROT_READ | UC_PROT_WRITE)
    return True


def on_malloc(uc: Uc, address: int, size: int, _: object) -> None:
    """A block that ends with its last page; the page behind it stays absent."""
    wanted = uc.reg_read(UC_X86_REG_RDI)
    pages = -(-wanted // PAGE) * PAGE
    begin = HEAP + 2 * PAGE * len(blocks)
    uc.mem_map(begin, pages, UC_PROT_READ | UC_PROT_WRITE)
    blocks.append(range(begin + pages - wanted, begin + pages))
    uc.reg_write(UC_X86_REG_RAX, blocks[-1].start)


blocks: list[range] = []
uc.hook_add(UC_HOOK_CODE, on_malloc, None, MALLOC, MALLOC)
machine = cpu.attach(uc, identity=True, fidelity="exact", handler=on_fault)
try:
    uc.emu_start(CODE, CODE + len(DECODER) + len(PAYLOAD))
except PageFault as fault:
    (block,) = blocks
    print(f"a block of {len(block)} bytes at {block.start:#x}")
    print(fault)
    print(uc.reg_read(UC_X86_REG_RCX), "byte not written, behind", machine.read(block.stop - 4, 4))
print(machine.instructions, "instructions,", machine.counters()["dTLB-stores"], "stores")
