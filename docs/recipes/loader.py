# SPDX-License-Identifier: GPL-2.0-or-later
"""A small ELF loader: loader.py PROGRAM ARGS. Each segment has its own rights."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, UC_PROT_READ, UC_PROT_WRITE, Uc
from unicorn.unicorn_const import UC_PROT_EXEC
from unicorn.x86_const import (
    UC_X86_INS_SYSCALL,
    UC_X86_REG_FS_BASE,
    UC_X86_REG_RAX,
    UC_X86_REG_RDI,
    UC_X86_REG_RDX,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
)

import cpu
from mmu.x86 import Access

PAGE = 4096
RW = UC_PROT_READ | UC_PROT_WRITE
ENOSYS = 38
STACK_TOP, STACK_SIZE = 0x7FFFFFFDE000, 0x100000
WRITE, MMAP, MPROTECT, MUNMAP, BRK, ARCH_PRCTL, EXIT, EXIT_GROUP = 1, 9, 10, 11, 12, 158, 60, 231
ARCH_SET_FS = 0x1002
AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_ENTRY, AT_RANDOM = 3, 4, 5, 6, 9, 25


def pages(begin: int, end: int) -> tuple[int, int]:
    """The pages that [begin, end) touches: address and size."""
    begin, end = begin & -PAGE, -(-end // PAGE) * PAGE
    return begin, end - begin


class Process:
    """A static Linux program in a Unicorn instance."""

    def __init__(self, path: str, args: list[str]) -> None:
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        with Path(path).open("rb") as file:
            elf = ELFFile(file)
            self.entry = elf["e_entry"]
            for segment in elf.iter_segments("PT_LOAD"):
                self.load(segment)
                if segment["p_offset"] == 0:
                    headers = segment["p_vaddr"] + elf["e_phoff"]
            count = elf["e_phnum"]
        self.break_ = self.heap = max(end for _, end, _ in uc.mem_regions()) + 1 + PAGE
        self.next_mapping = 0x7FFFF0000000
        uc.mem_map(STACK_TOP - STACK_SIZE, STACK_SIZE, RW)
        self.push_arguments([path, *args], headers, count)
        uc.hook_add(UC_HOOK_INSN, self.syscall, None, 1, 0, UC_X86_INS_SYSCALL)

    def load(self, segment: Any) -> None:
        """Map a segment's pages with its rights, and put its bytes there."""
        begin, flags = segment["p_vaddr"], segment["p_flags"]
        perms = UC_PROT_READ | (flags & 2 and UC_PROT_WRITE) | (flags & 1 and UC_PROT_EXEC)
        self.uc.mem_map(*pages(begin, begin + segment["p_memsz"]), perms)
        self.uc.mem_write(begin, segment.data())

    def push_arguments(self, argv: list[str], headers: int, count: int) -> None:
        """argc, argv, an empty environment, and the auxiliary vector."""
        at = STACK_TOP - PAGE
        pointers = []
        for word in argv:
            pointers.append(at)
            self.uc.mem_write(at, word.encode() + b"\0")
            at += len(word.encode()) + 1
        vector = {
            AT_PHDR: headers,
            AT_PHENT: 56,
            AT_PHNUM: count,
            AT_PAGESZ: PAGE,
            AT_ENTRY: self.entry,
            AT_RANDOM: STACK_TOP - 16,
        }
        words = [len(argv), *pointers, 0, 0, *(x for pair in vector.items() for x in pair), 0, 0]
        rsp = STACK_TOP - 2 * PAGE
        self.uc.mem_write(rsp, struct.pack(f"<{len(words)}Q", *words))
        self.uc.reg_write(UC_X86_REG_RSP, rsp)

    def syscall(self, uc: Uc, _: object) -> None:
        """The system calls that a static program cannot do without."""
        nr = uc.reg_read(UC_X86_REG_RAX)
        a, b, c = (uc.reg_read(r) for r in (UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RDX))
        result = 0
        if nr == WRITE:
            (sys.stdout if a == 1 else sys.stderr).write(uc.mem_read(b, c).decode())
            result = c
        elif nr == MMAP:
            result = self.next_mapping
            self.next_mapping += pages(0, b)[1]
            uc.mem_map(result, pages(0, b)[1], c & 7)
        elif nr == MPROTECT:
            uc.mem_protect(*pages(a, a + b), c & 7)
        elif nr == MUNMAP:
            uc.mem_unmap(*pages(a, a + b))
        elif nr == BRK:
            if a > self.break_:
                begin, size = pages(self.break_, a)
                uc.mem_map(begin, size, RW)
                self.break_ = begin + size
            result = self.break_
        elif nr == ARCH_PRCTL and a == ARCH_SET_FS:
            uc.reg_write(UC_X86_REG_FS_BASE, b)
        elif nr in (EXIT, EXIT_GROUP):
            uc.emu_stop()
        else:
            result = -ENOSYS
        uc.reg_write(UC_X86_REG_RAX, result)


process = Process(sys.argv[1], sys.argv[2:])
machine = cpu.attach(process.uc, identity=True, fidelity="exact", geometry="zen3")
process.uc.emu_start(process.entry, 0)
for access in (Access.READ, Access.WRITE, Access.FETCH):
    print(access.verb, "of the entry point:", machine.translate(process.entry, access))
print("fetch of the stack:", machine.translate(machine.read_reg(UC_X86_REG_RSP), Access.FETCH))
