# SPDX-License-Identifier: GPL-2.0-or-later
"""The same machine code on our vCPU and on bare Unicorn: plain memory, no hooks, paging off.

Both run warm: translated, and with every page touched.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import UC_X86_REG_RCX, UC_X86_REG_RDI, UC_X86_REG_RIP, UC_X86_REG_RSI

from benchmarks.measure import Result, compare
from cpu.vcpu import Fidelity, VCpu, VmExit
from mmu.events import EventRing
from mmu.linux.mm import boot
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.memory import Memory
from mmu.x86 import Mmu

CODE = 0x400000
BUFFER = 0x10000000
BUFFER_SIZE = 17 << 20
"""What loops.S walks through, and room for its last accesses."""
STACK = 0x20000000
RWX = 7
LOOP_INSTRUCTIONS = 15
TURNS = 8_000_000


@dataclass(frozen=True)
class Loop:
    """The code of loops.S, and where in it a loop begins and ends (at a SYSCALL)."""

    code: bytes
    start: int
    end: int


def assemble(name: str) -> Loop:
    """Assemble loops.S and find a loop in it."""
    source = Path(__file__).resolve().parent / "loops.S"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "loops.o"
        subprocess.run(["gcc", "-c", "-o", str(target), str(source)], check=True)
        elf = ELFFile(io.BytesIO(target.read_bytes()))
    symbols = {
        symbol.name: symbol["st_value"]
        for symbol in elf.get_section_by_name(".symtab").iter_symbols()
    }
    return Loop(elf.get_section_by_name(".text").data(), symbols[name], symbols[f"{name}_end"])


class Ours:
    """A vCPU over an mm, at CPL 3."""

    def __init__(
        self,
        loop: Loop,
        *,
        count: bool = True,
        fidelity: Fidelity = Fidelity.FAST,
        ring: EventRing | None = None,
    ) -> None:
        memory = Memory(256 << 20)
        mmu = Mmu(memory, ring=ring)
        self.mm = boot(memory, mmu)
        for address, size in ((CODE, 0x1000), (BUFFER, BUFFER_SIZE), (STACK, 0x1000)):
            self.mm.mmap(address, size, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
        self.mm.copy_to_user(CODE, loop.code)
        self.vcpu = VCpu(memory, mmu, self.mm, count=count, fidelity=fidelity)
        self.loop = loop
        self.vcpu.enter_user(CODE + loop.start, STACK)

    def rate(self) -> float:
        """Millions of instructions per second in one run of the loop."""
        vcpu = self.vcpu
        for register, value in (
            (UC_X86_REG_RCX, TURNS),
            (UC_X86_REG_RDI, BUFFER),
            (UC_X86_REG_RSI, 0),
            (UC_X86_REG_RIP, CODE + self.loop.start),
        ):
            vcpu.write_reg(register, value)
        started = time.perf_counter()
        while True:
            exit_ = vcpu.run()
            if exit_.reason == VmExit.SYSCALL:
                break
            if exit_.reason != VmExit.PAGE_FAULT or self.mm.handle_user_fault(
                exit_.address, exit_.error_code
            ):
                raise AssertionError(f"the loop ended with exit {exit_.reason}")
        return TURNS * LOOP_INSTRUCTIONS / 1e6 / (time.perf_counter() - started)


class Bare:
    """Unicorn as it comes."""

    def __init__(self, loop: Loop) -> None:
        self.uc = Uc(UC_ARCH_X86, UC_MODE_64)
        for address, size in ((CODE, 0x1000), (BUFFER, BUFFER_SIZE)):
            self.uc.mem_map(address, size)
        self.uc.mem_write(CODE, loop.code)
        self.loop = loop

    def rate(self) -> float:
        """Millions of instructions per second in one run of the loop."""
        self.uc.reg_write(UC_X86_REG_RCX, TURNS)
        self.uc.reg_write(UC_X86_REG_RDI, BUFFER)
        self.uc.reg_write(UC_X86_REG_RSI, 0)
        started = time.perf_counter()
        self.uc.emu_start(CODE + self.loop.start, CODE + self.loop.end)
        return TURNS * LOOP_INSTRUCTIONS / 1e6 / (time.perf_counter() - started)


def _compare(name: str, loop: Loop, *, count: bool, goal: str) -> Result:
    counting = "counting instructions" if count else "not counting"
    return compare(
        name,
        Ours(loop, count=count).rate,
        Bare(loop).rate,
        unit="MIPS",
        goal=goal,
        note=f"15 instructions a turn, fast, {counting}, against bare Unicorn without hooks or"
        " paging",
    )


def fast_compute() -> Iterator[Result]:
    """No memory access but fetches; ``light`` is the same on instructions that cost Unicorn next to
    nothing.
    """
    loop = assemble("loop_compute")
    yield _compare("fast_compute", loop, count=True, goal=">= 0.6")
    yield _compare("fast_compute_nocount", loop, count=False, goal=">= 0.9")
    yield _compare("fast_compute_light", assemble("loop_light"), count=True, goal=">= 0.6")


def fast_memory() -> Iterator[Result]:
    """Two loads and a store a turn, walking through 16 MiB."""
    loop = assemble("loop_memory")
    yield _compare("fast_memory", loop, count=True, goal=">= 0.85")
    yield _compare("fast_memory_nocount", loop, count=False, goal=">= 0.95")
