# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine for guests that are kernels: memory, descriptor tables and page tables of the
instance's own, attached with ``paging="guest", deliver=True``.
"""

from __future__ import annotations

from typing import Any, Final

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_CPU_X86_ICELAKE_SERVER, UC_X86_REG_RSP

import cpu
from cpu.attached import Attached
from mmu.x86.entries import X86_P, X86_PS, X86_RW, X86_US
from tests.cpu.assemble import assemble

KERNEL: Final = 0x8000
HANDLERS: Final = 0xA000
GDT, IDT, TSS, POINTERS = 0x1000, 0x2000, 0x3000, 0x4000
STACK, IST_STACK = 0x6000, 0x7000
"""Where the stack of TSS.RSP0, and that of IST1, begin."""
RESULTS: Final = 0x4800
PML4, PDPT, PD, PT = 0x10000, 0x11000, 0x12000, 0x13000
USER: Final = 0x400000
"""Virtual; PT maps the 2 MiB from here on."""
USER_FRAMES: Final = 0x100000
KERNEL_CS, USER_SS, USER_CS, TSS_SELECTOR = 0x08, 0x1B, 0x23, 0x28
NESTED: Final = 0x6000000000
KERNEL_CODE, KERNEL_DATA = 0x00AF9B000000FFFF, 0x00CF93000000FFFF
USER_DATA, USER_CODE = 0x00CFF3000000FFFF, 0x00AFFB000000FFFF
USER_ACCESS: Final = X86_P | X86_RW | X86_US
INTERRUPT_GATE, TRAP_GATE = 0xE, 0xF

PROLOGUE: Final = f"""
    lgdt [{POINTERS:#x}]; lidt [{POINTERS + 16:#x}]; mov ax, {TSS_SELECTOR}; ltr ax
    mov rax, cr4; or rax, 0xa0; mov cr4, rax
    mov eax, {PML4:#x}; mov cr3, rax
    mov ecx, 0xc0000080; rdmsr; or eax, 0x801; wrmsr
    mov rax, cr0; or eax, 0x80010000; mov cr0, rax
    lea rax, [rip + 7f]; push {KERNEL_CS}; push rax; retfq; 7:
"""
"""From 64-bit code without paging to the kernel's own tables and segment."""
TO_USER: Final = f"""
    push {USER_SS}; push {USER + 0x10000:#x}; push 0x202; push {USER_CS}; push {USER:#x}; iretq
"""


def quads(*values: int) -> bytes:
    """Little-endian 64-bit words."""
    return b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in values)


def gate(
    offset: int,
    *,
    kind: int = INTERRUPT_GATE,
    dpl: int = 0,
    ist: int = 0,
    selector: int = KERNEL_CS,
) -> bytes:
    """A present 64-bit gate (SDM vol. 3A figure 6-8)."""
    low = offset & 0xFFFF | selector << 16 | ist << 32 | (0x80 | dpl << 5 | kind) << 40
    return quads(low | (offset >> 16 & 0xFFFF) << 48, offset >> 32)


class Machine:
    """16 MiB of memory with tables, and whatever the test puts there; ``attach()`` before it runs.

    The first 2 MiB are mapped at their own addresses for the kernel alone; ``user()`` maps pages.
    """

    def __init__(self) -> None:
        uc = self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
        uc.mem_map(0, 16 << 20)
        tss = (
            0x67 | (TSS & 0xFFFFFF) << 16 | 0x89 << 40 | (TSS >> 24) << 56,
            TSS >> 32,
        )
        uc.mem_write(GDT, quads(0, KERNEL_CODE, KERNEL_DATA, USER_DATA, USER_CODE, *tss))
        uc.mem_write(TSS + 4, quads(STACK))
        uc.mem_write(TSS + 36, quads(IST_STACK))
        uc.mem_write(POINTERS, (0x37).to_bytes(2, "little") + quads(GDT))
        uc.mem_write(POINTERS + 16, (0xFFF).to_bytes(2, "little") + quads(IDT))
        uc.mem_write(PML4, quads(PDPT | USER_ACCESS))
        uc.mem_write(PDPT, quads(PD | USER_ACCESS))
        uc.mem_write(PD, quads(X86_P | X86_RW | X86_PS, 0, PT | USER_ACCESS))
        uc.reg_write(UC_X86_REG_RSP, STACK)
        self.m: Attached | None = None
        self._handlers = HANDLERS

    def user(self, va: int, pa: int | None = None, rights: int = USER_ACCESS) -> None:
        """Map a user page, by default to the frame of the same number."""
        frame = USER_FRAMES + (va - USER) if pa is None else pa
        self.uc.mem_write(PT + (va - USER >> 12) * 8, quads(frame | rights))

    def put(self, at: int, source: str) -> int:
        """Assemble the code there; where it ends."""
        code = assemble(source)
        self.uc.mem_write(at, code)
        return at + len(code)

    def handler(self, vector: int, source: str, **how: Any) -> int:
        """A gate for the vector, and its code; where that is."""
        at = self._handlers
        self.put(at, source)
        self._handlers += 0x200
        self.uc.mem_write(IDT + 16 * vector, gate(at, **how))
        return at

    def attach(self, fidelity: str = "fast", engine: str = "c", **options: Any) -> Attached:
        """The MMU, with exceptions delivered."""
        options = {"geometry": "tiny", "deliver": True, **options}
        self.m = cpu.attach(self.uc, paging="guest", fidelity=fidelity, engine=engine, **options)
        return self.m

    def start(self, kernel: str) -> None:
        """Run the kernel from its first instruction until it halts."""
        assert self.m is not None
        self.put(KERNEL, kernel)
        self.m.emu_start(KERNEL, 0)

    def u64(self, pa: int) -> int:
        """A word of memory."""
        return int.from_bytes(self.uc.mem_read(pa, 8), "little")

    def stack(self, top: int = STACK, nr: int = 6) -> list[int]:
        """The last nr words pushed below top, the lowest first."""
        return [self.u64(top - 8 * (nr - i)) for i in range(nr)]
