# SPDX-License-Identifier: GPL-2.0-or-later
"""A program's registers put away, and gone on with on any vCPU."""

from __future__ import annotations

import random
import struct

import pytest
from unicorn import x86_const as uc_x86

from cpu.context import FXSAVE_SIZE, Context
from cpu.vcpu import Fidelity, VCpu, VmExit
from mmu.errors import MmuError
from mmu.events import EventRing
from mmu.x86 import Mmu
from tests.cpu import oracle, programs
from tests.cpu.several import several
from tests.cpu.world import DATA, FIDELITIES, GPRS, TEXT, How, reg, world

SLOW = [How(f, fast_faults=False) for f in (Fidelity.EXACT, Fidelity.TRACE)]

FLOATS = f"""
    fninit
    mov dword ptr [rsp - 4], 0x1f80 | 0x6000
    ldmxcsr [rsp - 4]
    mov word ptr [rsp - 8], 0x27f
    fldcw [rsp - 8]
    fld1; fldpi; fldl2e; fstp st(0); fldz
    mov rax, 0x0123456789abcdef
    {"; ".join(f"movq xmm{n}, rax; add rax, 0x1111; pshufd xmm{n}, xmm{n}, 7" for n in range(16))}
    stc
    std
    syscall
    fxsave64 [{DATA}]
    faddp st(1), st(0)
    movdqa xmm1, xmm15
    pushfq
    pop rbx
    syscall
"""
USER_REGS = {
    "r15": "R15", "r14": "R14", "r13": "R13", "r12": "R12", "bp": "RBP", "bx": "RBX",
    "r11": "R11", "r10": "R10", "r9": "R9", "r8": "R8", "ax": "RAX", "cx": "RCX", "dx": "RDX",
    "si": "RSI", "di": "RDI", "ip": "RIP", "flags": "RFLAGS", "sp": "RSP", "fs_base": "FS_BASE",
    "gs_base": "GS_BASE",
}  # fmt: skip


@pytest.mark.parametrize("name", programs.ALL)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_program_that_changes_its_vcpu_computes_the_same(name: str, how: How) -> None:
    """At every few instructions, so between any two of them, it goes on elsewhere."""
    expected = oracle.states(programs.ALL[name])
    chance = random.Random(name)
    with several(programs.ALL[name], how) as s:
        context = s.vcpus[0].save_context()
        context.write_reg(reg("R15"), expected[0][1][15])
        context.write_reg(reg("RSP"), expected[0][1][7])
        done = 0
        while done < len(expected) - 1:
            number = chance.randrange(2)
            vcpu = s.vcpus[number]
            vcpu.load_context(context)
            length = chance.choice([1, 1, 2, 3, 7, 50])
            exit_ = s.run(number, length)
            vcpu.save_context(context)
            if exit_.reason == VmExit.SYSCALL:
                break
            done += length
            rip, regs = expected[done]
            assert (context.read_reg(reg("RIP")), *(context.read_reg(reg(r)) for r in GPRS)) == (
                rip,
                *regs,
            )
        assert sum(vcpu.instructions or 0 for vcpu in s.vcpus) in (done, len(expected))
        s.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_x87_sse_and_flags_come_along(how: How) -> None:
    def end(hop: bool) -> tuple[bytes, bytes, int, int]:
        with several(FLOATS, how) as s:
            assert s.run(0).reason == VmExit.SYSCALL
            number = 0
            if hop:
                s.vcpus[1].load_context(s.vcpus[0].save_context())
                number = 1
            vcpu = s.vcpus[number]
            vcpu.write_reg(reg("RSP"), 0x7E8000)
            assert s.run(number).reason == VmExit.SYSCALL
            flags = vcpu.read_reg(reg("RBX"))
            assert flags & 0x401 == 0x401
            return vcpu.fxsave(), s.mm.copy_from_user(DATA, 512), flags, vcpu.cpl

    assert end(hop=True) == end(hop=False)


