# SPDX-License-Identifier: GPL-2.0-or-later
"""Several vCPUs that execute one program's threads in one address space, and a kernel that only
resolves faults.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cpu.vcpu import VCpu, VmExit
from mmu.linux.mm import Mm
from mmu.linux.policy import FreeTables
from mmu.linux.sched import Alone
from mmu.linux.state import Kernel
from mmu.linux.tlbflush import switch_mm
from mmu.memory import Memory
from mmu.x86 import Mmu
from tests.cpu.assemble import assemble
from tests.cpu.world import DATA, FAST, RW, RWX, RX, SIZE, STACK_TOP, TEXT, How, map_fixed, reg

STACK_SIZE = 0x1000
"""Of each thread: thread n's stack ends at STACK_TOP - n * STACK_SIZE."""


@dataclass
class Several:
    """One thread on each vCPU. ``schedule`` notes each slice: CPU, count and RIP at its end."""

    memory: Memory
    kernel: Kernel
    mm: Mm
    vcpus: list[VCpu]
    schedule: list[tuple[int, int | None, int]] = field(default_factory=list)

    def run(self, number: int, instructions: int | None = None) -> Any:
        """Let that vCPU execute so many more instructions, or run until something other than a
        fault that can be resolved; returns the exit.
        """
        vcpu = self.vcpus[number]
        limit = None if instructions is None else (vcpu.instructions or 0) + instructions
        while True:
            exit_ = vcpu.run(limit)
            if exit_.reason != VmExit.PAGE_FAULT:
                self.schedule.append((number, vcpu.instructions, vcpu.rip))
                return exit_
            assert self.mm.handle_user_fault(exit_.address, exit_.error_code) is None

    def run_all(self, seed: int, longest: int) -> None:
        """Slices of 1 to ``longest`` instructions on vCPUs chosen by the seed, until each thread
        has made a system call.
        """
        chance, left = random.Random(seed), list(range(len(self.vcpus)))
        while left:
            number = chance.choice(left)
            if self.run(number, chance.randint(1, longest)).reason == VmExit.SYSCALL:
                left.remove(number)

    def read_u64(self, at: int = DATA) -> int:
        """A word of user memory."""
        return int.from_bytes(self.mm.copy_from_user(at, 8), "little")

    def check(self) -> None:
        """As World.check(), of every vCPU."""
        for vcpu in self.vcpus:
            assert (vcpu.shared.broken, vcpu.shared.miscounts) == (0, 0)


@contextmanager
def several(
    source: str | bytes,
    how: How = FAST,
    *,
    starts: Sequence[int] = (0, 0),
    text_prot: int = RX,
    regs: dict[str, int] | None = None,
    count: bool = True,
) -> Iterator[Several]:
    """Load ``source`` at TEXT; thread n begins at TEXT + ``starts[n]`` with these registers and n
    in R15.
    """
    code = assemble(source) if isinstance(source, str) else source
    memory = Memory(64 << 20)
    kernel = Kernel(memory, policy=FreeTables.REFCOUNT, engine=how.engine)
    for _ in starts:
        kernel.add_cpu(Mmu(memory, engine=how.engine, geometry="tiny"))
    mm = Mm(kernel)
    for cpu in kernel.cpus:
        kernel.this_cpu = cpu
        switch_mm(kernel, mm)
    map_fixed(mm, TEXT, SIZE, RWX)
    mm.copy_to_user(TEXT, code)
    mm.mprotect(TEXT, SIZE, text_prot)
    map_fixed(mm, DATA, SIZE, RW)
    map_fixed(mm, STACK_TOP - SIZE, SIZE, RW)
    vcpus = [
        VCpu(memory, cpu.mmu, mm, cpu=cpu, fidelity=how.fidelity, fast_faults=how.fast_faults,
             count=count)
        for cpu in kernel.cpus
    ]  # fmt: skip
    for number, (vcpu, start) in enumerate(zip(vcpus, starts, strict=True)):
        vcpu.enter_user(TEXT + start, STACK_TOP - number * STACK_SIZE - 64)
        for name, value in {**(regs or {}), "R15": number}.items():
            vcpu.write_reg(reg(name), value)
    yield Several(memory, kernel, mm, vcpus)
    for vcpu in vcpus:
        vcpu.close()
    kernel.scheduler, kernel.this_cpu = Alone(), kernel.cpus[0]
    mm.exit_mmap()
