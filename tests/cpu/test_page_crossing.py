# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses and instructions that run into a second page: two look-ups, a fault of either page,
exact addresses.
"""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from tests.cpu.assemble import assemble
from tests.cpu.world import ALL, DATA, FIDELITIES, RWX, SIZE, TEXT, How, reg, world

LAST = DATA + SIZE
"""The first address past data, which nothing is mapped at."""


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize("offset", [0xFFF, 0xFFD, 0xFF9])
def test_both_pages_are_faulted_in(how: How, offset: int) -> None:
    with world(
        "mov [rdi], rax; mov rbx, [rdi]; syscall",
        how,
        regs={"RDI": DATA + offset, "RAX": 0x0123456789ABCDEF},
    ) as w:
        assert w.run().reason == VmExit.SYSCALL
        assert w.vcpu.read_reg(reg("RBX")) == 0x0123456789ABCDEF
        assert w.data(8, DATA + offset) == bytes.fromhex("efcdab8967452301")
        assert w.mm.counters()["pgfault"] >= 2
        w.check()


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize(
    "access",
    ["mov [rdi], rax", "mov rax, [rdi]", "push [rdi]", "add [rdi], rax", "movdqu xmm0, [rdi]"],
)
def test_the_second_page_is_absent(how: How, access: str) -> None:
    """The fault is on the second page's first byte, and nothing is stored to the first page."""
    with world(
        f"nop; {access}; syscall", how, regs={"RDI": LAST - 3, "RAX": 0xFFFFFFFFFFFFFFFF}
    ) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.address, exit_.rip) == (VmExit.PAGE_FAULT, LAST, TEXT + 1)
        assert w.mmu.c.cr2 == LAST
        assert w.vcpu.instructions == 1
        assert w.data(3, LAST - 3) == bytes(3)
        w.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_the_first_page_is_absent(how: How) -> None:
    with world(
        "mov [rdi], rax; syscall", how, regs={"RDI": DATA - 3, "RAX": 0xFFFFFFFFFFFFFFFF}
    ) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.address) == (VmExit.PAGE_FAULT, DATA - 3)
        assert w.data(8) == bytes(8)


def test_two_look_ups_each() -> None:
    """Loads and stores are counted once for each page, alike everywhere."""
    source = "mov [rdi], rax; mov rbx, [rdi]; mov [rdi], rax; mov rbx, [rdi + 8]; syscall"
    counters = []
    for how in ALL[3:]:
        with world(source, how, regs={"RDI": DATA + 0xFFC}) as w:
            w.run()
            counters.append(w.mmu.counters())
    assert all(c == counters[0] for c in counters)
    faults = 2
    assert counters[0]["dTLB-loads"] == 3
    assert counters[0]["dTLB-stores"] == 4 + faults


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_the_zero_page_twice(how: How) -> None:
    """Both halves of the load come from one frame through two virtual pages."""
    crossing = "mov rcx, [0x601ffc]; mov rdx, [0x601ffc]"
    source = f"mov al, [0x601000]; mov bl, [0x602000]; {crossing}; mov al, [0x601000]; syscall"
    with world(source, how) as w:
        w.run()
        assert w.mmu.walk(DATA + 0x1000).pa == w.mmu.walk(DATA + 0x2000).pa
        assert w.vcpu.read_reg(reg("RCX")) == w.vcpu.rip
        assert w.vcpu.read_reg(reg("RDX")) == 0
        w.check()


STRADDLING = "1: inc ebx; movabs rax, 0x1122334455667788; dec ecx; jnz 1b; syscall"
"""2, 10, 2, 2 and 2 bytes."""


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize("offset", range(0, 14, 3))
def test_an_instruction_across_pages(how: How, offset: int) -> None:
    at = TEXT + 0x1000 - offset
    with world(STRADDLING, how, at=at, regs={"RCX": 3, "RBX": 0}) as w:
        assert w.run().reason == VmExit.SYSCALL
        assert w.vcpu.read_reg(reg("RAX")) == 0x1122334455667788
        assert w.vcpu.read_reg(reg("RBX")) == 3
        assert w.vcpu.instructions == 13
        w.check()


@pytest.mark.parametrize("offset", range(20))
def test_instruction_look_ups_across_pages(offset: int) -> None:
    """One for each page entered by a transfer, or by running into it; alike in exact and trace."""
    counters = []
    for how in ALL[3:]:
        for step in (None, 1, 2):
            with world(STRADDLING, how, at=TEXT + 0x1000 - offset, regs={"RCX": 3}) as w:
                limit = step
                while w.run(limit).reason == VmExit.LIMIT:
                    assert limit is not None and step is not None
                    limit += step
                counters.append(w.mmu.counters()["iTLB-loads"])
    assert set(counters) == {3 * (2 if 0 < offset < 16 else 1) + (16 <= offset < 18)}


@pytest.mark.parametrize("how", ALL, ids=str)
def test_a_block_that_never_reaches_its_second_page(how: How) -> None:
    """The page behind the SYSCALL is absent: no fault of it may be seen, though the block would run
    into it.
    """
    code = assemble("nop; nop; mov al, [0x10]; nop; nop")
    at = TEXT + SIZE - len(code)
    with world(code, how, at=at) as w:
        before = w.mmu.counters()["page_faults_hw"]
        exit_ = w.run()
        assert (exit_.reason, exit_.address, exit_.rip) == (VmExit.PAGE_FAULT, 0x10, at + 2)
        assert w.vcpu.instructions == 2
        assert w.mmu.counters()["page_faults_hw"] == before + 1


@pytest.mark.parametrize("how", ALL, ids=str)
@pytest.mark.parametrize(
    "code", ["nop; nop; nop", "nop; nop; .byte 0x48, 0xb8", "inc eax; .byte 0x0f"]
)
def test_running_off_the_end(how: How, code: str) -> None:
    """The fetch that faults is the page's first byte, at the first instruction that needs it."""
    binary = assemble(code)
    cut = 2 if ".byte 0x48" in code else 1 if ".byte" in code else 0
    at = TEXT + SIZE - len(binary)
    with world(binary, how, at=at) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.address, exit_.access) == (VmExit.PAGE_FAULT, TEXT + SIZE, 2)
        assert exit_.rip == TEXT + SIZE - cut
        assert w.vcpu.instructions == (3 if not cut else 2 if cut == 2 else 1)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_string_across_pages_stops_in_the_middle(how: How) -> None:
    """rep movsb into an absent page: done up to its edge, registers exact, and it goes on from
    there.
    """
    with world("rep stosb; syscall", how, regs={"RDI": LAST - 10, "RCX": 20, "RAX": 0x55}) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.address, exit_.rip) == (VmExit.PAGE_FAULT, LAST, TEXT)
        assert w.vcpu.read_reg(reg("RCX")) == 10
        assert w.vcpu.read_reg(reg("RDI")) == LAST
        assert w.vcpu.instructions == 10
        assert w.data(10, LAST - 10) == b"U" * 10
        w.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_writable_code_across_pages(how: How) -> None:
    """A store that changes an instruction's part on the second page."""
    source = "mov byte ptr [rip + 1f - 1], 0x77; movabs rax, 0x1122334455667788; 1: syscall"
    code = assemble(source)
    with world(code, how, at=TEXT + 0x1000 - 11, text_prot=RWX) as w:
        w.run()
        assert w.vcpu.read_reg(reg("RAX")) == 0x7722334455667788
        assert w.vcpu.instructions == 3
        w.check()
