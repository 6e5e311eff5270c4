# SPDX-License-Identifier: GPL-2.0-or-later
"""Bochs itself, in a process of its own: reads cases from standard input, writes what they did to
standard output, both pickled.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import struct
import sys
import traceback
from typing import Any, Final

import bochscpu  # type: ignore[import-untyped]
import bochscpu.cpu  # type: ignore[import-untyped]
import bochscpu.memory  # type: ignore[import-untyped]

from tests.oracles.bochs import kernel_code, layout, states
from tests.oracles.bochs.kernels import Kernel, KernelResult
from tests.oracles.bochs.states import Result, State

_HAVE_ERROR_CODES: Final = frozenset({8, 10, 11, 12, 13, 14, 17})


def segment(selector: int, attributes: int, *, base: int = 0, limit: int = 0xFFFFFFFF) -> Any:
    found = bochscpu.Segment()
    found.present, found.selector = True, selector
    found.base, found.limit, found.attr = base, limit, attributes
    return found


def table_register(base: int, limit: int) -> Any:
    found = bochscpu.GlobalSegment()
    found.base, found.limit = base, limit
    return found


def registers_for(cpl: int) -> Any:
    """Bochs' State for 64-bit mode at that CPL."""
    found = bochscpu.State()
    bochscpu.cpu.set_long_mode(found)
    found.cs = segment(layout.USER_CS, 0x20FB) if cpl else segment(layout.KERNEL_CS, 0x209B)
    data = segment(layout.USER_DS, 0xCFF3) if cpl else segment(layout.KERNEL_DS, 0xCF93)
    for name in ("ss", "ds", "es", "fs", "gs"):
        setattr(found, name, data)
    found.gdtr = table_register(layout.CODE + layout.GDT, layout.GDT_LIMIT)
    found.idtr = table_register(layout.CODE + layout.IDT, layout.IDT_LIMIT)
    found.tr = segment(
        layout.TSS_SELECTOR, 0x008B, base=layout.CODE + layout.TSS, limit=layout.TSS_LIMIT
    )
    return found


class Machine:
    """The processor and its memory. ``run()`` goes on to the next HLT."""

    def __init__(self) -> None:
        self.arena = layout.Arena()
        for base, where in self.arena.maps.items():
            host = ctypes.addressof(ctypes.c_char.from_buffer(where))
            for offset in range(0, len(where), layout.PAGE):
                bochscpu.memory.page_insert(base + offset, host + offset)
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self._missing
        self.cpu = self.session.cpu
        self.hook = bochscpu.Hook()
        self.hook.hlt = lambda session, _cpu: session.stop()
        self.hooks = [self.hook]
        self.registers = {cpl: registers_for(cpl) for cpl in (0, 3)}

    def forget_decoded(self) -> None:
        """Drop all decoded code, which takes a millisecond."""
        library = ctypes.CDLL(bochscpu._bochscpu.__file__)
        library._Z12flushICachesv()

    def _missing(self, pa: int) -> None:
        sys.stderr.write(f"Bochs: no memory at {pa:#x}\n")
        sys.stderr.flush()
        os._exit(1)

    def run(self) -> None:
        self.session.run(self.hooks)


class StateRunner:
    """Executes states."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def load(self) -> None:
        """Lay out the guest's own pages."""
        for pa, data in states.fixed_bytes():
            self.machine.arena.write(pa, data)

    def run(self, state: State) -> Result:
        machine, arena = self.machine, self.machine.arena
        places = [(*arena.place(pa), value) for pa, value in state.words]
        saved = []
        for where, offset, value in places:
            saved.append(where[offset : offset + 8])
            struct.pack_into("<Q", where, offset, value)
        cells = [(*arena.place(pa), n) for pa, n in state.cells]
        before = [where[offset : offset + n] for where, offset, n in cells]
        self._set(state)
        machine.run()
        words = tuple(struct.unpack_from("<Q", where, offset)[0] for where, offset, _ in places)
        after = tuple(where[offset : offset + n] for where, offset, n in cells)
        result = self._result(words, after)
        for (where, offset, n), data in zip(cells, before, strict=True):
            where[offset : offset + n] = data
        for (where, offset, _), data in zip(places, saved, strict=True):
            where[offset : offset + 8] = data
        return result

    def _set(self, state: State) -> None:
        r = self.machine.registers[state.cpl]
        r.cr0, r.cr2, r.cr3, r.cr4 = state.cr0, states.CR2, state.cr3, state.cr4
        r.efer, r.rflags = state.efer, state.rflags
        r.rip = states.code_at(state.cpl, state.kind)
        r.rax, r.rbx, r.rcx, r.rsp, r.rsi, r.rdi = state.registers
        if state.ldt:
            r.ldtr = segment(0x30, 0x0082, base=state.ldt, limit=0xFFFF)
        self.machine.cpu.state = r

    def _result(self, words: tuple[int, ...], cells: tuple[bytes, ...]) -> Result:
        """What the exception that ended it left: its frame lies at the end of the stack."""
        cpu = self.machine.cpu
        vector = (cpu.rip - 1 - layout.CODE - layout.HANDLERS) // 16
        frame = self.machine.arena.maps[0]
        error = 0
        if vector in _HAVE_ERROR_CODES:
            error = struct.unpack_from("<Q", frame, layout.STACK - 48)[0]
        rip, _cs, rflags, rsp, _ss = struct.unpack_from("<5Q", frame, layout.STACK - 40)
        registers = (cpu.rax, cpu.rbx, cpu.rcx, rsp, cpu.rsi, cpu.rdi)
        return Result(vector, error, cpu.cr2, rip, registers, rflags, words, cells)


