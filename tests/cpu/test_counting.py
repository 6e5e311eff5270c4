# SPDX-License-Identifier: GPL-2.0-or-later
"""``instructions`` counts each instruction once, each element of a rep, and each rep's end, however
it is run.
"""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from tests.cpu import oracle, programs
from tests.cpu.world import ALL, FAST, FIDELITIES, TEXT, How, world


@pytest.mark.parametrize("name", programs.ALL)
@pytest.mark.parametrize("how", ALL, ids=str)
def test_same_as_plain_unicorn(name: str, how: How) -> None:
    source = programs.ALL[name]
    expected = oracle.states(source)
    rip, regs = expected[-1]
    with world(source, how) as w:
        exit_ = w.run()
        count, after, (*ours, _) = w.state()
        assert exit_.reason == VmExit.SYSCALL
        assert (count, after) == (len(expected), rip + 2)
        rcx, r11 = 2, 11
        for i, (our, theirs) in enumerate(zip(ours, regs, strict=False)):
            assert i in (rcx, r11) or our == theirs
        w.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_rep_of_n_counts_n_plus_its_end(how: How, n: int) -> None:
    with world("rep movsb; syscall", how, regs={"RCX": n, "RSI": 0x600000, "RDI": 0x601000}) as w:
        w.run()
        assert w.vcpu.instructions == n + 2


@pytest.mark.parametrize("how", ALL, ids=str)
def test_a_denied_instruction_counts_once(how: How) -> None:
    source = "nop; nop; mov [0x600000], al; nop; mov [0x601000], al; mov al, [0x602000]; syscall"
    with world(source, how) as w:
        w.run()
        assert w.vcpu.instructions == 7
        assert w.mm.counters()["pgfault"] >= 3
        w.check()


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_count_at_a_fault_that_stays(how: How) -> None:
    with world("nop; nop; mov [0x10], al; nop; nop; syscall", how) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.rip, w.vcpu.instructions) == (VmExit.PAGE_FAULT, TEXT + 2, 2)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_count_at_an_exception(how: How) -> None:
    with world("nop; xor ecx, ecx; div ecx; nop; syscall", how) as w:
        exit_ = w.run()
        assert (exit_.reason, exit_.vector, w.vcpu.instructions) == (VmExit.EXCEPTION, 0, 2)
    with world("nop; int3; syscall", how) as w:
        assert w.run().vector == 3
        assert w.vcpu.instructions == 2
    with world("nop; nop; ud2; nop; syscall", how) as w:
        assert w.run().vector == 6
        assert w.vcpu.instructions == 2


def test_counting_can_be_left_out() -> None:
    with world(programs.LOOP, FAST, count=False) as w:
        assert w.run().reason == VmExit.SYSCALL
        assert w.vcpu.instructions is None


def test_a_remapped_page_is_counted_anew() -> None:
    """Same address, same size, another number of instructions."""
    source = "mov eax, 9; syscall; mov eax, 9; syscall"
    with world(source) as w:
        w.run()
        w.mm.mprotect(TEXT, 0x1000, 3)
        w.mm.copy_to_user(TEXT + 7, bytes.fromhex("9090909090 0f05"))
        w.mm.mprotect(TEXT, 0x1000, 5)
        w.vcpu.drop_code(w.mmu.walk(TEXT).pa)
        w.run()
        assert w.vcpu.instructions == 2 + 6
