# SPDX-License-Identifier: GPL-2.0-or-later
"""``deliver=True``: exceptions, interrupts and SYSCALL go where the guest's IDT and LSTAR say (SDM
vol. 3A 6.12 to 6.14).
"""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from unicorn import UC_HOOK_INSN, UC_HOOK_INTR, Uc, UcError
from unicorn.x86_const import (
    UC_X86_INS_SYSCALL,
    UC_X86_REG_CR2,
    UC_X86_REG_CS,
    UC_X86_REG_EFLAGS,
    UC_X86_REG_MSR,
    UC_X86_REG_R11,
    UC_X86_REG_RAX,
    UC_X86_REG_RBX,
    UC_X86_REG_RCX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
    UC_X86_REG_SS,
)

from cpu.attached import Attached
from mmu.errors import TripleFault
from tests.cpu.assemble import assemble
from tests.cpu.guest_kernel import (
    GDT,
    IDT,
    IST_STACK,
    KERNEL,
    KERNEL_CS,
    PROLOGUE,
    RESULTS,
    STACK,
    TO_USER,
    TRAP_GATE,
    TSS,
    TSS_SELECTOR,
    USER,
    USER_CS,
    USER_FRAMES,
    USER_SS,
    Machine,
    gate,
    quads,
)

WAYS = [(fidelity, engine) for fidelity in ("fast", "exact", "trace") for engine in ("c", "python")]
ways = pytest.mark.parametrize(("fidelity", "engine"), WAYS)
fidelities = pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
DE, DB, BP, UD, DF, TS, NP, SS, GP, PF = 0, 1, 3, 6, 8, 10, 11, 12, 13, 14
RF, IF, TF, NT = 0x10000, 0x200, 0x100, 0x4000
USER_STACK = USER + 0x10000
ABSENT = USER + 0x50000
NOT_CANONICAL = 0x800000000000


def machine() -> Machine:
    """A user page, and a handler that halts for each vector that the tests raise."""
    kernel = Machine()
    kernel.user(USER)
    kernel.user(USER_STACK - 0x1000)
    for vector in (DE, DB, UD, TS, NP, SS, GP, PF):
        kernel.handler(vector, "hlt")
    kernel.handler(DF, "hlt", ist=1)
    kernel.handler(BP, "hlt", dpl=3)
    kernel.handler(0x80, "hlt", dpl=3, kind=TRAP_GATE)
    return kernel


def user(
    source: str, fidelity: str, engine: str = "c", kernel: Machine | None = None, setup: str = ""
) -> tuple[Machine, Attached]:
    """Run the source at CPL 3 until a handler halts."""
    kernel = kernel or machine()
    kernel.put(USER_FRAMES, source)
    m = kernel.attach(fidelity, engine)
    kernel.start(PROLOGUE + setup + TO_USER)
    return kernel, m


def halted_in(kernel: Machine) -> int:
    """The vector in whose handler the guest stands."""
    rip = kernel.uc.reg_read(UC_X86_REG_RIP) - 1
    for vector in range(256):
        low, high = kernel.u64(IDT + 16 * vector), kernel.u64(IDT + 16 * vector + 8)
        if (low & 0xFFFF | low >> 32 & 0xFFFF0000 | high << 32) == rip:
            return vector
    raise AssertionError(f"halted at {rip:#x}")