_TLB_CONTROL: Final = {10: "cr0", 11: "cr3", 12: "cr4", 15: "invlpg", 18: "invpcid"}
"""BX_INSTR_* of instrumentation, by our names."""


class KernelRunner:
    """Executes kernels."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.events: list[tuple[str, int]] = []

    def load(self) -> None:
        """Lay out the guest's own pages."""
        for pa, data in kernel_code.fixed_bytes():
            self.machine.arena.write(pa, data)

    def run(self, kernel: Kernel) -> KernelResult:
        machine, arena = self.machine, self.machine.arena
        places = [(*arena.place(pa), value) for pa, value in kernel.words]
        for where, offset, value in places:
            struct.pack_into("<Q", where, offset, value)
        own = arena.maps[0]
        for number, op in enumerate(kernel.ops):
            struct.pack_into("<4Q", own, kernel_code.OPS + 32 * number, *op.packed())
        self._set(kernel)
        self.events.clear()
        machine.hook.tlb_cntrl = lambda _s, _c, what, value: self.events.append(
            (_TLB_CONTROL[int(what)], value)
        )
        machine.run()
        machine.hook.tlb_cntrl = lambda _s, _c, _what, _value: None
        words = tuple(struct.unpack_from("<Q", where, offset)[0] for where, offset, _ in places)
        data = []
        for pa in kernel.data:
            after = arena.read(pa, layout.PAGE)
            if after != layout.background(pa):
                data.append((pa, after))
                arena.write(pa, layout.background(pa))
        for where, offset, _ in places:
            struct.pack_into("<Q", where, offset, 0)
        return self._result(words, tuple(data))

    def _set(self, kernel: Kernel) -> None:
        r = self.machine.registers[0]
        r.cr0, r.cr2, r.cr3, r.cr4 = kernel.cr0, states.CR2, kernel.cr3, kernel.cr4
        r.efer, r.rflags = kernel.efer, states.RFLAGS
        r.star, r.lstar = kernel_code.STAR, kernel_code.addresses()["syscall_entry"]
        r.sfmask = kernel_code.FMASK
        r.rip = kernel_code.addresses()["dispatch"]
        r.r13, r.r14 = layout.CODE, layout.CODE + kernel_code.LOG
        r.r15 = layout.CODE + kernel_code.OPS
        self.machine.cpu.state = r

    def _result(self, words: tuple[int, ...], data: tuple[tuple[int, bytes], ...]) -> KernelResult:
        cpu = self.machine.cpu
        assert cpu.rip == kernel_code.addresses()["end"] + 1, hex(cpu.rip)
        n = (cpu.r14 - layout.CODE - kernel_code.LOG) // 8
        log = struct.unpack_from(f"<{n}Q", self.machine.arena.maps[0], kernel_code.LOG)
        state = cpu.state
        control = (state.cr0, state.cr3, state.cr4, state.efer)
        return KernelResult(log, control, words, data, tuple(self.events))


def main() -> None:
    """Serve batches until the input ends."""
    source = sys.stdin.buffer
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    machine = Machine()
    runners: dict[type, Any] = {State: StateRunner(machine), Kernel: KernelRunner(machine)}
    loaded: Any = None
    try:
        while True:
            batch = pickle.load(source)
            runner = runners[type(batch[0])]
            if runner is not loaded:
                runner.load()
                loaded = runner
            if len(batch) == 1:
                machine.forget_decoded()
            pickle.dump([runner.run(case) for case in batch], target, pickle.HIGHEST_PROTOCOL)
            target.flush()
    except EOFError:
        os._exit(0)  # Bochs' bindings would tell of leaks
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
