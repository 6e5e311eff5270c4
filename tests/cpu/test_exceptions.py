# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions and SYSCALL at CPL 3: vectors, RIP, and what the processor leaves in registers."""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from tests.cpu.assemble import assemble
from tests.cpu.world import FIDELITIES, GPRS, TEXT, How, reg, world

DE, DB, BP, UD, GP = 0, 1, 3, 6, 13

CASES = {
    # instruction: vector, whether RIP is after it
    "div by zero": ("xor ecx, ecx; div ecx", DE, False),
    "int3": ("int3", BP, True),
    "int 3": ("int 3", BP, True),
    "ud2": ("ud2", UD, False),
    "rdtsc under TSD": ("rdtsc", GP, False),
    "rdtscp under TSD": ("rdtscp", GP, False),
    "rdrand, which the model lacks": ("rdrand rax", UD, False),
    "hlt": ("hlt", GP, False),
    "cli": ("cli", GP, False),
    "in": ("in al, 0x60", GP, False),
    "out": ("out dx, al", GP, False),
    "rep outs": ("mov esi, 0x600000; mov ecx, 1; rep outsb", GP, False),
    "invlpg": ("invlpg [rax]", GP, False),
    "mov from cr3": ("mov rax, cr3", GP, False),
    "wrmsr": ("wrmsr", GP, False),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_exceptions(case: str, how: How) -> None:
    source, vector, trap = CASES[case]
    code = assemble(source)
    with world(f"nop; {source}; nop; syscall", how) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.vector) == (VmExit.EXCEPTION, vector)
        last = assemble(source.split("; ")[-1])
        assert exit_.rip == TEXT + 1 + len(code) - (0 if trap else len(last))
        assert w.vcpu.instructions == source.count(";") + 1 + trap
        assert w.vcpu.cpl == 3


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
@pytest.mark.parametrize("sliced", [False, True])
def test_ports_change_nothing(how: How, sliced: bool) -> None:
    """IN at CPL 3 is #GP, which leaves RAX and all else alone."""
    with world("mov eax, 0x1234; in al, dx; syscall", how) as w:
        w.run(1)
        before = w.state()
        assert w.run(2 if sliced else None).vector == GP
        assert w.state() == before


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_an_emulated_instruction_counts_as_executed(how: How) -> None:
    """What a kernel does for RDTSC: answer, step over it, go on."""
    with world("nop; rdtsc; mov ebx, eax; syscall", how) as w:
        assert w.run().vector == GP
        w.vcpu.write_reg(reg("RAX"), 42)
        w.vcpu.skip(2)
        assert w.run().reason == VmExit.SYSCALL
        assert w.vcpu.read_reg(reg("RBX")) == 42
        assert w.vcpu.instructions == 4
        if how.fidelity:
            assert w.mmu.counters()["iTLB-loads"] == 1


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_syscall(how: How) -> None:
    """RCX gets the next instruction's address and R11 the flags (SDM vol. 2 SYSCALL); the result
    goes to RAX.
    """
    arguments = "mov edi, 1; mov esi, 2; mov edx, 3; mov r10d, 4; mov r8d, 5; mov r9d, 6"
    source = f"mov eax, 39; {arguments}; stc; syscall; mov rbx, rax; syscall"
    with world(source, how) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.nr, list(exit_.arg)) == (VmExit.SYSCALL, 39, [1, 2, 3, 4, 5, 6])
        assert exit_.rip == w.vcpu.rip == w.vcpu.read_reg(reg("RCX"))
        assert w.vcpu.read_reg(reg("R11")) == 0x203
        w.vcpu.set_result((1 << 64) - 14)
        w.run()
        assert w.vcpu.read_reg(reg("RBX")) == (1 << 64) - 14
        assert w.vcpu.instructions == 11


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_stop(how: How) -> None:
    """stop() before a run: no instruction is executed; from a callback: up to the next block."""
    with world("mov ecx, 1000; 1: dec ecx; jnz 1b; syscall", how) as w:
        w.vcpu.stop()
        assert w.run().reason == VmExit.STOPPED
        assert w.vcpu.instructions == 0
        assert w.run().reason == VmExit.SYSCALL


def test_enter_user_twice() -> None:
    """A second program in the same vCPU, as execve() would start it."""
    with world("mov eax, 1; syscall") as w:
        w.run()
        w.vcpu.enter_user(TEXT, 0x7E0000)
        w.vcpu.write_reg(reg("RAX"), 0)
        assert w.run().nr == 1
        assert w.vcpu.cpl == 3


def test_nothing_of_the_program_before_is_left() -> None:
    """A second program starts with the registers of the first (start_thread, fpu_flush_thread)."""
    spoil = """
        mov rax, -1; mov rcx, rax; mov r11, rax; mov r15, rax; std
        push 0x0f7f; fldcw [rsp]; fldpi; fld1; push 0x7fc0; ldmxcsr [rsp]
        movq xmm3, rax; movq xmm15, rax; syscall
    """
    look = "fxsave [0x600000]; pushfq; pop rax; syscall"
    with world(look) as w:
        w.run()
        fresh, registers = w.data(512), w.state()[2]
    with world(spoil + look) as w:
        w.run()
        w.vcpu.fs_base = w.vcpu.gs_base = TEXT
        w.vcpu.enter_user(w.vcpu.rip, w.vcpu.read_reg(reg("RSP")) + 16)
        w.run()
        spoilt = w.state()[2]
        assert w.data(512) == fresh
        assert [a for a, b in zip(registers, spoilt, strict=True) if a != b] == [
            registers[GPRS.index("RCX")]
        ]
        assert (w.vcpu.fs_base, w.vcpu.gs_base) == (0, 0)


def test_no_frame_is_left_behind() -> None:
    """enter_user() takes none, and a run ends with every frame accounted for."""
    with world("mov eax, 1; syscall") as w:
        w.run()
        w.mm.exit_mmap()
        w.vcpu.sync()
        assert w.memory.frames_in_use <= 1