def test_a_vcpu_that_ran_nothing_runs_a_program() -> None:
    """Privilege level and control registers are there: user mode may not write a supervisor's page,
    nor read the time.
    """
    with world("inc eax; syscall; rdtsc; nop") as w:
        w.run()
        cpu = w.mm.kernel.add_cpu(Mmu(w.memory, geometry="tiny"))
        cpu.mmu.c.cr0, cpu.mmu.c.cr4, cpu.mmu.c.efer = w.mmu.c.cr0, w.mmu.c.cr4, w.mmu.c.efer
        cpu.mmu.write_cr3(w.mmu.c.cr3)
        with VCpu(w.memory, cpu.mmu, cpu=cpu) as fresh:
            assert fresh.cpl == 0
            fresh.load_context(w.vcpu.save_context())
            assert fresh.cpl == 3
            fresh.set_mm(w.mm)
            exit_ = fresh.run()
            assert (exit_.reason, exit_.intercept) == (VmExit.EXCEPTION, 6)
            assert w.mm.kernel.this_cpu is cpu


def test_a_result_that_waits_is_in_the_context() -> None:
    with world("syscall; nop; syscall") as w:
        w.run()
        w.vcpu.set_result(2**64 - 38)
        context = w.vcpu.save_context()
        assert context.read_reg(reg("RAX")) == context.get_regs().ax == 2**64 - 38
        w.vcpu.set_result(5)
        w.vcpu.load_context(context)
        w.run()
        assert w.vcpu.read_reg(reg("RAX")) == 2**64 - 38


def test_a_copy_is_a_context_of_its_own() -> None:
    with world(FLOATS) as w:
        w.run()
        parent = w.vcpu.save_context()
        child = parent.copy()
        assert child.fxsave() == parent.fxsave() == w.vcpu.fxsave()
        child.write_reg(reg("RAX"), 0)
        child.fs_base, child.gs_base = 0x7000, 0x8000
        assert (child.fs_base, child.gs_base) == (0x7000, 0x8000)
        assert (parent.fs_base, parent.gs_base) == (0, 0)
        assert parent.read_reg(reg("RAX")) != 0
        w.vcpu.load_context(child)
        assert (w.vcpu.fs_base, w.vcpu.read_reg(reg("RAX"))) == (0x7000, 0)


@pytest.mark.parametrize("where", ["vcpu", "context"])
def test_every_register_of_user_regs(where: str) -> None:
    """Each field is the register of its name, read and written."""
    with world("syscall; syscall") as w:
        w.run()
        of: VCpu | Context = w.vcpu if where == "vcpu" else w.vcpu.save_context()
        regs = of.get_regs()
        for field, name in USER_REGS.items():
            assert getattr(regs, field) == of.read_reg(reg(name)), field
        for number, field in enumerate(USER_REGS):
            setattr(regs, field, 0x1000 * number + 0x202)
        regs.flags = 0x202 | 0x8D5
        of.set_regs(regs)
        for number, (field, name) in enumerate(USER_REGS.items()):
            expected = 0xAD7 if field == "flags" else 0x1000 * number + 0x202
            assert of.read_reg(reg(name)) == expected, field


def test_set_regs_forgets_a_result_that_waits() -> None:
    with world("syscall; syscall") as w:
        w.run()
        w.vcpu.set_result(1)
        regs = w.vcpu.get_regs()
        assert regs.ax == 1
        regs.ax = 77
        w.vcpu.set_regs(regs)
        w.run()
        assert w.vcpu.exit.nr == 77


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_fxsave_is_what_the_instruction_stores(how: How) -> None:
    """But for the last 96 bytes, which FXSAVE leaves as they were."""
    with world(FLOATS, how) as w:
        w.run()
        image = w.vcpu.fxsave()
        context_image = w.vcpu.save_context().fxsave()
        w.run()
        assert image[:416] == context_image[:416] == w.mm.copy_from_user(DATA, 416)
        assert image[416:] == bytes(96)