@ways
@pytest.mark.parametrize(
    ("source", "vector", "error_code", "at", "flags"),
    [
        ("nop; ud2", UD, None, 1, RF),
        ("xor ecx, ecx; div ecx", DE, None, 2, RF),
        ("nop; cli", GP, 0, 1, RF),
        ("hlt", GP, 0, 0, RF),
        ("mov rax, cr3", GP, 0, 0, RF),
        ("invlpg [rax]", GP, 0, 0, RF),
        ("mov eax, 0x1237; mov ds, eax", GP, 0x1234, 5, RF),
        (f"mov rax, {NOT_CANONICAL:#x}; mov rbx, [rax]", GP, 0, 10, RF),
        (f"mov rsp, {NOT_CANONICAL + 16:#x}; push rax", SS, 0, 10, RF),
        (f"mov rbp, {NOT_CANONICAL:#x}; mov rbx, [rbp]", SS, 0, 10, RF),
        (f"mov rdi, {ABSENT + 5:#x}; mov [rdi], al", PF, 6, 7, RF),
        (f"mov rdi, {ABSENT + 5:#x}; mov al, [rdi]", PF, 4, 7, RF),
        ("mov al, [0x5000]", PF, 5, 0, RF),
        (f"mov rdi, {ABSENT + 0x123:#x}; jmp rdi", PF, 0x14, None, RF),
        ("int3", BP, None, 1, 0),
        ("nop; int 0x80", 0x80, None, 3, 0),
        ("nop; int 14", GP, 14 * 8 + 2, 1, RF),  # the gate is the kernel's
        ("int 0x90", GP, 0x90 * 8 + 2, 0, RF),  # there is no gate
        ("nop; .byte 0xf1", DB, None, 2, 0),
        ("mov eax, 2; invpcid rax, [rsp - 32]", GP, 0, 5, RF),
        ("syscall", UD, None, 0, RF),  # SCE is off, see below
    ],
)
def test_an_exception_of_user_mode(
    fidelity: str,
    engine: str,
    source: str,
    vector: int,
    error_code: int | None,
    at: int | None,
    flags: int,
) -> None:
    """Vector, error code, CR2, and the frame on TSS.RSP0's stack (SDM vol. 3A figure 6-9)."""
    setup = "mov ecx, 0xc0000080; rdmsr; btr eax, 0; wrmsr"
    kernel, m = user(source, fidelity, engine, setup=setup)
    assert halted_in(kernel) == vector
    nr = 5 if error_code is None else 6
    frame = kernel.stack(STACK, nr)
    if error_code is not None:
        assert frame.pop(0) == error_code
    rip, cs, rflags, rsp, ss = frame
    assert rip == (ABSENT + 0x123 if at is None else USER + at)
    assert (cs, ss) == (USER_CS, USER_SS)
    assert rsp == (NOT_CANONICAL + 16 if "mov rsp" in source else USER_STACK)
    assert rflags & (IF | RF) == IF | flags
    if vector == PF:
        address = {"mov al, [0x5000]": 0x5000}.get(source, rip if at is None else ABSENT + 5)
        assert kernel.uc.reg_read(UC_X86_REG_CR2) == address == m.mmu.c.cr2
    uc = kernel.uc
    assert m.cpl == 0
    assert (uc.reg_read(UC_X86_REG_CS), uc.reg_read(UC_X86_REG_SS)) == (KERNEL_CS, 0)
    assert uc.reg_read(UC_X86_REG_RSP) == STACK - 8 * nr
    clear = uc.reg_read(UC_X86_REG_EFLAGS)
    assert not clear & (TF | NT | RF)
    assert bool(clear & IF) == (vector == 0x80)  # its gate is a trap gate


@ways
@pytest.mark.parametrize(
    ("source", "vector", "error_code"),
    [
        ("ud2", UD, None),
        ("mov rax, cr4; bts rax, 15; mov cr4, rax", GP, 0),
        (f"mov al, [{ABSENT:#x}]", PF, 0),
        ("int 14", PF, None),
        ("mov eax, 4; invpcid rax, [rsp]", GP, 0),
    ],
)
def test_an_exception_of_the_kernel(
    fidelity: str, engine: str, source: str, vector: int, error_code: int | None
) -> None:
    """The stack stays, aligned to 16 bytes, with SS and RSP as they were (SDM vol. 3A 6.14.2)."""
    kernel = machine()
    m = kernel.attach(fidelity, engine)
    kernel.start(f"{PROLOGUE}; mov eax, 0x10; mov ss, eax; sub rsp, 8; {source}")
    assert halted_in(kernel) == vector and m.cpl == 0
    nr = 5 if error_code is None else 6
    frame = kernel.stack(STACK - 16, nr)
    if error_code is not None:
        assert frame.pop(0) == error_code
    assert frame[1] == KERNEL_CS and frame[3:] == [STACK - 8, 0x10]
    assert kernel.uc.reg_read(UC_X86_REG_SS) == 0x10
    assert m.shared.broken == m.shared.miscounts == 0


