# SPDX-License-Identifier: GPL-2.0-or-later
"""A 64-bit kernel of a page, attached with tables of its own: user mode, demand paging through its
own #PF handler, INVLPG, PCID; and the same kernel without its INVLPG, which the checker finds.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from unicorn.x86_const import (
    UC_X86_REG_CR3,
    UC_X86_REG_MSR,
    UC_X86_REG_RBX,
    UC_X86_REG_RDX,
    UC_X86_REG_RIP,
    UC_X86_REG_RSP,
)

from cpu.attached import Attached
from mmu.x86 import Access
from tests.cpu.guest_kernel import (
    KERNEL,
    KERNEL_CS,
    PML4,
    PROLOGUE,
    PT,
    RESULTS,
    STACK,
    TO_USER,
    USER,
    USER_CS,
    USER_FRAMES,
    USER_SS,
    Machine,
)

FAULTS, WRONG, LAST, EXPECTED = RESULTS, RESULTS + 8, RESULTS + 16, RESULTS + 24
WINDOW: Final = USER + 0x20000
PAGES: Final = 64
"""The user touches one page after the other of so many; the kernel keeps one of them mapped."""
FRAME: Final = USER_FRAMES + 0x80000
DEMAND_PAGING: Final = f"""
    push rax; push rcx; push rdx
    inc qword ptr [{FAULTS:#x}]
    mov rax, cr2
    cmp rax, rsi; jne 9f                    # the user says in RSI what it touches
    cmp dword ptr [rsp + 24], 6; jne 9f     # a write of user mode to an absent page
    cmp qword ptr [rsp + 40], {USER_CS:#x}; jne 9f
    mov rcx, cr3; and ecx, 0xfff; cmp ecx, 5; jne 9f
1:  mov rcx, [{LAST:#x}]
    test rcx, rcx; jz 2f
    mov rdx, rcx; shr rdx, 12; and edx, 511
    mov qword ptr [rdx * 8 + {PT:#x}], 0
    {{invlpg}}
2:  mov [{LAST:#x}], rax
    mov rdx, rax; shr rdx, 12; and edx, 511
    mov qword ptr [rdx * 8 + {PT:#x}], {FRAME | 7:#x}
    pop rdx; pop rcx; pop rax
    add rsp, 8
    iretq
9:  inc qword ptr [{WRONG:#x}]
    jmp 1b
"""
TOUCH: Final = f"""
    mov ecx, {{faults}}; mov eax, 0x1234
1:  mov esi, {WINDOW:#x}; mov edi, {PAGES}
2:  mov [rsi], rcx
    cmp [rsi], rcx; jne 3f
    add rsi, 0x1008; dec ecx; jz 4f
    dec edi; jnz 2b
    jmp 1b
3:  ud2
4:  syscall
"""
WITH_PCID: Final = """
    mov rax, cr4; bts rax, 17; mov cr4, rax; mov rax, cr3; or rax, 5; mov cr3, rax
    xor eax, eax
"""
"""The processor's PCIDs, and PCID 5."""


def machine(user: str, *, invlpg: str = "invlpg [rcx]") -> Machine:
    """The kernel and a user program; SYSCALL halts."""
    kernel = Machine()
    for page in range(4):
        kernel.user(USER + page * 0x1000)
    kernel.put(USER_FRAMES, user)
    kernel.handler(14, DEMAND_PAGING.format(invlpg=invlpg))
    halt = kernel.handler(6, "hlt")
    kernel.uc.reg_write(UC_X86_REG_MSR, (0xC0000082, halt))
    kernel.uc.reg_write(UC_X86_REG_MSR, (0xC0000081, 0x13 << 48 | KERNEL_CS << 32))
    return kernel


def run(kernel: Machine, fidelity: str, engine: str = "c", **options: object) -> Attached:
    m = kernel.attach(fidelity, engine, **options)
    kernel.start(PROLOGUE + WITH_PCID + TO_USER)
    return m


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
@pytest.mark.parametrize(("engine", "faults"), [("c", 40_000), ("python", 200)])
def test_thousands_of_faults_in_a_row(fidelity: str, engine: str, faults: int) -> None:
    if os.environ.get("UCMMU_PRIVATE") == "0":
        faults = min(faults, 3000)  # each asks capstone for its address
    kernel = machine(TOUCH.format(faults=faults))
    m = run(kernel, fidelity, engine)
    assert kernel.u64(FAULTS) == faults
    assert kernel.u64(WRONG) == 0
    assert m.counters()["page_faults_hw"] == faults
    assert m.cpl == 0 and kernel.uc.reg_read(UC_X86_REG_CR3) == PML4 | 5
    assert m.shared.broken == m.shared.miscounts == 0
    # The last frame: what the processor pushed for the last fault, and IRETQ took.
    error_code, rip, cs, rflags, rsp, ss = kernel.stack(STACK)
    assert (error_code, cs, rsp, ss) == (6, USER_CS, USER + 0x10000, USER_SS)
    assert USER < rip < USER + 0x100 and rflags & 0x10202 == 0x10202


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_instructions_are_those_that_were_executed(fidelity: str) -> None:
    """A faulting instruction counts once: when it is executed."""
    m = run(machine(TOUCH.format(faults=200)), fidelity)
    kernel = 20 + 7 + 6 + 1  # up to IRETQ, and HLT
    user = 2 + 4 * 2 + 199 * 8 + 6 + 3 + 1
    handler = 200 * 33 - 5  # nothing is evicted at first
    assert m.instructions == kernel + user + handler


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize("engine", ["c", "python"])
def test_a_missing_invlpg_is_found(fidelity: str, engine: str) -> None:
    """Two pages in turn: without INVLPG the processor goes on using the first one's translation."""
    two = f"""
        mov esi, {WINDOW:#x}; mov [rsi], rcx; add rsi, 0x1000; mov [rsi], rcx
        mov esi, {WINDOW:#x}; mov rbx, [rsi]; syscall
    """
    right = machine(two.replace("mov rbx, [rsi]", "mov [rsi], rcx"))
    m = run(right, fidelity, engine, check_tlb=True)
    assert right.u64(FAULTS) == 3 and right.u64(WRONG) == 0
    assert m.stale_translations() == []
    wrong = machine(two, invlpg="nop")
    m = run(wrong, fidelity, engine, check_tlb=True)
    assert wrong.u64(FAULTS) == 2
    uses = m.stale_translations()
    assert [(use.va & ~0xFFF, use.used) for use in uses if use.used] == [(WINDOW, True)]
    assert uses[0].access == Access.READ


def test_a_missing_invlpg_is_a_fault_less() -> None:
    """What the model still translates faults no more."""
    kernel = machine(TOUCH.format(faults=2 * PAGES), invlpg="nop")
    m = run(kernel, "exact", geometry="golden_cove")
    assert kernel.u64(FAULTS) < 2 * PAGES
    assert m.counters()["page_faults_hw"] == kernel.u64(FAULTS)


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_the_kernel_halts_where_it_says(fidelity: str) -> None:
    kernel = machine(TOUCH.format(faults=10))
    run(kernel, fidelity)
    assert kernel.uc.reg_read(UC_X86_REG_RSP) == USER + 0x10000  # SYSCALL keeps the stack
    assert kernel.uc.reg_read(UC_X86_REG_RIP) > KERNEL


LOADS: Final = f"mov rax, [{USER_FRAMES:#x}]; mov rax, [{USER + 8:#x}]; mov rax, [{RESULTS:#x}]"


@pytest.mark.parametrize("fidelity", ["exact", "trace"])
@pytest.mark.parametrize(
    "source",
    [
        "cli; sti",
        "stac; clac",
        "swapgs; swapgs",
        "lgdt [0x4000]",
        "lidt [0x4010]",
        "mov byte ptr [0x102d], 0x89; mov eax, 0x28; ltr ax",
        "xor ecx, ecx; rdpkru; wrpkru",
        "mov ecx, 0xc0000080; rdmsr; wrmsr",
        "mov rax, cr4; mov cr4, rax; mov rax, cr0; mov cr0, rax; mov rax, cr2; mov cr2, rax",
        f"invlpg [{USER + 0x100000:#x}]; mov rax, cr3; bts rax, 63; mov cr3, rax",
        "push 0x10; push rsp; add qword ptr [rsp], 8; pushfq; push 8; lea rax, [rip + 1f];"
        " push rax; iretq; 1:",
    ],
)
def test_what_leaves_translations_alone(fidelity: str, source: str) -> None:
    """Instructions of the kernel's that change no translation of another page: no walk more."""
    counters = []
    for between in ("", source):
        kernel = machine("")
        kernel.put(USER_FRAMES, "nop")
        m = kernel.attach(fidelity, geometry="golden_cove")
        keys = "mov rax, cr4; or rax, 0x400000; mov cr4, rax"
        tables = "mov rax, [0x1000]; mov rax, [0x4000]"
        kernel.start(
            f"{PROLOGUE}; {keys}; {WITH_PCID}; xor edx, edx; {LOADS}; {tables}; {between}"
            f"; {LOADS}; hlt"
        )
        counters.append(m.counters())
        assert m.shared.broken == m.shared.miscounts == 0
        assert m.counters()["page_faults_hw"] == 0
    for name in ("dtlb_load_misses.miss_causes_a_walk", "dtlb_store_misses.miss_causes_a_walk"):
        assert counters[0][name] == counters[1][name]


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
def test_swapgs_moves_the_addresses_of_gs(fidelity: str) -> None:
    """GS's base is part of the linear address."""
    kernel = machine("")
    kernel.uc.reg_write(UC_X86_REG_MSR, (0xC0000102, WINDOW))  # IA32_KERNEL_GS_BASE
    kernel.handler(14, "mov rbx, cr2; hlt")
    kernel.attach(fidelity)
    kernel.start(f"{PROLOGUE}; mov al, gs:[{RESULTS:#x}]; swapgs; mov al, gs:[8]; hlt")
    assert kernel.uc.reg_read(UC_X86_REG_RBX) == WINDOW + 8


@pytest.mark.parametrize("fidelity", ["fast", "exact", "trace"])
@pytest.mark.parametrize("way", [TO_USER, f"mov ecx, {USER:#x}; mov r11d, 2; sysretq"])
def test_a_return_to_user_mode_takes_the_kernels_pages_away(fidelity: str, way: str) -> None:
    """IRETQ and SYSRET lower the privilege of the next access; the fault gives it back."""
    kernel = machine(f"mov al, [{RESULTS:#x}]")
    kernel.handler(14, f"mov bl, [{RESULTS:#x}]; mov rdx, [rsp]; hlt")
    m = kernel.attach(fidelity)
    kernel.start(f"{PROLOGUE}; mov al, [{RESULTS:#x}]; {way}")
    assert kernel.uc.reg_read(UC_X86_REG_RDX) == 5
    assert m.cpl == 0 and m.shared.broken == 0
