# SPDX-License-Identifier: GPL-2.0-or-later
"""A page fault leaves the processor as it was before the instruction, and says the exact address
(SDM vol. 3A 6.15).
"""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from mmu.linux.mman import PROT_NONE, PROT_READ
from tests.cpu.world import ALL, DATA, FIDELITIES, RW, STACK_TOP, TEXT, How, map_fixed, reg, world

P, W, U, ID = 1, 2, 4, 16
ABSENT, READ_ONLY, NO_ACCESS = 0x700123, 0x710123, 0x720123
READ, WRITE, FETCH = 0, 1, 2

CASES = {
    # instruction: address, access, error code (with rdi = address)
    "load": ("mov eax, [rdi]", ABSENT, READ, U),
    "load_indexed": ("mov al, [rdi + rsi*8 - 0x100]", ABSENT, READ, U),
    "store": ("mov [rdi], al", ABSENT, WRITE, U | W),
    "store_read_only": ("mov [rdi], eax", READ_ONLY, WRITE, U | W | P),
    "load_no_access": ("mov al, [rdi]", NO_ACCESS, READ, U),
    "read_modify_write": ("inc dword ptr [rdi]", ABSENT, WRITE, U | W),
    "locked": ("lock xadd [rdi], eax", READ_ONLY, WRITE, U | W | P),
    "exchange": ("xchg [rdi], eax", READ_ONLY, WRITE, U | W | P),
    "push": ("mov rsp, rdi; push rax", ABSENT, WRITE, U | W),
    "pop": ("mov rsp, rdi; pop rax", ABSENT, READ, U),
    "call": ("mov rsp, rdi; call rax", ABSENT, WRITE, U | W),
    "call_indirect": ("call [rdi]", ABSENT, READ, U),
    "ret": ("mov rsp, rdi; ret", ABSENT, READ, U),
    "movs_source": ("mov rsi, rdi; mov edi, 0x600000; movsb", ABSENT, READ, U),
    "movs_destination": ("mov esi, 0x600000; movsb", ABSENT, WRITE, U | W),
    "sse": ("movups [rdi], xmm1", ABSENT, WRITE, U | W),
    "gather_of_x87": ("fld qword ptr [rdi]", ABSENT, READ, U),
    "kernel_half": ("mov al, [rdi]", 0xFFFF800000000123, READ, U),
    "jump_nowhere": ("jmp rdi", ABSENT, FETCH, U | ID),
    "jump_to_data": ("jmp rdi", DATA + 0x123, FETCH, U | ID | P),
}
DELTA = {"load_indexed": 0x100 - 0x11 * 8, "push": 8, "call": 8}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ALL, ids=str)
def test_faults(case: str, how: How) -> None:
    source, address, access, code = CASES[case]
    rdi = (address + DELTA.get(case, 0)) & (1 << 64) - 1
    with world(f"nop; {source}; nop; nop; syscall", how, regs={"RDI": rdi, "RSI": 0x11}) as w:
        map_fixed(w.mm, READ_ONLY & ~0xFFF, 0x1000, RW)
        w.mm.copy_to_user(READ_ONLY, b"x")
        w.mm.mprotect(READ_ONLY & ~0xFFF, 0x1000, PROT_READ)
        map_fixed(w.mm, NO_ACCESS & ~0xFFF, 0x1000, PROT_NONE)
        w.mm.copy_to_user(DATA, b"x")
        exit_ = w.run()
        assert exit_.reason == VmExit.PAGE_FAULT
        assert (exit_.address, exit_.access, exit_.error_code) == (address, access, code)
        assert w.mmu.c.cr2 == address
        steps = 1 + source.count(";")
        if access == FETCH:
            assert (exit_.rip, w.vcpu.instructions) == (address, steps + 1)
        else:
            assert w.vcpu.instructions == steps
            assert exit_.rip > TEXT
        w.check()


@pytest.mark.parametrize("how", ALL, ids=str)
def test_nothing_of_the_instruction_happens(how: How) -> None:
    """Registers, flags and memory are those before; after the page appears, the instruction is done
    once.
    """
    source = "mov eax, 5; stc; adc [rdi], eax; pushfq; pop rbx; syscall"
    with world(source, how, regs={"RDI": ABSENT}) as w:
        w.run()
        before = w.state()
        assert before[0] == 2
        exit_ = w.run()
        assert (exit_.reason, w.state()) == (VmExit.PAGE_FAULT, before)
        map_fixed(w.mm, ABSENT & ~0xFFF, 0x1000, RW)
        assert w.run().reason == VmExit.SYSCALL
        assert w.data(4, ABSENT) == bytes([6, 0, 0, 0])
        assert w.vcpu.instructions == 6
        w.check()


@pytest.mark.parametrize("how", ALL, ids=str)
def test_a_locked_add_is_done_once(how: How) -> None:
    """Also where its first try found the page absent, or the zero page."""
    source = (
        "mov al, [0x600000]; lock inc dword ptr [0x600000]; lock inc dword ptr [0x601000]; syscall"
    )
    with world(source, how) as w:
        w.run()
        assert w.data(4) == w.data(4, DATA + 0x1000) == bytes([1, 0, 0, 0])


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
@pytest.mark.parametrize("access", ["mov al, [rdi]", "mov [rdi], al", "jmp rdi"])
@pytest.mark.parametrize("address", [0x0000900000000123, 0x4000000000010000])
def test_addresses_that_are_not_canonical(how: How, access: str, address: int) -> None:
    """#GP, with the address for whoever reports it (SDM vol. 1 3.3.7.1)."""
    with world(f"nop; {access}; syscall", how, regs={"RDI": address}) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.vector, exit_.address) == (VmExit.EXCEPTION, 13, address)
        assert w.mmu.counters()["page_faults_hw"] == 1 + (not how.fast_faults)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_fault_in_the_middle_of_a_block(how: How) -> None:
    """The instructions before it are done, those after it are not."""
    source = (
        "mov eax, 1; mov ebx, 2; mov rcx, 3; mov [0x600000], rcx;"
        " mov dl, [0x10]; mov eax, 9; syscall"
    )
    with world(source, how) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.address) == (VmExit.PAGE_FAULT, 0x10)
        assert [w.vcpu.read_reg(reg(name)) for name in ("RAX", "RBX", "RCX")] == [1, 2, 3]
        assert w.data(1) == b"\x03"
        assert w.vcpu.instructions == 4
        assert w.vcpu.read_reg(reg("RSP")) == STACK_TOP - 64
