# SPDX-License-Identifier: GPL-2.0-or-later
"""A store to code takes effect with the next instruction (SDM vol. 3A 9.1.3), and such code is
counted right.
"""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from mmu.linux import engine
from tests.cpu.world import ALL, DATA, FIDELITIES, RWX, TEXT, How, map_fixed, reg, world

OWN_BLOCK = """
    mov byte ptr [rip + 1f], 0xc3   # inc ebx (ff c3) becomes ...
    nop
    .byte 0xff
1:  .byte 0xc0                      # ... of inc eax
    inc ecx
    syscall
"""
OWN_BLOCK_LATE = f"""
    {"nop; " * 20}
    mov byte ptr [rip + 1f], 0xc3
    {"nop; " * 20}
    .byte 0xff
1:  .byte 0xc0
    inc ecx
    syscall
"""
SECOND_STORE = """
    mov byte ptr [rip + 2f], 0x90   # another block's
    nop
    mov byte ptr [rip + 1f], 0xc3   # this one's
    nop
    .byte 0xff
1:  .byte 0xc0
    inc ecx
    syscall
2:  nop
"""
LOADED_TOO = """
    nop
    xor byte ptr [rip + 1f], 0x03
    .byte 0xff
1:  .byte 0xc0
    syscall
"""
LOOPED = """
    xor ebx, ebx
    mov edx, 4
2:  xor byte ptr [rip + 1f], 0x03   # inc eax <-> inc ebx
    .byte 0xff
1:  .byte 0xc0
    dec edx
    jnz 2b
    syscall
"""
OTHER_BLOCK = """
    call 1f
    mov byte ptr [rip + 2f], 0xc3
    call 1f
    syscall
1:  .byte 0xff
2:  .byte 0xc0
    ret
"""
REP_OVER_ITSELF = """
    lea rdi, [rip + 1f]
    mov ecx, 6
    mov al, 0x90
    rep stosb
1:  inc ebx
    inc ebx
    inc ebx
    syscall
"""
PUSH_OVER_CODE = """
    lea rsp, [rip + 2f]
    mov rax, 0x9090909090909090
    push rax
    nop
1:  .fill 8, 1, 0xf4
2:  mov rsp, 0x7effc0
    syscall
"""
DATA_BESIDE_CODE = """
    mov ecx, 50
1:  inc qword ptr [rip + 2f]
    dec ecx
    jnz 1b
    mov rax, [rip + 2f]
    jmp 3f
2:  .quad 0
3:  syscall
"""
CASES = {
    # source: instructions, RAX, RBX
    "own_block": (OWN_BLOCK, 5, 0, 1),
    "own_block_late": (OWN_BLOCK_LATE, 44, 0, 1),
    "second_store": (SECOND_STORE, 7, 0, 1),
    "loaded_too": (LOADED_TOO, 4, 0, 1),
    "looped": (LOOPED, 2 + 4 * 4 + 1, 2, 2),
    "other_block": (OTHER_BLOCK, 8, 1, 1),
    "rep_over_itself": (REP_OVER_ITSELF, 3 + 7 + 6 + 1, 0x90, 0),
    "push_over_code": (PUSH_OVER_CODE, 3 + 1 + 8 + 2, 0x9090909090909090, 0),
    "data_beside_code": (DATA_BESIDE_CODE, 1 + 150 + 3, 50, 0),
}
START = {"RAX": 0, "RBX": 0}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ALL, ids=str)
def test_self_modifying_code(case: str, how: How) -> None:
    source, instructions, rax, rbx = CASES[case]
    with world(source, how, text_prot=RWX, regs=START) as w:
        assert w.run().reason == VmExit.SYSCALL
        assert (w.vcpu.read_reg(reg("RAX")), w.vcpu.read_reg(reg("RBX"))) == (rax, rbx)
        assert w.vcpu.instructions == instructions
        w.check()


@pytest.mark.parametrize("case", CASES)
def test_sliced_alike(case: str) -> None:
    """The same state at every count in all fidelities."""
    source, instructions, _, _ = CASES[case]
    seen = []
    for how in FIDELITIES:
        with world(source, how, text_prot=RWX, regs=START) as w:
            states = []
            for count in range(1, instructions):
                w.run(count)
                states.append(w.state())
            seen.append(states)
            w.check()
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("case", CASES)
def test_counters_alike(case: str) -> None:
    """exact and trace, with fast faults and without, sliced and not."""
    source, _, _, _ = CASES[case]
    counters = []
    for how in ALL[3:]:
        with world(source, how, text_prot=RWX, regs=START) as w:
            w.run()
            counters.append(w.mmu.counters())
    assert all(c == counters[0] for c in counters)


ACCESSES = {
    # loads, stores
    "own_block": (0, 1),
    "second_store": (0, 2),
    "loaded_too": (1, 1),
    "looped": (4, 4),
    "rep_over_itself": (0, 6),
    "push_over_code": (0, 1),
}


@pytest.mark.parametrize("case", ACCESSES)
def test_accesses_counted_once(case: str) -> None:
    """A store that meets its own block is made twice by Unicorn, and once by the guest."""
    for how in FIDELITIES[1:]:
        with world(CASES[case][0], how, text_prot=RWX, regs=START) as w:
            w.run()
            counters = w.mmu.counters()
            assert (counters["dTLB-loads"], counters["dTLB-stores"]) == ACCESSES[case], how


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_code_written_through_another_address(how: How) -> None:
    """Two virtual pages of one frame: a store through one changes the code at the other."""
    source = "call 1f; mov byte ptr [0x600081], 0xc3; call 1f; syscall; .org 0x80; 1: inc eax; ret"
    with world(source, how, text_prot=RWX, regs=START) as w:
        w.mm.copy_to_user(DATA, b"\0")
        alias = w.mmu.walk(DATA).entry_pa[1]
        own = w.memory.read_u64(alias)
        w.memory.write_u64(alias, w.mmu.walk(TEXT).entry[1])
        w.mmu.invlpg(DATA)
        w.run()
        assert (w.vcpu.read_reg(reg("RAX")), w.vcpu.read_reg(reg("RBX"))) == (1, 1)
        w.check()
        w.memory.write_u64(alias, own)
        w.mmu.invlpg(DATA)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_freed_frame_of_code_runs_no_old_code(how: How) -> None:
    """munmap and mmap at the same address, other code: the frame may be the same."""
    with world("call rbx; syscall; call rbx; syscall", how, regs={"RBX": 0x500000}) as w:
        for code, expected in ((b"\xb0\x01\xc3", 1), (b"\xb0\x02\xc3", 2)):
            map_fixed(w.mm, 0x500000, 0x1000, RWX)
            w.mm.copy_to_user(0x500000, code)
            w.vcpu.write_reg(reg("RBX"), 0x500000)
            assert w.run().reason == VmExit.SYSCALL
            assert w.vcpu.read_reg(reg("RAX")) & 0xFF == expected
            w.mm.munmap(0x500000, 0x1000)
            engine.rcu_process_callbacks(w.mm.kernel)
