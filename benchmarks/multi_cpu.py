# SPDX-License-Identifier: GPL-2.0-or-later
"""Several vCPUs on one host thread: what their turns cost.

Threads of one program go round the loops of ``loops.S``, each on a CPU of its own, under the
machine's scheduler and its default quantum; against one thread that does as many turns on one CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from unicorn.x86_const import UC_X86_REG_RCX, UC_X86_REG_RDI, UC_X86_REG_RSI

from benchmarks.cpu_speed import (
    BUFFER,
    BUFFER_SIZE,
    CODE,
    LOOP_INSTRUCTIONS,
    RWX,
    STACK,
    Loop,
    assemble,
)
from benchmarks.measure import Result, compare
from cpu.context import Context
from cpu.scheduler import DEFAULT_QUANTUM, Scheduler
from cpu.thread import NEVER, Thread
from cpu.vcpu import Fidelity, VCpu, VmExit
from mmu.linux.mm import Mm
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE
from mmu.linux.state import Kernel
from mmu.linux.tlbflush import switch_mm
from mmu.memory import Memory
from mmu.x86 import Mmu

TURNS: Final = 8_000_000
"""Of all threads together."""
APART: Final = 4 << 20
"""Bytes between the places in the buffer at which two threads begin."""


class Looper(Thread):
    """A thread that goes round the loop until its SYSCALL."""

    def __init__(self, loops: Loops, context: Context) -> None:
        super().__init__(loops.mm, context)
        self.loops = loops

    def main(self) -> None:
        """Guest code, and no more of a kernel than page faults."""
        scheduler, mm = self.loops.scheduler, self.loops.mm
        while True:
            scheduler.end_slice_if_over(self)
            reason = scheduler.user_slice(self, NEVER)
            if reason == VmExit.SYSCALL:
                return
            if reason == VmExit.PAGE_FAULT:
                assert self.rq is not None
                exit_ = self.rq.vcpu.exit
                assert mm.handle_user_fault(exit_.address, exit_.error_code) is None


class Loops:
    """A machine of ``cpus`` CPUs, and as many threads in one address space."""

    def __init__(
        self,
        loop: Loop,
        cpus: int,
        *,
        fidelity: Fidelity = Fidelity.FAST,
        quantum: int = DEFAULT_QUANTUM,
    ) -> None:
        memory = Memory(256 << 20)
        kernel = Kernel(memory)
        for _ in range(cpus):
            kernel.add_cpu(Mmu(memory))
        self.mm = Mm(kernel)
        switch_mm(kernel, self.mm)
        for address, size in ((CODE, 0x1000), (BUFFER, BUFFER_SIZE), (STACK, 0x1000)):
            self.mm.mmap(address, size, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
        self.mm.copy_to_user(CODE, loop.code)
        vcpus = [VCpu(memory, cpu.mmu, cpu=cpu, fidelity=fidelity) for cpu in kernel.cpus]
        self.scheduler = Scheduler(kernel, vcpus, quantum=quantum)
        vcpus[0].enter_user(CODE + loop.start, STACK)
        self.start = vcpus[0].save_context()
        self.start.write_reg(UC_X86_REG_RDI, BUFFER)
        self.cpus = cpus

    def rate(self, turns: int = TURNS) -> float:
        """Millions of instructions per second, of all threads together."""
        for number in range(self.cpus):
            context = self.start.copy()
            context.write_reg(UC_X86_REG_RCX, turns // self.cpus)
            context.write_reg(UC_X86_REG_RSI, number * APART)
            self.scheduler.add(Looper(self, context))
        started = time.perf_counter()
        self.scheduler.run()
        return turns * LOOP_INSTRUCTIONS / 1e6 / (time.perf_counter() - started)


def _compare(name: str, loop: Loop, cpus: int) -> Result:
    return compare(
        name,
        Loops(loop, cpus).rate,
        Loops(loop, 1).rate,
        unit="MIPS",
        goal=">= 0.8",
        note=f"{cpus} threads on {cpus} vCPUs of one host thread, slices of {DEFAULT_QUANTUM}"
        " instructions on average, against one thread on one vCPU; 15 instructions a turn, fast",
    )


def four_vcpus() -> Iterator[Result]:
    """Four threads on four CPUs: without memory accesses, and walking through 16 MiB."""
    yield _compare("four_vcpus", assemble("loop_compute"), 4)
    yield _compare("four_vcpus_memory", assemble("loop_memory"), 4)
