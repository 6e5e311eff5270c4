# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest atomics are atomic between CPUs (SDM vol. 3A 9.1.2): two that count in slices of a few
instructions lose no update. Here that holds for any one instruction, since a slice ends between
two (docs/engine_limits.md); what takes several can be lost, under the same seeds in each fidelity.
"""

from __future__ import annotations

import pytest

from tests.cpu.several import several
from tests.cpu.world import DATA, FIDELITIES, How

TURNS = 120
CROSSING = DATA + 0xFFD
"""A word of which a part is in the next page."""
LOOP = "1: {body}; dec esi; jnz 1b; syscall"
COUNTERS = {
    # how one update is made: where the count is
    "lock_inc": (f"lock inc qword ptr [{DATA}]", DATA),
    "lock_xadd": (f"mov edi, 1; lock xadd [{DATA}], rdi", DATA),
    "lock_cmpxchg": (
        f"2: mov rax, [{DATA}]; lea rdi, [rax + 1]; lock cmpxchg [{DATA}], rdi; jne 2b",
        DATA,
    ),
    "lock_cmpxchg16b": (
        f"""
        2:  mov rax, [{DATA + 16}]
            mov rdx, [{DATA + 24}]
            lea rbx, [rax + 1]
            lea rcx, [rdx + 2]
            lock cmpxchg16b [{DATA + 16}]
            jne 2b
        """,
        DATA + 16,
    ),
    "xchg_as_a_spinlock": (
        f"""
        2:  mov eax, 1
            xchg [{DATA + 8}], eax
            test eax, eax
            jnz 2b
            mov rdi, [{DATA}]
            inc rdi
            mov [{DATA}], rdi
            mov dword ptr [{DATA + 8}], 0
        """,
        DATA,
    ),
    "lock_bts_as_a_spinlock": (
        f"""
        2:  lock bts dword ptr [{DATA + 8}], 3
            jc 2b
            inc qword ptr [{DATA}]
            lock btr dword ptr [{DATA + 8}], 3
        """,
        DATA,
    ),
    "lock_inc_across_pages": (f"lock inc qword ptr [{CROSSING}]", CROSSING),
    "inc_without_lock": (f"inc qword ptr [{DATA}]", DATA),
    "add_without_lock_across_pages": (f"add qword ptr [{CROSSING}], 1", CROSSING),
}
SEVERAL = f"mov rax, [{DATA}]; inc rax; mov [{DATA}], rax"


@pytest.mark.parametrize("name", COUNTERS)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_no_update_is_lost(name: str, how: How) -> None:
    body, at = COUNTERS[name]
    for seed in range(2):
        with several(LOOP.format(body=body), how, regs={"RSI": TURNS}) as s:
            s.run_all(seed, longest=5)
            assert s.read_u64(at) == 2 * TURNS
            if "16b" in name:
                assert s.read_u64(at + 8) == 4 * TURNS
            s.check()


def test_an_update_of_three_instructions_can_be_lost() -> None:
    """Whether, and how many, the seed says; not the fidelity."""
    lost = []
    for seed in range(4):
        counts = set()
        for how in FIDELITIES:
            with several(LOOP.format(body=SEVERAL), how, regs={"RSI": TURNS}) as s:
                s.run_all(seed, longest=60)
                counts.add(s.read_u64())
        assert len(counts) == 1
        lost.append(2 * TURNS - counts.pop())
    assert len(set(lost)) > 1 and max(lost) > 0
    assert min(lost) >= 0


def test_in_order_where_one_waits_for_the_other() -> None:
    """Peterson's lock, right where stores and loads of a CPU are seen in program order (stronger
    than a processor's: docs/engine_limits.md).
    """
    source = f"""
        xor r15, 0                    # 0 or 1: which thread
        mov r14, 1
        sub r14, r15                  # the other
    1:  mov dword ptr [{DATA} + r15*8], 1
        mov [{DATA + 64}], r14d
    2:  cmp dword ptr [{DATA} + r14*8], 0
        je 3f
        cmp [{DATA + 64}], r14d
        je 2b
    3:  mov rax, [{DATA + 128}]
        inc rax
        mov [{DATA + 128}], rax
        mov dword ptr [{DATA} + r15*8], 0
        dec esi
        jnz 1b
        syscall
    """
    for seed in range(3):
        with several(source, FIDELITIES[0], regs={"RSI": TURNS}) as s:
            s.run_all(seed, longest=4)
            assert s.read_u64(DATA + 128) == 2 * TURNS
