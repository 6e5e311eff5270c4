# SPDX-License-Identifier: GPL-2.0-or-later
"""A small program in user mode: text, data and stack in an mm, a vCPU, and a kernel that only
resolves faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from unicorn import x86_const as uc_x86

from cpu.vcpu import Fidelity, VCpu, VmExit
from mmu.events import EventRing
from mmu.linux.mm import Mm, boot
from mmu.linux.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE
from mmu.memory import Memory
from mmu.x86 import Mmu
from tests.cpu.assemble import assemble
from tests.cpu.traced import Recorder

TEXT = 0x400000
DATA = 0x600000
STACK_TOP = 0x7F0000
SIZE = 0x10000
"""Of text, data and stack each."""
RWX = PROT_READ | PROT_WRITE | PROT_EXEC
RW = PROT_READ | PROT_WRITE
RX = PROT_READ | PROT_EXEC

GPRS = (
    "RAX",
    "RBX",
    "RCX",
    "RDX",
    "RSI",
    "RDI",
    "RBP",
    "RSP",
    *(f"R{n}" for n in range(8, 16)),
    "EFLAGS",
)


class How(NamedTuple):
    """One way to run a program that must not matter to it."""

    fidelity: Fidelity
    engine: str = "c"
    fast_faults: bool = True

    def __str__(self) -> str:
        return f"{self.fidelity.label}-{self.engine}{'' if self.fast_faults else '-slow'}"


FAST = How(Fidelity.FAST)
EXACT = How(Fidelity.EXACT)
TRACE = How(Fidelity.TRACE)
ALL = [
    How(fidelity, engine, fast)
    for fidelity in Fidelity
    for engine, fast in (("c", True), ("c", False), ("python", False))
]
FIDELITIES = [FAST, EXACT, TRACE]


def reg(name: str) -> int:
    """The UC_X86_REG_* number of a register."""
    return int(getattr(uc_x86, f"UC_X86_REG_{name.upper()}"))


@dataclass
class World:
    """A program loaded and ready; ``run`` goes on until the kernel, or the test, is needed."""

    memory: Memory
    mmu: Mmu
    mm: Mm
    vcpu: VCpu
    faults: int = 0
    recorder: Recorder | None = None

    def run(self, limit: int | None = None) -> Any:
        """Run on, resolving faults; returns the first exit that is none, or a fault that is a
        signal.
        """
        while True:
            exit_ = self.vcpu.run(limit)
            if exit_.reason != VmExit.PAGE_FAULT:
                return exit_
            self.faults += 1
            if self.mm.handle_user_fault(exit_.address, exit_.error_code) is not None:
                return exit_

    def state(self) -> tuple[int | None, int, tuple[int, ...]]:
        """Count, RIP and registers."""
        return (
            self.vcpu.instructions,
            self.vcpu.rip,
            tuple(self.vcpu.read_reg(reg(name)) for name in GPRS),
        )

    def data(self, n: int = 256, at: int = DATA) -> bytes:
        """Bytes of user memory."""
        return self.mm.copy_from_user(at, n)

    def check(self) -> None:
        """Unicorn never used a translation that was not the model's, and every cut block was
        understood; in trace every instruction was told.
        """
        assert self.vcpu.shared.broken == 0
        assert self.vcpu.shared.miscounts == 0
        if self.recorder is not None:
            self.recorder.check(self.vcpu.instructions or 0)


def map_fixed(mm: Mm, at: int, size: int, prot: int) -> None:
    """A private anonymous mapping."""
    mm.mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)


@contextmanager
def world(
    source: str | bytes,
    how: How = FAST,
    *,
    text_prot: int = RX,
    regs: dict[str, int] | None = None,
    ring: EventRing | None = None,
    count: bool = True,
    at: int = TEXT,
) -> Iterator[World]:
    """Load ``source`` (assembly or bytes) at ``at`` with data and stack, in user mode at its first
    byte.
    """
    recorder = Recorder() if ring is None and how.fidelity is Fidelity.TRACE else None
    if recorder is not None:
        ring = recorder.ring
    code = assemble(source) if isinstance(source, str) else source
    memory = Memory(64 << 20)
    mmu = Mmu(memory, engine=how.engine, geometry="tiny", ring=ring)
    mm = boot(memory, mmu, engine=how.engine, ring=ring)
    map_fixed(mm, TEXT, SIZE, RWX)
    mm.copy_to_user(at, code)
    mm.mprotect(TEXT, SIZE, text_prot)
    map_fixed(mm, DATA, SIZE, RW)
    map_fixed(mm, STACK_TOP - SIZE, SIZE, RW)
    with VCpu(
        memory, mmu, mm, fidelity=how.fidelity, fast_faults=how.fast_faults, ring=ring, count=count
    ) as vcpu:
        vcpu.enter_user(at, STACK_TOP - 64)
        for name, value in (regs or {}).items():
            vcpu.write_reg(reg(name), value)
        yield World(memory, mmu, mm, vcpu, recorder=recorder)
    mm.exit_mmap()
