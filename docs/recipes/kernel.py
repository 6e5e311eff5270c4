# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel-mode code with its own page tables and its own #PF handler, which pages in on demand."""

from __future__ import annotations

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RSP

import cpu

BOOT = bytes.fromhex(
    "0f 01 14 25 10 30 00 00"  #     lgdt [0x3010]
    "0f 01 1c 25 20 30 00 00"  #     lidt [0x3020]
    "6a 08                  "  #     push 8
    "68 19 20 00 00         "  #     push 0x2019
    "48 cb                  "  #     retfq
    "b8 00 00 01 00         "  #     mov eax, 0x10000
    "0f 22 d8               "  #     mov cr3, rax
    "0f 20 e0               "  #     mov rax, cr4
    "0d a0 00 00 00         "  #     or eax, 0xa0
    "0f 22 e0               "  #     mov cr4, rax
    "0f 20 c0               "  #     mov rax, cr0
    "0d 01 00 01 80         "  #     or eax, 0x80010001
    "0f 22 c0               "  #     mov cr0, rax
    "bf 00 00 40 00         "  #     mov edi, 0x400000
    "b9 40 00 00 00         "  #     mov ecx, 64
    "48 89 0f               "  # 1:  mov [rdi], rcx
    "48 81 c7 00 10 00 00   "  #     add rdi, 0x1000
    "e2 f4                  "  #     loop 1b
    "f4                     "  #     hlt
)
"""Descriptor tables and CS; CR3, CR4.PAE, CR4.PGE, CR0.PG, CR0.WP; then 64 pages are stored to."""
PAGE_FAULT = bytes.fromhex(
    "50                                 "  #     push rax
    "53                                 "  #     push rbx
    "0f 20 d0                           "  #     mov rax, cr2
    "48 c1 e8 09                        "  #     shr rax, 9
    "25 f8 0f 00 00                     "  #     and eax, 0xff8
    "48 8b 1c 25 30 30 00 00            "  #     mov rbx, [0x3030]
    "48 81 04 25 30 30 00 00 00 10 00 00"  #     add qword ptr [0x3030], 0x1000
    "48 83 cb 03                        "  #     or rbx, 3
    "48 89 98 00 30 01 00               "  #     mov [rax + 0x13000], rbx
    "48 ff 04 25 38 30 00 00            "  #     inc qword ptr [0x3038]
    "5b                                 "  #     pop rbx
    "58                                 "  #     pop rax
    "48 83 c4 08                        "  #     add rsp, 8
    "48 cf                              "  #     iretq
)
"""The next free frame goes into the table entry of the address in CR2."""
START, HANDLER, STACK = 0x2000, 0x2800, 0x9000
GDT, GDTR, IDTR, NEXT_FRAME, FAULTS = 0x3000, 0x3010, 0x3020, 0x3030, 0x3038
IDT = 0x4000
PML4, PDPT, PD, PT, FRAMES = 0x10000, 0x11000, 0x12000, 0x13000, 0x100000
CODE_64 = 0x00AF9B000000FFFF
PF = 14


def quads(*values: int) -> bytes:
    """64-bit words as they stand in memory."""
    return b"".join(value.to_bytes(8, "little") for value in values)


uc = Uc(UC_ARCH_X86, UC_MODE_64)
uc.mem_map(0, 2 << 20)
uc.mem_write(START, BOOT)
uc.mem_write(HANDLER, PAGE_FAULT)
uc.mem_write(GDT, quads(0, CODE_64))
uc.mem_write(GDTR, (0xF).to_bytes(2, "little") + quads(GDT))
uc.mem_write(IDTR, (0xFFF).to_bytes(2, "little") + quads(IDT))
uc.mem_write(IDT + 16 * PF, quads(0x8E00 << 32 | 8 << 16 | HANDLER, 0))
uc.mem_write(PML4, quads(PDPT | 3))
uc.mem_write(PDPT, quads(PD | 3))
uc.mem_write(PD, quads(0x83, 0, PT | 3))  # the first 2 MiB at their own addresses
uc.mem_write(NEXT_FRAME, quads(FRAMES))
uc.reg_write(UC_X86_REG_RSP, STACK)

machine = cpu.attach(uc, paging="guest", deliver=True, fidelity="exact")
uc.emu_start(START, 0)
print(int.from_bytes(uc.mem_read(FAULTS, 8), "little"), "page faults handled by the guest")
print(machine.walk(0x43F000))
print(machine.counters()["page_faults_hw"], "page faults,", machine.instructions, "instructions")