@ways
def test_an_interrupt_stack(fidelity: str, engine: str) -> None:
    kernel = machine()
    kernel.handler(UD, "hlt", ist=1)
    user("ud2", fidelity, engine, kernel)
    assert halted_in(kernel) == UD
    assert kernel.uc.reg_read(UC_X86_REG_RSP) == IST_STACK - 40
    assert kernel.stack(IST_STACK, 5)[0] == USER


@ways
def test_a_handler_returns(fidelity: str, engine: str) -> None:
    """Registers of before, and the instruction again, or the next one."""
    kernel = machine()
    kernel.handler(UD, "add qword ptr [rsp], 2; iretq")
    kernel.handler(BP, f"inc qword ptr [{RESULTS:#x}]; iretq", dpl=3)
    kernel.handler(
        PF, f"mov rbx, cr2; mov qword ptr [0x13280], {USER_FRAMES + 7:#x}; add rsp, 8; iretq"
    )
    kernel.put(USER_FRAMES, "")
    source = f"""
        stc; ud2; setc al; int3; int3; mov rdi, {ABSENT + 8:#x}; mov rcx, [rdi]; mov rdx, rsp
        int 0x80
    """
    kernel, m = user(source, fidelity, engine, kernel)
    assert halted_in(kernel) == 0x80
    assert kernel.uc.reg_read(UC_X86_REG_RAX) & 1
    assert kernel.u64(RESULTS) == 2
    assert kernel.uc.reg_read(UC_X86_REG_RBX) == ABSENT + 8
    code = assemble(source)
    assert kernel.uc.reg_read(UC_X86_REG_RCX) == int.from_bytes(code[8:16], "little")
    assert m.shared.broken == m.shared.miscounts == 0


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
def test_a_delivery_is_counted(fidelity: str) -> None:
    """Gate, descriptor and TSS are loads; each word of the frame is a store."""
    counters = []
    for source in ("nop", "ud2"):
        kernel = machine()
        kernel.put(USER_FRAMES, source)
        m = kernel.attach(fidelity)
        kernel.put(KERNEL, PROLOGUE + TO_USER)
        m.emu_start(KERNEL, USER + 1 if source == "nop" else 0)
        counters.append(m.counters())
    nop, ud2 = counters
    assert ud2["dTLB-loads"] - nop["dTLB-loads"] == 3
    assert ud2["dTLB-stores"] - nop["dTLB-stores"] == 5
    assert ud2["iTLB-loads"] - nop["iTLB-loads"] == 1


@ways
def test_syscall(fidelity: str, engine: str) -> None:
    """RCX, R11, FMASK, STAR's segments (SDM vol. 2 SYSCALL), and back by SYSRET."""
    kernel = machine()
    uc = kernel.uc
    at = kernel.handler(0x81, "mov rbx, rsp; hlt")
    uc.reg_write(UC_X86_REG_MSR, (0xC0000081, 0x13 << 48 | (KERNEL_CS | 3) << 32))
    uc.reg_write(UC_X86_REG_MSR, (0xC0000082, at))
    uc.reg_write(UC_X86_REG_MSR, (0xC0000084, IF | 1))
    source = "stc; syscall; nop"
    kernel, m = user(source, fidelity, engine, kernel)
    assert uc.reg_read(UC_X86_REG_RIP) == at + 4 and m.cpl == 0
    assert uc.reg_read(UC_X86_REG_RCX) == USER + 3
    assert uc.reg_read(UC_X86_REG_R11) & 0xFFF & (IF | 1) == IF | 1
    assert not uc.reg_read(UC_X86_REG_EFLAGS) & (IF | 1)
    assert uc.reg_read(UC_X86_REG_RBX) == USER_STACK
    assert (uc.reg_read(UC_X86_REG_CS), uc.reg_read(UC_X86_REG_SS)) == (KERNEL_CS, KERNEL_CS + 8)
    kernel.put(at + 4, "sysretq")
    kernel.put(USER_FRAMES + 3, "int 0x80")
    m.emu_start(at + 4, 0)
    assert halted_in(kernel) == 0x80
    assert kernel.stack(STACK, 5)[:2] == [USER + 5, USER_CS]
    assert kernel.stack(STACK, 5)[2] & (IF | 1) == IF | 1
    assert kernel.stack(STACK, 5)[4] == USER_SS