@pytest.mark.parametrize("where", ["vcpu", "context"])
@pytest.mark.parametrize("seed", range(20))
def test_fxrstor_and_fxsave_are_inverse(where: str, seed: int) -> None:
    """Any stack top, any tags, any values; the instruction agrees."""
    chance = random.Random(seed)
    image = bytearray(FXSAVE_SIZE)
    struct.pack_into("<HHBxHQQII", image, 0, chance.getrandbits(16) & 0x1F3F | 0x40,
                     chance.getrandbits(16) & 0x7F7F, chance.getrandbits(8),
                     chance.getrandbits(11), chance.getrandbits(47), chance.getrandbits(47),
                     chance.getrandbits(16) & 0xFFBF, 0xFFFF)  # fmt: skip
    for n in range(8):
        image[32 + 16 * n : 42 + 16 * n] = chance.randbytes(10)
    image[160:416] = chance.randbytes(256)
    with world(f"syscall; fxsave64 [{DATA}]; syscall") as w:
        w.run()
        if where == "vcpu":
            w.vcpu.fxrstor(bytes(image))
        else:
            context = w.vcpu.save_context()
            context.fxrstor(bytes(image))
            assert context.fxsave() == image
            w.vcpu.load_context(context)
        assert w.vcpu.fxsave() == image
        w.run()
        assert w.mm.copy_from_user(DATA, 6) == image[:6]  # FOP is 0: docs/engine_limits.md
        assert w.mm.copy_from_user(DATA + 24, 392) == image[24:416]


def test_fxrstor_takes_512_bytes() -> None:
    with world("syscall") as w:
        with pytest.raises(MmuError, match="an FXSAVE image has 512 bytes, not 100"):
            w.vcpu.fxrstor(bytes(100))
        with pytest.raises(MmuError, match="not 0"):
            w.vcpu.save_context().fxrstor(b"")


def events_and_look_ups(how: How, source: str, instead: int | None) -> tuple[list[int], int]:
    """A load faults; its program is put away, with ``instead`` another runs an instruction there,
    then the first goes on. Returns the insn events, and look-ups in the instruction TLB.
    """
    ring = EventRing(1 << 10)
    with world(source, how, ring=ring) as w:
        ring.enable()
        exit_ = w.vcpu.run()
        while exit_.reason == VmExit.PAGE_FAULT and exit_.address != DATA:
            w.mm.handle_user_fault(exit_.address, exit_.error_code)
            exit_ = w.vcpu.run()
        context = w.vcpu.save_context()
        ring.read()
        before = w.mmu.counters()["iTLB-loads"]
        if instead is not None:
            other = context.copy()
            other.write_reg(reg("RIP"), instead)
            w.vcpu.load_context(other)
            w.vcpu.run((w.vcpu.instructions or 0) + 1)
            w.vcpu.load_context(context)
        w.mm.handle_user_fault(exit_.address, exit_.error_code)
        w.run()
        seen = [event["ip"] for event in ring.read() if event.name == "insn"]
        return seen, w.mmu.counters()["iTLB-loads"] - before


@pytest.mark.parametrize("how", SLOW, ids=str)
def test_a_denied_instruction_is_one_event_wherever_it_is_done(how: How) -> None:
    """A program that faulted goes on after another: its instruction was an event already, but is
    looked up anew, as after any return to user mode; the other's are all events.
    """
    source = f"nop; mov ecx, [{DATA}]; nop; syscall; 1: nop; jmp 1b"
    before, behind, far = TEXT, TEXT + 8, TEXT + 11
    alone, alone_look_ups = events_and_look_ups(how, source, None)
    for instead in (before, behind, far):
        events, look_ups = events_and_look_ups(how, source, instead)
        assert look_ups == alone_look_ups + 2
        if how.fidelity is Fidelity.TRACE:
            assert (alone, events) == ([behind, behind + 1], [instead, behind, behind + 1])


def test_contexts_outlive_their_vcpu() -> None:
    with world("mov eax, 9; syscall") as w:
        w.run()
        context = w.vcpu.save_context()
    assert context.read_reg(uc_x86.UC_X86_REG_RAX) == 9
