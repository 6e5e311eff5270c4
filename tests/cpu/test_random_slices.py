# SPDX-License-Identifier: GPL-2.0-or-later
"""A program in slices of any lengths, on one vCPU or hopping between two, ends as it does in one
piece: count, registers, memory, and the exits on the way; a slice that ends where the kernel is
entered changes nothing.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from cpu.vcpu import VmExit
from tests.cpu.several import Several, several
from tests.cpu.world import ALL, DATA, FAST, GPRS, How, reg

PIECES = (
    "add rax, rbx; rol rax, 7; xor rbx, rax",
    "pushfq; pop rdx; and rdx, 0x8d5; add rax, rdx",
    "push rax; popfq",
    "pushf; add rsp, 8; pushw 0x246; popf; lahf",
    f"mov edi, {DATA + 0x1FF0}; mov ecx, {{n}}; rep stosb",
    f"mov esi, {DATA + 0x1FF0}; mov edi, {DATA + 0x3FF8}; mov ecx, {{n}}; rep movsb",
    f"mov esi, {DATA + 0x1FF0}; mov edi, {DATA + 0x3FF8}; mov ecx, {{n}}; repe cmpsb",
    f"mov edi, {DATA}; xor ecx, ecx; rep stosq",
    f"std; mov edi, {DATA + 0x5004}; mov ecx, {{n}}; rep stosw; cld",
    "mov ecx, {n}; 1: add rax, rcx; imul rbx, rax, 3; loop 1b",
    f"lock inc qword ptr [{DATA + 0x6000}]; xchg rbx, [{DATA + 0x6FFC}]",
    f"add [{DATA + 0x7FFD}], rax; adc rbx, [{DATA + 0x7FFD}]",
    f"movq xmm1, rax; paddq xmm0, xmm1; movdqu [{DATA + 0x8FF8}], xmm0",
    "call 2f; jmp 3f; 2: inc rbx; pushfq; pop rcx; ret; 3: nop",
    "nop; " * 40,
    "stc; mov ecx, 3; 1: adc rax, rax; dec ecx; jnz 1b; setc bl",
    "mov eax, {n}; syscall",
    "int3",
    "fld1; fadd st(0), st(0); fstp qword ptr [rsp - 8]; mov rdx, [rsp - 8]; xor rbx, rdx",
    f"mov byte ptr [rip + 4f], {{n}}; .byte 0xb0; 4: .byte 0; add [{DATA + 0x9000}], al",
    "push rbx; pop qword ptr [rsp - 64]; enter 16, 0; leave",
    "cpuid; and eax, 0xf; xor ebx, ebx; xor ecx, ecx; xor edx, edx",
)
END = "mov eax, 0x7777; syscall"


class End(NamedTuple):
    """What must not depend on slices."""

    exits: list[tuple[int, int, int]]
    instructions: int
    state: tuple[int, ...]
    fpu: bytes
    memory: bytes


def program(chance: random.Random) -> str:
    """Pieces in a random order, now and then across the end of a page."""
    pieces = [
        chance.choice(PIECES).format(n=chance.randint(1, 20)).replace("4f", "4f").strip("; ")
        for _ in range(chance.randint(6, 14))
    ]
    at = chance.choice(["", ".fill 4040, 1, 0x90"])
    return "; ".join([*pieces[:3], *([f"jmp 5f; {at}; 5: nop"] if at else []), *pieces[3:], END])


def run(s: Several, chance: random.Random | None, hop: bool) -> End:
    """Run to the end, with ``chance`` in slices, with ``hop`` on another vCPU after each."""
    exits: list[tuple[int, int, int]] = []
    number = 0
    while True:
        exit_ = s.run(number, None if chance is None else chance.choice([1, 1, 2, 3, 5, 8, 30]))
        vcpu = s.vcpus[number]
        if exit_.reason != VmExit.LIMIT:
            what = exit_.nr if exit_.reason == VmExit.SYSCALL else exit_.vector
            exits.append((exit_.reason, what, exit_.rip))
            if exits[-1][:2] == (VmExit.SYSCALL, 0x7777):
                break
            assert len(exits) < 100
        if hop and chance is not None and chance.random() < 0.5:
            number = 1 - number
            s.vcpus[number].load_context(vcpu.save_context())
    s.check()
    state = tuple(vcpu.read_reg(reg(name)) for name in (*GPRS, "RIP"))
    instructions = sum(v.instructions or 0 for v in s.vcpus)
    return End(exits, instructions, state, vcpu.fxsave(), s.mm.copy_from_user(DATA, 0xA000))


@pytest.mark.parametrize("how", ALL, ids=str)
def test_slices_change_nothing(how: How) -> None:
    for seed in range(6):
        source = program(random.Random(seed))
        ends = []
        for hop, chance in (
            (False, None), (False, random.Random(seed)), (True, random.Random(seed + 100)),
        ):  # fmt: skip
            kind = FAST if chance is None else how
            with several(source, kind, text_prot=7, regs={"RAX": 3, "RBX": 5}) as s:
                ends.append(run(s, chance, hop))
        assert ends[0] == ends[1] == ends[2], source


@pytest.mark.fuzz
def test_slices_change_nothing_in_many_programs() -> None:
    for seed in range(400):
        source = program(random.Random(seed))
        how = ALL[seed % len(ALL)]
        with several(source, FAST, text_prot=7, regs={"RAX": 3, "RBX": 5}) as s:
            expected = run(s, None, hop=False)
        with several(source, how, text_prot=7, regs={"RAX": 3, "RBX": 5}) as s:
            assert run(s, random.Random(seed), hop=True) == expected, (seed, how, source)