@fidelities
def test_what_unicorn_met_before_is_no_exception_in_flight(fidelity: str) -> None:
    """A page fault of Unicorn's own walker before attach(): the first #GP is no double fault."""
    kernel = machine()
    kernel.put(KERNEL, f"{PROLOGUE}; mov rax, [{ABSENT:#x}]")
    with pytest.raises(UcError):
        kernel.uc.emu_start(KERNEL, 0)
    kernel.put(KERNEL + 0x400, "mov rax, cr4; bts rax, 15; mov cr4, rax; hlt")
    kernel.put(KERNEL + 0x500, "mov eax, 0x1237; mov ds, eax")
    m = kernel.attach(fidelity)
    m.emu_start(KERNEL + 0x500, 0)
    assert halted_in(kernel) == GP
    m.emu_start(KERNEL + 0x400, 0)
    assert halted_in(kernel) == GP


@fidelities
def test_a_single_step_of_the_guests(fidelity: str) -> None:
    """RFLAGS.TF traps behind each instruction; the handler runs without it."""
    kernel = machine()
    kernel.handler(DB, f"inc qword ptr [{RESULTS:#x}]; iretq")
    user("pushfq; bts qword ptr [rsp], 8; popfq; nop; nop; nop; int 0x80", fidelity, "c", kernel)
    assert halted_in(kernel) == 0x80
    assert kernel.u64(RESULTS) == 3
    assert kernel.stack(STACK, 5)[2] & TF


# What goes wrong on the way.


@ways
@pytest.mark.parametrize(
    ("change", "vector", "error_code"),
    [
        ({"kind": 0xC}, GP, UD * 8 + 3),  # a call gate
        ({"kind": 0x5}, GP, UD * 8 + 3),
        ({"selector": 0}, GP, 1),
        ({"selector": 0x40}, GP, 0x41),  # behind the table
        ({"selector": 0x44}, GP, 0x45),  # in the LDT, of which there is none
        ({"selector": 0x10}, GP, 0x11),  # data
        ({"selector": USER_CS}, GP, 0x21),  # less privilege than the kernel's: from there
        ({"offset": NOT_CANONICAL}, GP, 1),
    ],
)
def test_a_gate_that_leads_nowhere(
    fidelity: str, engine: str, change: dict[str, int], vector: int, error_code: int
) -> None:
    """The fault of the delivery is delivered, with the place of what raised the first."""
    kernel = machine()
    kernel.uc.mem_write(IDT + 16 * UD, gate(**{"offset": 0xA000, **change}))
    m = kernel.attach(fidelity, engine)
    kernel.start(f"{PROLOGUE}; nop; ud2")
    assert halted_in(kernel) == vector
    assert kernel.stack(STACK)[0] == error_code
    assert kernel.stack(STACK)[1] == KERNEL + len(assemble(f"{PROLOGUE}; nop"))
    assert m.cpl == 0


