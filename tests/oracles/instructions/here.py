# SPDX-License-Identifier: GPL-2.0-or-later
"""Our processor: the same instruction on a VCpu over the same memory, and the signal that
the kernel's entry code makes of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile
from typing import Any, Final

import pytest
from capstone import x86_const as x86
from unicorn import x86_const as uc_x86

from cpu.exceptions import handle_exception, handle_page_fault
from cpu.in_flight import forget_exception
from cpu.machine import Machine
from cpu.signal_delivery import do_signal
from cpu.task import TaskEnd
from cpu.vcpu import EngineError, VmExit
from mmu.linux.mman import PROT_EXEC, PROT_READ, PROT_WRITE
from mmu.memory import Memory
from mmu.x86 import Access
from tests.cpu.world import How, map_fixed
from tests.guests.elf_builder import Elf
from tests.oracles.instructions.encoding import decode
from tests.oracles.instructions.state import (
    CODE,
    DATA,
    DATA_SIZE,
    GPR_NAMES,
    INT3,
    MEMORY_SIZE,
    READ_ONLY,
    SEGMENT_NAMES,
    STACK,
    STACK_SIZE,
    TEXT,
    TEXT_SIZE,
    Case,
    Fp,
    Outcome,
    State,
    address_of,
)

PAGE: Final = 4096
MAX_STEPS: Final = 2000
BREAKPOINT: Final = 3
RAM: Final = 32 << 20


def _reg(name: str) -> int:
    return int(getattr(uc_x86, f"UC_X86_REG_{name.upper()}"))


_GPRS: Final = [_reg(name) for name in GPR_NAMES]
_SEGMENTS: Final = [_reg(name) for name in SEGMENT_NAMES]
_XMM: Final = [_reg(f"xmm{n}") for n in range(16)]
_FP: Final = [_reg(f"fp{n}") for n in range(8)]
_RIP, _RFLAGS, _FS_BASE, _GS_BASE = _reg("rip"), _reg("eflags"), _reg("fs_base"), _reg("gs_base")
_FPCW, _FPSW, _FPTAG, _MXCSR = _reg("fpcw"), _reg("fpsw"), _reg("fptag"), _reg("mxcsr")


class OurProcessor:
    """A VCpu with text, data and stack as ``state`` says. ``memory`` is what every instruction
    finds in data and stack.

    ``how`` is fidelity and engine. ``stepped``: the instruction is run by a limit of one, not to
    the INT3 behind it; so is always what capstone does not know, whose length is not known.
    """

    def __init__(self, memory: bytes, how: How, *, stepped: bool = False) -> None:
        self.how = how
        self.stepped = stepped
        self._pristine = memory
        self.rebuilt = 0
        self._build()

    def close(self) -> None:
        """Free guest RAM and the instance."""
        self._machine.close()
        self._mm.exit_mmap()
        self._ram.close()

    def _build(self) -> None:
        how = self.how
        self._ram = Memory(RAM)
        self._machine = Machine(
            self._ram,
            engine=how.engine,
            geometry="tiny",
            fidelity=how.fidelity,
            fast_faults=how.fast_faults,
        )
        with NamedTemporaryFile() as program:
            program.write(Elf().build())
            program.flush()
            os.chmod(program.name, 0o755)
            self._task = self._machine.spawn(program.name).leader
        (rq,) = self._machine.scheduler.rqs
        self._machine.scheduler.context_switch(rq, self._task)
        self._mm, self._vcpu, self._mmu = self._task.mm, rq.vcpu, rq.cpu.mmu
        map_fixed(self._mm, TEXT, TEXT_SIZE, PROT_READ | PROT_WRITE)
        self._mm.copy_to_user(TEXT, bytes((INT3,)) * TEXT_SIZE)
        self._mm.mprotect(TEXT, TEXT_SIZE, PROT_READ | PROT_EXEC)
        for at, size in ((DATA, DATA_SIZE), (STACK, STACK_SIZE)):
            map_fixed(self._mm, at, size, PROT_READ | PROT_WRITE)
        self._mm.copy_to_user(DATA, self._pristine[:DATA_SIZE])
        self._mm.copy_to_user(STACK, self._pristine[DATA_SIZE:])
        self._mm.mprotect(DATA + DATA_SIZE - READ_ONLY, READ_ONLY, PROT_READ)
        self._frames = [
            self._mmu.walk(address_of(at), Access.READ).pa for at in range(0, MEMORY_SIZE, PAGE)
        ]
        self._code_pa = self._mmu.walk(CODE, Access.READ).pa
        self._vcpu.enter_user(CODE, STACK + PAGE)
        self._segments = self._read_segments()

    def execute(self, case: Case) -> Outcome:
        """The case's instruction, from its state."""
        self._put_code(case.code)
        self._load(case.before)
        try:
            ended, sig, rip = self._run(case)
        except EngineError as error:
            return self._engine_failed(case, error)
        after = self._save(rip)
        memory = self._settle_memory()
        self._put_code(bytes((INT3,)) * len(case.code))
        if after.segments != self._segments or self._vcpu.cpl != 3:
            self._rebuild()
        elif ended == "signal":
            forget_exception(self._vcpu.uc)
        return Outcome(ended, after, sig, memory)

    def _engine_failed(self, case: Case, error: EngineError) -> Outcome:
        self._rebuild()
        return Outcome(str(error), case.before)

    def _rebuild(self) -> None:
        """A fresh machine, since no register write brings this one back."""
        self.close()
        self._build()
        self.rebuilt += 1

    # Running.

    def _run(self, case: Case) -> tuple[str, tuple[int, str, int | None], int]:
        """How it ended, the signal, RIP."""
        vcpu = self._vcpu
        assert vcpu.instructions is not None
        first = vcpu.instructions
        stepped = self.stepped or _leads_into_itself(case.code)
        end = first + (1 if stepped else MAX_STEPS)
        while True:
            exit_ = vcpu.run(end)
            if exit_.reason == VmExit.LIMIT:
                if not stepped or vcpu.instructions - first > MAX_STEPS:
                    return "loop", (0, "", None), vcpu.rip
                if vcpu.rip == CODE:
                    end += 1
                    continue
                return "done", (0, "", None), vcpu.rip
            rip = self._reached(exit_, len(case.code))
            if rip is not None:
                return "done", (0, "", None), rip
            sig = self._signal(exit_)
            if sig is not None:
                return "signal", sig, vcpu.rip

    def _reached(self, exit_: Any, length: int) -> int | None:
        """Where the next instruction stands, if this exit says that ours was executed."""
        rip = int(exit_.rip)
        if (
            exit_.reason == VmExit.EXCEPTION
            and exit_.vector == BREAKPOINT
            and not CODE < rip <= CODE + length
        ):
            return rip - 1
        if rip == CODE:
            return None
        if exit_.reason == VmExit.PAGE_FAULT and exit_.access == Access.FETCH:
            return rip
        return None

    def _signal(self, exit_: Any) -> tuple[int, str, int | None] | None:
        """The signal that the process gets; None if it goes on."""
        task = self._task
        if exit_.reason == VmExit.PAGE_FAULT:
            handle_page_fault(task, exit_)
        elif exit_.reason == VmExit.EXCEPTION:
            handle_exception(task, exit_)
        else:
            return (0, f"exit reason {exit_.reason}", None)
        if not task.signal_pending():
            return None
        with pytest.raises(TaskEnd) as caught:
            do_signal(task)
        task.pending.flush(task.pending.signal)
        task.process.killed = task.process.end = None
        report = caught.value.report
        assert report is not None
        return (report.signo, report.code, report.address)

    # State.

    def _put_code(self, code: bytes) -> None:
        self._ram.write(self._code_pa, code)
        self._vcpu.drop_code(self._code_pa)

    def _load(self, state: State) -> None:
        write = self._vcpu.uc.reg_write
        for reg, value in zip(_GPRS, state.gpr, strict=True):
            write(reg, value)
        for reg, value in zip(_XMM, state.fp.xmm, strict=True):
            write(reg, value)
        top = state.fp.top
        for n, register in enumerate(state.fp.st):
            write(_FP[(top + n) & 7], register)
        write(_FPCW, state.fp.fcw)
        write(_FPSW, state.fp.fsw)
        write(_FPTAG, sum(3 << 2 * n for n in range(8) if not state.fp.tags >> n & 1))
        write(_MXCSR, state.fp.mxcsr)
        write(_FS_BASE, state.fs_base)
        write(_GS_BASE, state.gs_base)
        write(_RFLAGS, state.rflags)
        write(_RIP, state.rip)

    def _save(self, rip: int) -> State:
        read = self._vcpu.uc.reg_read
        tag = read(_FPTAG)
        fsw = read(_FPSW)
        top = fsw >> 11 & 7
        st = tuple(read(_FP[(top + n) & 7]) for n in range(8))
        fp = Fp(
            fcw=read(_FPCW),
            fsw=fsw,
            tags=sum(1 << n for n in range(8) if tag >> 2 * n & 3 != 3),
            st=st,
            mxcsr=read(_MXCSR),
            xmm=tuple(read(reg) for reg in _XMM),
        )
        return State(
            gpr=tuple(read(reg) for reg in _GPRS),
            rip=rip,
            rflags=read(_RFLAGS),
            fs_base=read(_FS_BASE),
            gs_base=read(_GS_BASE),
            segments=self._read_segments(),
            fp=fp,
        )

    def _read_segments(self) -> tuple[int, ...]:
        return tuple(self._vcpu.uc.reg_read(reg) for reg in _SEGMENTS)

    def _settle_memory(self) -> dict[int, int]:
        """Each byte that changed, by address; then all is as before."""
        changed = {}
        for page, pa in enumerate(self._frames):
            was, now = self._pristine[page * PAGE : (page + 1) * PAGE], self._ram.read(pa, PAGE)
            if was != now:
                at = address_of(page * PAGE)
                changed.update({at + n: now[n] for n in range(PAGE) if was[n] != now[n]})
                self._ram.write(pa, was)
        return changed


def _leads_into_itself(code: bytes) -> bool:
    """Whether INT3 may not be what follows: it branches into its own bytes, or its length is not
    known.

    A relative branch with 66 is shorter to AMD and to Unicorn than to Intel and to capstone.
    """
    insn = decode(code)
    if insn is None:
        return True
    if x86.X86_GRP_BRANCH_RELATIVE not in insn.groups:
        return False
    return insn.prefix[2] != 0 or CODE < insn.operands[-1].imm < CODE + len(code)


@contextmanager
def our_processor(memory: bytes, how: How, *, stepped: bool = False) -> Iterator[OurProcessor]:
    """An OurProcessor, closed at the end."""
    processor = OurProcessor(memory, how, stepped=stepped)
    try:
        yield processor
    finally:
        processor.close()
