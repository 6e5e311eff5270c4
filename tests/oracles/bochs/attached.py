# SPDX-License-Identifier: GPL-2.0-or-later
"""States on Unicorn instances that our MMU is attached to, with ``paging="guest"``: all tables are
in memory that the instances have mapped.
"""

from __future__ import annotations

import ctypes
import mmap
from struct import pack_into, unpack_from
from typing import Final

from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.x86_const import (
    UC_CPU_X86_ICELAKE_SERVER,
    UC_X86_REG_CR0,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_GDTR,
    UC_X86_REG_LDTR,
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDI,
    UC_X86_REG_RFLAGS,
    UC_X86_REG_RIP,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
)

import cpu
from mmu.errors import GeneralProtection, PageFault, StackFault
from tests.oracles.bochs import layout, states
from tests.oracles.bochs.states import (
    GENERAL_PROTECTION,
    KINDS,
    NO_VECTOR,
    PAGE_FAULT,
    STACK_FAULT,
    Register,
    Result,
    State,
)

MSR_EFER: Final = 0xC000_0080
_REGISTERS: Final = (
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RSP,
    UC_X86_REG_RSI,
    UC_X86_REG_RDI,
)
_ENTER_CPL3: Final = 0x1D000
"""A page of the guest's own, with IRETQ."""
_BOOT_ROOT: Final = layout.FRAMES[0]


def address_of(memory: mmap.mmap) -> int:
    """Where a mapping lies in the host."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Instance:
    """An attached instance at one CPL."""

    def __init__(self, cpl: int, fidelity: str) -> None:
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
        self.arena = layout.Arena()
        self.cr4, self.efer = states.CR4, states.EFER
        self.machine = self._attach(fidelity)
        for pa, data in states.fixed_bytes():
            uc.mem_write(pa, data)
        uc.mem_write(_BOOT_ROOT + layout.CODE_SLOT * 8, _word(layout.ROOT_ENTRY))
        uc.reg_write(UC_X86_REG_GDTR, (0, layout.CODE + layout.GDT, layout.GDT_LIMIT, 0))
        uc.reg_write(UC_X86_REG_CR3, _BOOT_ROOT)
        uc.reg_write(UC_X86_REG_CR4, states.CR4)
        uc.msr_write(MSR_EFER, states.EFER)
        uc.reg_write(UC_X86_REG_CR0, states.CR0)
        if cpl == 3:
            self._enter_cpl3()
        uc.mem_write(_BOOT_ROOT + layout.CODE_SLOT * 8, bytes(8))

    def _attach(self, fidelity: str) -> cpu.Attached:
        for base, size in layout.REGIONS:
            self.uc.mem_map_ptr(base, size, UC_PROT_ALL, address_of(self.arena.maps[base]))
        return cpu.attach(self.uc, paging="guest", fidelity=fidelity)

    def _enter_cpl3(self) -> None:
        uc = self.uc
        frame = (layout.CODE + layout.CODE_CPL3, layout.USER_CS, 2, 0, layout.USER_DS)
        stack = layout.KERNEL_STACK - 40
        uc.mem_write(stack, b"".join(map(_word, frame)))
        uc.mem_write(_ENTER_CPL3, b"\x48\xcf")
        uc.reg_write(UC_X86_REG_RSP, layout.CODE + stack)
        uc.emu_start(layout.CODE + _ENTER_CPL3, frame[0])

    def close(self) -> None:
        self.machine.detach()

    def run(self, state: State) -> Result:
        """Execute a state, and leave memory as it was."""
        places = [(*self.arena.place(pa), value) for pa, value in state.words]
        saved = []
        for where, offset, value in places:
            saved.append(where[offset : offset + 8])
            pack_into("<Q", where, offset, value)
        cells = [(*self.arena.place(pa), n) for pa, n in state.cells]
        before = [where[offset : offset + n] for where, offset, n in cells]
        self._set(state)
        vector, error, cr2, rip = self._execute(state)
        rflags, *registers = self.uc.reg_read_batch((UC_X86_REG_RFLAGS, *_REGISTERS))
        words = tuple([unpack_from("<Q", where, offset)[0] for where, offset, _ in places])
        after = tuple([where[offset : offset + n] for where, offset, n in cells])
        for (where, offset, n), data in zip(cells, before, strict=True):
            where[offset : offset + n] = data
        for (where, offset, _), data in zip(places, saved, strict=True):
            where[offset : offset + 8] = data
        return Result(vector, error, cr2, rip, tuple(registers), rflags, words, after)

    def _set(self, state: State) -> None:
        """Load the registers, those that differ, with nothing cached. PCIDE is written while
        CR3[11:0] are 0.
        """
        uc = self.uc
        if state.ldt:
            uc.reg_write(UC_X86_REG_LDTR, (0x30, state.ldt, 0xFFFF, 0x8200))
        if state.efer != self.efer:
            self.efer = state.efer
            uc.msr_write(MSR_EFER, state.efer)
        if state.cr4 != self.cr4:
            self.cr4 = state.cr4
            uc.reg_write(UC_X86_REG_CR3, _BOOT_ROOT)
            uc.reg_write(UC_X86_REG_CR4, state.cr4)
        uc.reg_write_batch(
            [
                (UC_X86_REG_CR0, state.cr0),
                (UC_X86_REG_CR3, state.cr3),
                (UC_X86_REG_RFLAGS, state.rflags),
                *zip(_REGISTERS, state.registers, strict=True),
            ]
        )
        self.machine.mmu.flush_all()

    def _execute(self, state: State) -> tuple[int, int, int, int]:
        """(vector, error code, CR2, RIP)."""
        begin = states.code_at(state.cpl, state.kind)
        uc = self.uc
        try:
            uc.emu_start(begin, _end_of(state, begin))
        except PageFault as fault:
            return PAGE_FAULT, fault.error_code, fault.address, fault.rip or 0
        except GeneralProtection as fault:
            return GENERAL_PROTECTION, 0, states.CR2, fault.rip or 0
        except StackFault as fault:
            return STACK_FAULT, 0, states.CR2, fault.rip or 0
        return NO_VECTOR, 0, states.CR2, uc.reg_read(UC_X86_REG_RIP)


def _word(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _end_of(state: State, begin: int) -> int:
    """The RIP after the instruction."""
    if not KINDS[state.kind].jumps:
        return begin + len(KINDS[state.kind].code)
    va = state.registers[Register.RBX]
    if va % layout.PAGE == layout.PAGE - 1:
        return va + 2
    return va & -layout.PAGE | layout.NOPS_END


class Attached:
    """Instances of one fidelity at each CPL."""

    def __init__(self, fidelity: str) -> None:
        self.instances = {cpl: Instance(cpl, fidelity) for cpl in (0, 3)}

    def close(self) -> None:
        for instance in self.instances.values():
            instance.close()

    def run(self, state: State) -> Result:
        """Execute a state."""
        return self.instances[state.cpl].run(state)


