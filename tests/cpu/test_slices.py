# SPDX-License-Identifier: GPL-2.0-or-later
"""A run ends at exactly its limit, with the same state in every fidelity, sliced or not."""

from __future__ import annotations

import pytest

from cpu.vcpu import VmExit
from tests.cpu import oracle, programs
from tests.cpu.world import FIDELITIES, TRACE, How, world

SLICED = {
    name: source for name, source in programs.ALL.items() if name not in ("long", "across_pages")
}


@pytest.mark.parametrize("name", SLICED)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_one_instruction_at_a_time(name: str, how: How) -> None:
    expected = oracle.states(SLICED[name])
    with world(SLICED[name], how) as w:
        for count, (rip, regs) in enumerate(expected[1:], 1):
            exit_ = w.run(count)
            assert exit_.reason == VmExit.LIMIT
            assert w.state() == (count, rip, regs)
        assert w.run().reason == VmExit.SYSCALL
        assert w.vcpu.instructions == len(expected)
        w.check()


@pytest.mark.parametrize("name", SLICED)
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_one_slice_of_each_length(name: str, how: How) -> None:
    expected = oracle.states(SLICED[name])
    for count in range(1, len(expected), 3):
        with world(SLICED[name], how) as w:
            w.run(count)
            assert w.state() == (count, *expected[count])
            w.run()
            assert w.vcpu.instructions == len(expected)


@pytest.mark.parametrize("name", ["long", "across_pages"])
@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_slices_of_long_blocks(name: str, how: How) -> None:
    source = programs.ALL[name]
    expected = oracle.states(source)
    with world(source, how) as w:
        for count in range(97, len(expected), 97):
            w.run(count)
            assert w.state() == (count, *expected[count])
        w.run()
        assert w.vcpu.instructions == len(expected)
        w.check()


@pytest.mark.parametrize("name", programs.ALL)
def test_tlb_counters_do_not_depend_on_slices(name: str) -> None:
    source = programs.ALL[name]
    counters = []
    for how, slice_ in [
        (How(f), n) for f in (FIDELITIES[1].fidelity, TRACE.fidelity) for n in (None, 7, 61)
    ]:
        with world(source, how) as w:
            limit = slice_
            while w.run(limit).reason == VmExit.LIMIT:
                assert limit is not None and slice_ is not None
                limit += slice_
            counters.append(w.mmu.counters())
            w.check()
    assert all(c == counters[0] for c in counters)


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_limit_already_reached_runs_nothing(how: How) -> None:
    with world(programs.LOOP, how) as w:
        w.run(5)
        before = w.state()
        assert w.run(5).reason == VmExit.LIMIT
        assert w.run(3).reason == VmExit.LIMIT
        assert w.state() == before


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_the_guest_never_sees_the_trap_flag(how: How) -> None:
    """Neither PUSHF nor SYSCALL's R11 shows the TF that slices are made with."""
    source = "pushfq; pop rax; pushfw; pop bx; syscall"
    for slices in ([], [1, 2, 3, 4], [2, 4]):
        with world(source, how) as w:
            for limit in slices:
                w.run(limit)
            w.run()
            _, _, regs = w.state()
            assert not regs[0] & 0x100 and not regs[1] & 0x100 and not regs[11] & 0x100


@pytest.mark.parametrize("how", FIDELITIES, ids=str)
def test_a_guest_that_traps_itself(how: How) -> None:
    """TF set by the guest's POPF is the guest's: #DB after the next instruction, sliced or not."""
    source = "pushfq; or qword ptr [rsp], 0x100; popfq; nop; nop; syscall"
    for limit in (None, 4):
        with world(source, how) as w:
            exit_ = w.run(limit)
            if exit_.reason == VmExit.LIMIT:
                exit_ = w.run()
            assert (exit_.reason, exit_.vector) == (VmExit.EXCEPTION, 1)