@ways
def test_not_present(fidelity: str, engine: str) -> None:
    kernel = machine()
    absent = bytearray(gate(0xA000))
    absent[5] &= 0x7F
    kernel.uc.mem_write(IDT + 16 * UD, bytes(absent))
    user("ud2", fidelity, engine, kernel)
    assert halted_in(kernel) == NP and kernel.stack(STACK)[0] == UD * 8 + 3
    kernel = machine()
    kernel.uc.mem_write(GDT + 0x38, quads(0x00AF1B000000FFFF))
    kernel.uc.mem_write(0x4000, (0x3F).to_bytes(2, "little"))
    kernel.uc.mem_write(IDT + 16 * UD, gate(0xA000, selector=0x38))
    user("ud2", fidelity, engine, kernel)
    assert halted_in(kernel) == NP and kernel.stack(STACK)[0] == 0x39


@ways
def test_a_32_bit_code_segment(fidelity: str, engine: str) -> None:
    kernel = machine()
    kernel.uc.mem_write(GDT + 0x38, quads(0x00CF9B000000FFFF))
    kernel.uc.mem_write(0x4000, (0x3F).to_bytes(2, "little"))
    kernel.uc.mem_write(IDT + 16 * UD, gate(0xA000, selector=0x38))
    user("ud2", fidelity, engine, kernel)
    assert halted_in(kernel) == GP and kernel.stack(STACK)[0] == 0x39


@ways
def test_a_conforming_segment_keeps_the_privilege(fidelity: str, engine: str) -> None:
    kernel = machine()
    kernel.uc.mem_write(GDT + 0x38, quads(0x00AF9E000000FFFF))  # and it was never accessed
    kernel.uc.mem_write(0x4000, (0x3F).to_bytes(2, "little"))
    kernel.uc.mem_write(IDT + 16 * UD, gate(USER + 0x100, selector=0x38))
    kernel.put(USER_FRAMES + 0x100, "mov ebx, cs; int 0x80")
    user("ud2", fidelity, engine, kernel)
    assert halted_in(kernel) == 0x80
    assert kernel.uc.reg_read(UC_X86_REG_RBX) == 0x3B
    assert kernel.u64(GDT + 0x38) >> 40 & 1  # the descriptor is marked
    assert kernel.stack(STACK, 5)[3] == USER_STACK - 40


@ways
def test_a_task_state_that_is_too_short(fidelity: str, engine: str) -> None:
    """#TS where it has no stack; and where it has none for #TS, nor for #DF, the processor shuts
    down.
    """
    kernel = machine()
    kernel.uc.mem_write(GDT + TSS_SELECTOR, (43).to_bytes(2, "little"))
    kernel.handler(UD, "hlt", ist=2)
    user("ud2", fidelity, engine, kernel)
    assert halted_in(kernel) == TS
    assert kernel.stack(STACK)[:2] == [TSS_SELECTOR + 1, USER]
    kernel = machine()
    kernel.uc.mem_write(GDT + TSS_SELECTOR, (10).to_bytes(2, "little"))
    with pytest.raises(TripleFault) as fault:
        user("ud2", fidelity, engine, kernel)
    assert fault.value.vector == UD


@ways
def test_double_faults(fidelity: str, engine: str) -> None:
    """#PF on #PF, and #GP on #GP; the error code is 0 (SDM vol. 3A 6.15, interrupt 8)."""
    kernel = machine()
    kernel.uc.mem_write(TSS + 4, quads(0x300000))  # a kernel stack that is not there
    _, m = user(f"mov al, [{ABSENT + 3:#x}]", fidelity, engine, kernel)
    assert halted_in(kernel) == DF
    error_code, rip, cs, _, rsp, ss = kernel.stack(IST_STACK)
    assert (error_code, rip, cs, rsp, ss) == (0, USER, USER_CS, USER_STACK, USER_SS)
    assert kernel.uc.reg_read(UC_X86_REG_CR2) == 0x300000 - 8 == m.mmu.c.cr2
    assert m.counters()["page_faults_hw"] == 2
    kernel = machine()
    kernel.uc.mem_write(IDT + 16 * GP, gate(0xA000, selector=0x10))
    user("cli", fidelity, engine, kernel)
    assert halted_in(kernel) == DF


