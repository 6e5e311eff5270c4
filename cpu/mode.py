# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether Unicorn decodes 64-bit code, given back.

An instance of UC_MODE_64 begins in 64-bit mode with CR0.PG clear, which no processor can be in.
Once CR0.PG was set, clearing it leaves 64-bit mode for good: neither CR0 nor EFER brings it back.
A saved context holds what does; where, is found out on an instance of our own.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_CR0, UC_X86_REG_CR4

from cpu.in_flight import context_words
from mmu.x86.registers import CR0_PG, CR4_PAE, EFER_LMA

MSR_EFER: Final = 0xC0000080
_IN_LONG_MODE: Final = 0xC000
"""Of QEMU's hflags: long mode is active, and the code segment is a 64-bit one."""


class ProcessorMode:
    """The control registers of an instance and its mode, as they are when this is made."""

    def __init__(self, uc: Uc) -> None:
        """Look at the instance; changes nothing."""
        self._registers = {reg: uc.reg_read(reg) for reg in (UC_X86_REG_CR4, UC_X86_REG_CR0)}
        self._efer = uc.msr_read(MSR_EFER)
        self._context = uc.context_save()

    def restore(self, uc: Uc) -> None:
        """Give the instance CR0, CR4, EFER and the mode back; every other register stays."""
        for reg, value in self._registers.items():
            uc.reg_write(reg, value)
        uc.msr_write(MSR_EFER, self._efer)
        if uc.msr_read(MSR_EFER) == self._efer:
            return
        context = uc.context_save()
        words, saved = context_words(context), context_words(self._context)
        for place in _places():
            words[place] = saved[place]
        uc.context_restore(context)


@cache
def _places() -> tuple[int, ...]:
    """Numbers of the 32-bit words of a context that leaving 64-bit mode changes."""
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    cr0 = uc.reg_read(UC_X86_REG_CR0)
    before = uc.context_save()
    uc.reg_write(UC_X86_REG_CR4, uc.reg_read(UC_X86_REG_CR4) | CR4_PAE)
    uc.reg_write(UC_X86_REG_CR0, cr0 | CR0_PG)
    uc.reg_write(UC_X86_REG_CR0, cr0)
    after = uc.context_save()
    pairs = enumerate(zip(context_words(before), context_words(after), strict=True))
    return tuple(place for place, (a, b) in pairs if a ^ b in (_IN_LONG_MODE, EFER_LMA))
