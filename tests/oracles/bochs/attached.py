# SPDX-License-Identifier: GPL-2.0-or-later
"""States on Unicorn instances that our MMU is attached to, with ``paging="guest"``: all tables are
in memory that the instances have mapped.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from struct import pack, unpack
from typing import Any, Final

from unicorn import UC_ARCH_X86, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn.unicorn_py3 import unicorn as binding
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
MSR_STAR: Final = 0xC000_0081
MSR_LSTAR: Final = 0xC000_0082
MSR_FMASK: Final = 0xC000_0084
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


CONTROL: Final = (UC_X86_REG_CR3, UC_X86_REG_CR4, UC_X86_REG_CR0, UC_X86_REG_CR3)
"""The order in which control registers are loaded: CR4.PCIDE while CR3[11:0] are 0."""


class Batch:
    """Registers that are written, or read, together: at a tenth of what the binding takes."""

    def __init__(self, uc: Uc, registers: tuple[int, ...]) -> None:
        n = len(registers)
        self.values = (ctypes.c_uint64 * n)()
        base = ctypes.addressof(self.values)
        ids = (ctypes.c_int * n)(*registers)
        pointers = (ctypes.c_void_p * n)(*(base + 8 * i for i in range(n)))
        self._arguments = (uc._uch, ids, pointers, n)

    def write(self, values: Sequence[int]) -> None:
        """Uc.reg_write_batch()."""
        self.values[:] = list(values)
        assert binding.uclib.uc_reg_write_batch(*self._arguments) == 0

    def read(self) -> list[int]:
        """Uc.reg_read_batch()."""
        assert binding.uclib.uc_reg_read_batch(*self._arguments) == 0
        return self.values[:]


class Mapped:
    """Memory that an instance maps itself, by ``uc.mem_map()``; as layout.Arena."""

    def __init__(self, uc: Uc) -> None:
        self.uc = uc
        for base, size in layout.REGIONS:
            uc.mem_map(base, size)
        for base, size in layout.DATA:
            for pa in range(base, base + size, layout.PAGE):
                uc.mem_write(pa, layout.background(pa))

    def read(self, pa: int, n: int) -> bytes:
        return bytes(self.uc.mem_read(pa, n))

    def write(self, pa: int, data: bytes) -> None:
        self.uc.mem_write(pa, data)

    def read_u64(self, pa: int) -> int:
        return int.from_bytes(self.read(pa, 8), "little")

    def write_u64(self, pa: int, value: int) -> None:
        self.write(pa, _word(value))


def _pointed(uc: Uc) -> layout.Arena:
    """Memory that an instance is given by pointers, which the host then uses too."""
    arena = layout.Arena()
    for base, size in layout.REGIONS:
        uc.mem_map_ptr(base, size, UC_PROT_ALL, address_of(arena.maps[base]))
    return arena


class Instance:
    """An attached instance. Its memory is ``mapped`` by itself, or given by pointers."""

    def __init__(
        self, fixed: list[tuple[int, bytes]], *, mapped: bool = False, **options: Any
    ) -> None:
        self.uc = uc = Uc(UC_ARCH_X86, UC_MODE_64)
        uc.ctl_set_cpu_model(UC_CPU_X86_ICELAKE_SERVER)
        self.memory: Mapped | layout.Arena = Mapped(uc) if mapped else _pointed(uc)
        for pa, data in fixed:
            uc.mem_write(pa, data)
        self.efer = states.EFER
        uc.reg_write(UC_X86_REG_GDTR, (0, layout.CODE + layout.GDT, layout.GDT_LIMIT, 0))
        uc.reg_write(UC_X86_REG_IDTR, (0, layout.CODE + layout.IDT, layout.IDT_LIMIT, 0))
        tss = layout.CODE + layout.TSS
        uc.reg_write(UC_X86_REG_TR, (layout.TSS_SELECTOR, tss, layout.TSS_LIMIT, 0x8B00))
        uc.reg_write(UC_X86_REG_CR3, _BOOT_ROOT)
        uc.reg_write(UC_X86_REG_CR4, states.CR4)
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

    def set_efer(self, efer: int) -> None:
        """Load EFER, if it differs."""
        if efer != self.efer:
            self.efer = efer
            self.uc.msr_write(MSR_EFER, efer)

    def close(self) -> None:
        self.machine.detach()


class StateInstance(Instance):
    """Executes states of one CPL."""

    def __init__(self, cpl: int, fidelity: str, **options: Any) -> None:
        super().__init__(states.fixed_bytes(), fidelity=fidelity, **options)
        if cpl == 3:
            self.boot(layout.USER_CS, layout.USER_DS)
        self.before = Batch(self.uc, (*CONTROL, UC_X86_REG_RFLAGS, *_REGISTERS))
        self.after = Batch(self.uc, (UC_X86_REG_RFLAGS, *_REGISTERS))

    def run(self, state: State) -> Result:
        """Execute a state, and leave memory as it was."""
        memory = self.memory
        saved = [memory.read(pa, 8) for pa, _ in state.words]
        for pa, value in state.words:
            memory.write_u64(pa, value)
        before = [memory.read(pa, n) for pa, n in state.cells]
        self._set(state)
        vector, error, cr2, rip = self._execute(state)
        rflags, *registers = self.after.read()
        words = tuple([memory.read_u64(pa) for pa, _ in state.words])
        cells = tuple([memory.read(pa, n) for pa, n in state.cells])
        for (pa, _), data in zip(state.cells, before, strict=True):
            memory.write(pa, data)
        for (pa, _), data in zip(state.words, saved, strict=True):
            memory.write(pa, data)
        return Result(vector, error, cr2, rip, tuple(registers), rflags, words, cells)

    def _set(self, state: State) -> None:
        """Load the registers, with nothing cached."""
        uc = self.uc
        if state.ldt:
            uc.reg_write(UC_X86_REG_LDTR, (0x30, state.ldt, 0xFFFF, 0x8200))
        self.set_efer(state.efer)
        self.before.write(
            (_BOOT_ROOT, state.cr4, state.cr0, state.cr3, state.rflags, *state.registers)
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

    def __init__(self, fidelity: str, **options: Any) -> None:
        self.instances = {cpl: StateInstance(cpl, fidelity, **options) for cpl in (0, 3)}

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
        self.uc.msr_write(MSR_STAR, kernel_code.STAR)
        self.uc.msr_write(MSR_LSTAR, self.at["syscall_entry"])
        self.uc.msr_write(MSR_FMASK, kernel_code.FMASK)
        others = (UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15)
        self.before = Batch(self.uc, (*CONTROL, UC_X86_REG_CR2, UC_X86_REG_RFLAGS, *others))
        self.after = Batch(
            self.uc, (UC_X86_REG_CR0, UC_X86_REG_CR3, UC_X86_REG_CR4, UC_X86_REG_R14)
        )

    def run(self, kernel: Kernel) -> KernelResult:
        """Execute a kernel, and leave memory as it was."""
        uc, memory = self.uc, self.memory
        for pa, value in kernel.words:
            memory.write_u64(pa, value)
        uc.mem_write(kernel_code.OPS, b"".join(pack("<4Q", *op.packed()) for op in kernel.ops))
        self._set(kernel)
        uc.emu_start(self.at["dispatch"], self.at["end"])
        cr0, cr3, cr4, end = self.after.read()
        self.efer = uc.msr_read(MSR_EFER)
        words = tuple([memory.read_u64(pa) for pa, _ in kernel.words])
        data = memory.read(kernel_code.LOG, end - layout.CODE - kernel_code.LOG)
        log = unpack(f"<{len(data) // 8}Q", data)
        for pa, _ in kernel.words:
            memory.write_u64(pa, 0)
        told = invalidations_of(self.ring)
        return KernelResult(log, (cr0, cr3, cr4, self.efer), words, self._changed(kernel), told)

    def _set(self, kernel: Kernel) -> None:
        self.set_efer(kernel.efer)
        log, ops = layout.CODE + kernel_code.LOG, layout.CODE + kernel_code.OPS
        control = (_BOOT_ROOT, kernel.cr4, kernel.cr0, kernel.cr3)
        self.before.write((*control, states.CR2, states.RFLAGS, layout.CODE, log, ops))
        self.machine.sync()
        self.machine.mmu.flush_all()
        invalidations_of(self.ring)

    def _changed(self, kernel: Kernel) -> tuple[tuple[int, bytes], ...]:
        """Pages of data that were changed, which are put back."""
        changed = []
        for pa in kernel.data:
            data = self.memory.read(pa, layout.PAGE)
            if data != layout.background(pa):
                changed.append((pa, data))
                self.uc.mem_write(pa, layout.background(pa))
        return tuple(changed)