@ways
def test_a_page_fault_after_a_contributory_one_is_delivered(fidelity: str, engine: str) -> None:
    """Table 6-5: #GP, and then #PF, is no double fault; nor is what a benign one meets."""
    for first in ("cli", "ud2"):
        kernel = machine()
        kernel.uc.mem_write(TSS + 4, quads(0x300000))
        kernel.handler(PF, "hlt", ist=1)
        user(first, fidelity, engine, kernel)
        assert halted_in(kernel) == PF
        assert kernel.stack(IST_STACK)[:2] == [2, USER]  # a supervisor's write
        assert kernel.uc.reg_read(UC_X86_REG_CR2) == 0x300000 - 8


@ways
def test_a_triple_fault_ends_the_run_with_one_error(fidelity: str, engine: str) -> None:
    kernel = machine()
    kernel.uc.mem_write(IDT, bytes(4096))
    kernel.put(USER_FRAMES, "nop; ud2")
    kernel.attach(fidelity, engine)
    with pytest.raises(TripleFault) as fault:
        kernel.start(PROLOGUE + TO_USER)
    assert (fault.value.vector, fault.value.rip) == (UD, USER + 1)
    assert str(fault.value).count("\n") == 0
    copy = pickle.loads(pickle.dumps(fault.value))
    assert (copy.vector, copy.error_code, copy.rip) == (UD, 0, USER + 1)
    assert kernel.uc.reg_read(UC_X86_REG_RIP) == USER + 1


@ways
def test_smap_and_the_tables(fidelity: str, engine: str) -> None:
    """The IDT in a user page: an implicit access, which AC does not help (SDM vol. 3A 4.6.1)."""
    kernel = machine()
    kernel.user(USER + 0x8000, IDT)
    kernel.uc.mem_write(0x4010, (0xFFF).to_bytes(2, "little") + quads(USER + 0x8000))
    kernel.attach(fidelity, engine)
    setup = "mov rax, cr4; bts rax, 21; mov cr4, rax; stac"
    with pytest.raises(TripleFault) as fault:
        kernel.start(f"{PROLOGUE}; {setup}; mov al, [{USER:#x}]; ud2")
    assert fault.value.vector == UD
    kernel = machine()
    kernel.user(USER + 0x8000, IDT)
    kernel.uc.mem_write(0x4010, (0xFFF).to_bytes(2, "little") + quads(USER + 0x8000))
    kernel.attach(fidelity, engine)
    kernel.start(f"{PROLOGUE}; stac; ud2")
    assert halted_in(kernel) == UD


@ways
def test_a_frame_across_pages(fidelity: str, engine: str) -> None:
    """The lower of the stack's two pages is absent until the guest's #PF handler, on a stack of its
    own, maps it: the whole frame is there then.
    """
    kernel = machine()
    kernel.uc.mem_write(0x12000, quads(0x14003))  # the first 2 MiB by pages
    kernel.uc.mem_write(0x14000, quads(*(page << 12 | 3 for page in range(512))))
    kernel.uc.mem_write(TSS + 4, quads(0x5010))
    kernel.handler(PF, "mov qword ptr [0x14020], 0x4003; add rsp, 8; iretq", ist=1)
    kernel.uc.mem_write(0x14000 + 8 * 4, quads(0))
    kernel.uc.mem_write(TSS, bytes(4))
    m = kernel.attach(fidelity, engine)
    kernel.put(USER_FRAMES, "int 0x80")
    setup = "mov qword ptr [0x14020], 0; invlpg [0x4000]"
    kernel.start(PROLOGUE + setup + TO_USER)
    assert halted_in(kernel) == 0x80
    assert kernel.stack(0x5010, 5) == [
        USER + 2,
        USER_CS,
        kernel.stack(0x5010, 5)[2],
        USER_STACK,
        USER_SS,
    ]
    assert m.counters()["page_faults_hw"] == 1


