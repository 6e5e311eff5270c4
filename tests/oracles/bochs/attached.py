# SPDX-License-Identifier: GPL-2.0-or-later
"""States on Unicorn instances that our MMU is attached to, with ``paging="guest"``: all tables are
in memory that the instances have mapped.
"""

from __future__ import annotations

import ctypes
import mmap
from struct import pack, pack_into, unpack_from
from typing import Any, Final

from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.x86_const import (
    UC_CPU_X86_ICELAKE_SERVER,
    UC_X86_REG_CR0,
    UC_X86_REG_CR2,
    UC_X86_REG_CR3,
    UC_X86_REG_CR4,
    UC_X86_REG_GDTR,
    UC_X86_REG_IDTR,
    UC_X86_REG_LDTR,
    UC_X86_REG_R13,
    UC_X86_REG_R14,
    UC_X86_REG_R15,
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RDI,
    UC_X86_REG_RFLAGS,
    UC_X86_REG_RIP,
    UC_X86_REG_RSI,
    UC_X86_REG_RSP,
    UC_X86_REG_TR,
)

import cpu
from mmu.errors import GeneralProtection, PageFault, StackFault
from mmu.events import EventRing
from tests.oracles.bochs import kernel_code, layout, states
from tests.oracles.bochs.kernels import Kernel, KernelResult
from tests.oracles.bochs.model import invalidations_of
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
_BOOT: Final = 0x1D000
"""A page of the guest's own, supervisor's, with IRETQ and a NOP."""
_BOOT_ROOT: Final = layout.FRAMES[0]


def address_of(memory: mmap.mmap) -> int:
    """Where a mapping lies in the host."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Instance:
    """An attached instance, whose memory is ``arena``: by pointers, or mapped by itself."""

    def __init__(self, fixed: list[tuple[int, bytes]], **options: Any) -> None:
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
        self.arena = layout.Arena()
        for base, size in layout.REGIONS:
            uc.mem_map_ptr(base, size, UC_PROT_ALL, address_of(self.arena.maps[base]))
        for pa, data in fixed:
            uc.mem_write(pa, data)
        self.cr4, self.efer = states.CR4, states.EFER
        uc.reg_write(UC_X86_REG_GDTR, (0, layout.CODE + layout.GDT, layout.GDT_LIMIT, 0))
        uc.reg_write(UC_X86_REG_IDTR, (0, layout.CODE + layout.IDT, layout.IDT_LIMIT, 0))
        tss = layout.CODE + layout.TSS
        uc.reg_write(UC_X86_REG_TR, (layout.TSS_SELECTOR, tss, layout.TSS_LIMIT, 0x8B00))
        uc.reg_write(UC_X86_REG_CR3, _BOOT_ROOT)
        uc.reg_write(UC_X86_REG_CR4, self.cr4)
        uc.msr_write(MSR_EFER, self.efer)
        uc.reg_write(UC_X86_REG_CR0, states.CR0)
        self.machine = cpu.attach(uc, paging="guest", **options)

    def boot(self, cs: int, ss: int) -> None:
        """Load segments as IRETQ does, by tables that lead to the guest's own pages only."""
        uc = self.uc
        entry = _BOOT_ROOT + layout.CODE_SLOT * 8
        uc.mem_write(entry, _word(layout.ROOT_ENTRY))
        frame = (layout.CODE + _BOOT + 2, cs, 2, 0, ss)
        stack = layout.KERNEL_STACK - 40
        uc.mem_write(stack, b"".join(map(_word, frame)))
        uc.mem_write(_BOOT, b"\x48\xcf\x90")
        uc.reg_write(UC_X86_REG_RSP, layout.CODE + stack)
        uc.emu_start(layout.CODE + _BOOT, frame[0])
        uc.mem_write(entry, bytes(8))

    def set_control(self, cr3: int, cr4: int, efer: int) -> None:
        """Load these registers, those that differ. PCIDE is written while CR3[11:0] are 0."""
        uc = self.uc
        if efer != self.efer:
            self.efer = efer
            uc.msr_write(MSR_EFER, efer)
        if cr4 != self.cr4:
            self.cr4 = cr4
            uc.reg_write(UC_X86_REG_CR3, _BOOT_ROOT)
            uc.reg_write(UC_X86_REG_CR4, cr4)
        uc.reg_write(UC_X86_REG_CR3, cr3)

    def close(self) -> None:
        self.machine.detach()


