# SPDX-License-Identifier: GPL-2.0-or-later
"""The same program on plain Unicorn, instruction by instruction, without any MMU."""

from __future__ import annotations

from unicorn import UC_ARCH_X86, UC_HOOK_CODE, UC_HOOK_INSN, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_INS_SYSCALL, UC_X86_REG_RIP

from tests.cpu.assemble import assemble
from tests.cpu.world import DATA, GPRS, SIZE, STACK_TOP, TEXT, reg

RFLAGS_USER = 0x202


def states(source: str, regs: dict[str, int] | None = None) -> list[tuple[int, tuple[int, ...]]]:
    """RIP and registers before each instruction (each element of a rep, and its end), the SYSCALL
    last.
    """
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    for base in (TEXT, DATA, STACK_TOP - SIZE):
        uc.mem_map(base, SIZE)
    uc.mem_write(TEXT, assemble(source))
    uc.reg_write(reg("RSP"), STACK_TOP - 64)
    uc.reg_write(reg("EFLAGS"), RFLAGS_USER)
    for name, value in (regs or {}).items():
        uc.reg_write(reg(name), value)
    seen: list[tuple[int, tuple[int, ...]]] = []

    def before(uc: Uc, *_: object) -> None:
        seen.append((uc.reg_read(UC_X86_REG_RIP), tuple(uc.reg_read(reg(name)) for name in GPRS)))

    uc.hook_add(UC_HOOK_CODE, before)
    uc.hook_add(UC_HOOK_INSN, lambda uc, _: uc.emu_stop(), None, 1, 0, UC_X86_INS_SYSCALL)
    uc.emu_start(TEXT, 0)
    return seen
