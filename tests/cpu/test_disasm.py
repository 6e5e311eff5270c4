# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions as text, their lengths, and the addresses they touch."""

from __future__ import annotations

import pytest

from cpu.disasm import (
    accessed_address,
    disassemble,
    disassemble_one,
    instruction_length,
    memory_operands,
)
from tests.cpu.assemble import assemble
from tests.cpu.world import DATA, SIZE, STACK_TOP, TEXT, world

READ, WRITE, FETCH = 0, 1, 2


def test_text() -> None:
    code = assemble("mov eax, [rip + 0x10]; ret")
    assert disassemble_one(code, TEXT) == "mov eax, dword ptr [rip + 0x10]"
    assert [line for _, _, line in disassemble(code, TEXT)] == [
        "mov eax, dword ptr [rip + 0x10]",
        "ret",
    ]
    assert disassemble_one(b"\x06\x07", TEXT) == "(bad) 06 07"
    assert disassemble_one(b"", TEXT) == "(bad)"


def test_length() -> None:
    assert instruction_length(assemble("movabs rax, 0x1122334455667788")) == 10
    assert instruction_length(b"\x48") == 0


@pytest.mark.parametrize(
    ("source", "operands"),
    [
        ("mov eax, [rdi]", [(DATA, 4)]),
        ("mov [rdi + rsi*8 - 0x10], al", [(DATA + 0x20 - 0x10, 1)]),
        ("mov rax, [rip + 0x100]", [(TEXT + 7 + 0x100, 8)]),
        ("mov al, fs:[rsi]", [(0x10004, 1)]),
        ("mov eax, [edi - 0x700000]", [((DATA - 0x700000) & 0xFFFFFFFF, 4)]),
        ("movsb", [(DATA, 1), (4, 1)]),
        ("push [rdi]", [(DATA, 8), (0x7EFFB8, 8)]),
        ("call rdi", [(0x7EFFB8, 8)]),
        ("ret", [(0x7EFFC0, 8)]),
        ("pop rax", [(0x7EFFC0, 8)]),
        ("pushfw", [(0x7EFFBE, 2)]),
        ("lea rax, [rdi]", []),
        ("nop dword ptr [rdi]", []),
        ("popcnt eax, ebx", []),
    ],
)
def test_memory_operands(source: str, operands: list[tuple[int, int]]) -> None:
    with world(source, regs={"RDI": DATA, "RSI": 4}) as w:
        w.vcpu.fs_base = 0x10000
        found = memory_operands(w.vcpu, TEXT)
        assert sorted(operand[:2] for operand in found) == sorted(operands)
        for operand in found:
            assert operand.stack is (STACK_TOP - SIZE <= operand.address < STACK_TOP)


def test_the_exact_address_in_a_known_page() -> None:
    """What a fault's CR2 is where Unicorn only tells the page."""
    with world("mov [rdi], rax", regs={"RDI": DATA + 0xFFC}) as w:
        assert accessed_address(w.vcpu, TEXT, DATA, WRITE) == DATA + 0xFFC
        assert accessed_address(w.vcpu, TEXT, DATA + 0x1000, WRITE) == DATA + 0x1000
        assert accessed_address(w.vcpu, TEXT, TEXT, FETCH) == TEXT
        assert accessed_address(w.vcpu, TEXT + 0xFFF, TEXT + 0x1000, FETCH) == TEXT + 0x1000