# Beside scripts.


@fidelities
def test_hooks_on_interrupts_are_asked_too(fidelity: str) -> None:
    """A script's hook sees each exception as in plain Unicorn; then the guest's handler runs."""
    kernel = machine()
    seen: list[int] = []

    def note(_uc: Uc, vector: int, _data: Any) -> None:
        seen.append(vector)

    kernel.uc.hook_add(UC_HOOK_INTR, note)
    user("int3; int 0x80", fidelity, "c", kernel)
    assert seen == [BP]
    assert halted_in(kernel) == BP


@fidelities
def test_a_hook_that_writes_rip_has_handled_it(fidelity: str) -> None:
    kernel = machine()

    def skip(uc: Uc, vector: int, _data: Any) -> None:
        if vector == DE:
            uc.reg_write(UC_X86_REG_RIP, uc.reg_read(UC_X86_REG_RIP) + 2)

    kernel.put(USER_FRAMES, "xor ecx, ecx; div ecx; mov ebx, 7; int 0x80")
    m = kernel.attach(fidelity)
    kernel.uc.hook_add(UC_HOOK_INTR, skip)
    kernel.start(PROLOGUE + TO_USER)
    assert halted_in(kernel) == 0x80
    assert kernel.uc.reg_read(UC_X86_REG_RBX) == 7
    assert m.cpl == 0


@fidelities
@pytest.mark.parametrize("before", [True, False])
def test_a_hook_on_syscall_takes_it(fidelity: str, before: bool) -> None:
    """As in plain Unicorn; without it SYSCALL is delivered again."""
    kernel = machine()
    kernel.put(USER_FRAMES, "syscall; int 0x80")
    seen: list[int] = []

    def note(uc: Uc, _data: Any) -> None:
        seen.append(uc.reg_read(UC_X86_REG_RIP))

    def hook() -> int:
        return int(kernel.uc.hook_add(UC_HOOK_INSN, note, None, 1, 0, UC_X86_INS_SYSCALL))

    handle = hook() if before else 0
    m = kernel.attach(fidelity)
    handle = handle or hook()
    kernel.start(PROLOGUE + TO_USER)
    assert seen == [USER] and halted_in(kernel) == 0x80
    kernel.uc.hook_del(handle)
    halt = kernel.handler(0x81, "hlt")
    kernel.uc.reg_write(UC_X86_REG_MSR, (0xC0000082, halt))
    kernel.put(KERNEL + 0x400, TO_USER)
    m.emu_start(KERNEL + 0x400, 0)
    assert kernel.uc.reg_read(UC_X86_REG_RIP) == halt + 1 and len(seen) == 1


@fidelities
def test_a_handler_of_the_scripts_comes_first(fidelity: str) -> None:
    """A fault that it mends is none of the guest's."""
    kernel = machine()

    def demand(_fault: object) -> bool:
        kernel.user(ABSENT)
        return True

    kernel.put(USER_FRAMES, f"mov rbx, [{ABSENT:#x}]; int 0x80")
    kernel.attach(fidelity, handler=demand)
    kernel.start(PROLOGUE + TO_USER)
    assert halted_in(kernel) == 0x80


def test_the_limit_of_a_run_holds(fidelity: str = "fast") -> None:
    """A count ends a run in the middle of faults that never end."""
    kernel = machine()
    kernel.handler(UD, "iretq")
    kernel.put(USER_FRAMES, "ud2")
    m = kernel.attach(fidelity)
    kernel.put(KERNEL, PROLOGUE + TO_USER)
    m.emu_start(KERNEL, 0, count=1000)
    assert m.instructions == 1000
    m.emu_start(kernel.uc.reg_read(UC_X86_REG_RIP), 0, timeout=20_000)
    assert m.instructions > 1000


def test_without_an_idt_the_first_exception_is_the_last() -> None:
    kernel = Machine()
    kernel.attach()
    with pytest.raises(TripleFault):
        kernel.start("ud2")