class StateInstance(Instance):
    """Executes states of one CPL."""

    def __init__(self, cpl: int, fidelity: str) -> None:
        super().__init__(states.fixed_bytes(), fidelity=fidelity)
        if cpl == 3:
            self.boot(layout.USER_CS, layout.USER_DS)

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
        """Load the registers, with nothing cached."""
        uc = self.uc
        if state.ldt:
            uc.reg_write(UC_X86_REG_LDTR, (0x30, state.ldt, 0xFFFF, 0x8200))
        self.set_control(state.cr3, state.cr4, state.efer)
        uc.reg_write_batch(
            [
                (UC_X86_REG_CR0, state.cr0),
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
        self.instances = {cpl: StateInstance(cpl, fidelity) for cpl in (0, 3)}

    def close(self) -> None:
        for instance in self.instances.values():
            instance.close()

    def run(self, state: State) -> Result:
        """Execute a state."""
        return self.instances[state.cpl].run(state)


class KernelInstance(Instance):
    """Executes kernels, whose exceptions are delivered."""

    def __init__(self, fidelity: str, **options: Any) -> None:
        self.ring = EventRing(1 << 14)
        super().__init__(
            kernel_code.fixed_bytes(), fidelity=fidelity, deliver=True, ring=self.ring, **options
        )
        self.ring.enable()
        self.boot(layout.KERNEL_CS, layout.KERNEL_DS)
        self.at = kernel_code.addresses()

    def run(self, kernel: Kernel) -> KernelResult:
        """Execute a kernel, and leave memory as it was."""
        uc, arena = self.uc, self.arena
        places = [(*arena.place(pa), value) for pa, value in kernel.words]
        for where, offset, value in places:
            pack_into("<Q", where, offset, value)
        uc.mem_write(kernel_code.OPS, b"".join(pack("<4Q", *op.packed()) for op in kernel.ops))
        self._set(kernel)
        uc.emu_start(self.at["dispatch"], self.at["end"])
        control = tuple(uc.reg_read_batch((UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4)))
        self.cr4, self.efer = control[2], uc.msr_read(MSR_EFER)
        words = tuple([unpack_from("<Q", where, offset)[0] for where, offset, _ in places])
        n = (uc.reg_read(UC_X86_REG_R14) - layout.CODE - kernel_code.LOG) // 8
        log = unpack_from(f"<{n}Q", arena.maps[0], kernel_code.LOG)
        for where, offset, _ in places:
            pack_into("<Q", where, offset, 0)
        return KernelResult(
            log, (*control, self.efer), words, self._changed(kernel), invalidations_of(self.ring)
        )

    def _set(self, kernel: Kernel) -> None:
        uc = self.uc
        self.set_control(kernel.cr3, kernel.cr4, kernel.efer)
        uc.reg_write_batch(
            [
                (UC_X86_REG_CR0, kernel.cr0),
                (UC_X86_REG_CR2, states.CR2),
                (UC_X86_REG_RFLAGS, states.RFLAGS),
                (UC_X86_REG_R13, layout.CODE),
                (UC_X86_REG_R14, layout.CODE + kernel_code.LOG),
                (UC_X86_REG_R15, layout.CODE + kernel_code.OPS),
            ]
        )
        self.machine.sync()
        self.machine.mmu.flush_all()
        invalidations_of(self.ring)

    def _changed(self, kernel: Kernel) -> tuple[tuple[int, bytes], ...]:
        """Pages of data that were changed, which are put back."""
        changed = []
        for pa in kernel.data:
            data = self.arena.read(pa, layout.PAGE)
            if data != layout.background(pa):
                changed.append((pa, data))
                self.uc.mem_write(pa, layout.background(pa))
        return tuple(changed)
